//! Who somebody is: the caller, or the bearer of a token.

use beeline_api::ApiError;
use beeline_api::meta::{list, text};
use beeline_auth::service_account::ISSUER;
use beeline_registry::Caller;
use serde_json::{Value, json};

use crate::app::{self, App};
use crate::authenticate;

/// `SelfSubjectReview`
pub(super) fn own(_: &App, caller: &Caller, _: &Value) -> Result<Value, ApiError> {
    Ok(json!({ "userInfo": user_info(caller) }))
}

/// `TokenReview`
pub(super) fn review(app: &App, _: &Caller, spec: &Value) -> Result<Value, ApiError> {
    let token = text(spec, "token");
    if token.is_empty() {
        return Err(ApiError::bad_request("token is required for TokenReview in authentication"));
    }
    let asked: Vec<String> =
        list(spec, "audiences").iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let audiences = if asked.is_empty() { vec![ISSUER.to_owned()] } else { asked };
    Ok(match authenticate::check_token(app, token, &audiences) {
        Ok(checked) => {
            let user = user_info(&app::caller(checked.identity, None));
            json!({ "authenticated": true, "user": user, "audiences": checked.audiences })
        }
        Err(why) => json!({ "user": {}, "error": format!("invalid bearer token: {why}") }),
    })
}

fn user_info(who: &Caller) -> Value {
    let mut info = json!({ "username": who.user, "groups": who.groups });
    if !who.uid.is_empty() {
        info["uid"] = json!(who.uid);
    }
    if !who.extra.is_empty() {
        info["extra"] = json!(who.extra);
    }
    info
}
