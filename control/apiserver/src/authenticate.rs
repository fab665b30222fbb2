//! Who asks: a certificate, else a bearer token, else nobody by name; and whom he wants to be taken for.
//!
//! In: the verified certificate of the connection and a request's headers. Out: an identity, or upstream's 401 and 403.

mod bearer;
mod impersonate;

use beeline_api::ApiError;
use beeline_auth::Identity;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use crate::answer;
use crate::app::App;

pub(crate) use bearer::check as check_token;

pub(crate) use impersonate::wanted as acting;

/// The identity of the caller.
pub(crate) fn identify(
    app: &App,
    certificate: Option<&Identity>,
    headers: &HeaderMap,
) -> Result<Identity, ApiError> {
    let own = match (certificate, token(headers)) {
        (Some(identity), _) => identity.clone(),
        (None, Some(token)) => {
            let audiences = [beeline_auth::service_account::ISSUER.to_owned()];
            bearer::check(app, token, &audiences)
                .map_err(|why| {
                    tracing::debug!(why, "bearer token");
                    answer::unauthorized()
                })?
                .identity
        }
        (None, None) => Identity::anonymous(),
    };
    Ok(completed(own))
}

/// Whoever was recognised is in the group of those.
fn completed(mut identity: Identity) -> Identity {
    let has = |name: &str, groups: &[String]| groups.iter().any(|group| group == name);
    let groups = &mut identity.groups;
    if !has("system:unauthenticated", groups) && !has("system:authenticated", groups) {
        groups.push("system:authenticated".to_owned());
    }
    identity
}

/// RFC 6750: the scheme's case does not matter.
fn token(headers: &HeaderMap) -> Option<&str> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}
