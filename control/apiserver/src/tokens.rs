//! `serviceaccounts/token`: a token for whoever may ask for one.

use beeline_api::ApiError;
use beeline_api::kinds::SERVICE_ACCOUNT;
use beeline_auth::Target;
use serde_json::Value;

use crate::app::App;
use crate::route::ResourcePath;
use crate::service::Asked;

/// Answers `POST serviceaccounts/x/token` with the request, its status filled in.
pub(crate) fn answer(
    app: &App,
    asked: &Asked,
    path: &ResourcePath,
    body: Value,
) -> Result<Value, ApiError> {
    let (namespace, name) =
        (path.namespace.as_deref().unwrap_or_default(), path.name.as_deref().unwrap_or_default());
    let wanted = Target::Resource {
        group: "",
        resource: "serviceaccounts",
        subresource: "token",
        namespace,
        name,
    };
    app.authorize(&asked.caller, "create", wanted)
        .map_err(|reason| ApiError::forbidden(&SERVICE_ACCOUNT, name, &reason))?;
    let issuer = app
        .options
        .tokens
        .as_ref()
        .ok_or_else(|| ApiError::unavailable("this server makes no service account tokens"))?;
    app.registry().issue_token(&asked.caller, issuer, (namespace, name), body)
}
