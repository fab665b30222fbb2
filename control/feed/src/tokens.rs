//! Tokens of service accounts for the Pods of a node.
//!
//! In: what a node asks for one of its Pods. Out: a token that ends with that Pod, or a refusal. The registry checks that the
//! Pod is the node's, has the account and asks for the audience.

use beeline_api::ApiError;
use beeline_proto::feed::{TokenRequest, TokenResponse};
use beeline_registry::Caller;
use serde_json::json;
use tonic::Status;

use crate::Inner;

/// The token that `node` asks for.
pub(crate) fn issue(
    inner: &Inner,
    node: &str,
    asked: TokenRequest,
) -> Result<TokenResponse, Status> {
    let issuer = inner.config.issuer.as_ref();
    let issuer =
        issuer.ok_or_else(|| Status::unavailable("this server makes no service account tokens"))?;
    let TokenRequest { namespace, pod, uid, account, audience, seconds } = asked;
    let audiences: Vec<String> = Some(audience).into_iter().filter(|one| !one.is_empty()).collect();
    let request = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
        "spec": {
            "audiences": audiences, "expirationSeconds": seconds,
            "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid },
        },
    });
    let registry = inner.client.registry();
    let answer = registry.issue_token(&Caller::node(node), issuer, (&namespace, &account), request);
    let answer = answer.map_err(|error| status(&error))?;
    let token = answer["status"]["token"].as_str().unwrap_or_default().to_owned();
    Ok(TokenResponse { token, seconds })
}

fn status(error: &ApiError) -> Status {
    match error.code {
        403 => Status::permission_denied(&error.message),
        404 => Status::not_found(&error.message),
        500.. => Status::unavailable(&error.message),
        _ => Status::invalid_argument(&error.message),
    }
}
