//! Questions that are answered and forgotten: may I, what may I, who am I.
//!
//! In: a caller and a review object. Out: the review with its status.

use beeline_api::ApiError;
use beeline_auth::Target;
use beeline_registry::Caller;
use serde_json::{Value, json};

use crate::app::App;

/// A kind that is only ever POSTed.
pub(crate) struct ReviewInfo {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
}

const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";

/// All of them.
pub(crate) static REVIEWS: &[ReviewInfo] = &[
    ReviewInfo {
        group: AUTHORIZATION,
        version: "v1",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
    },
    ReviewInfo {
        group: AUTHORIZATION,
        version: "v1",
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
    },
    ReviewInfo {
        group: AUTHENTICATION,
        version: "v1",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
    },
];

impl ReviewInfo {
    pub(crate) fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }
}

/// The review of that resource, if it is one.
pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static ReviewInfo> {
    REVIEWS.iter().find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// Fills in the status.
pub(crate) fn answer(
    app: &App,
    info: &ReviewInfo,
    caller: &Caller,
    mut body: Value,
) -> Result<Value, ApiError> {
    beeline_api::decode::expect(&mut body, &info.api_version(), info.kind)?;
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    body["status"] = match info.kind {
        "SelfSubjectAccessReview" => access(app, caller, &body["spec"])?,
        "SelfSubjectRulesReview" => rules(caller),
        _ => json!({ "userInfo": { "username": caller.user, "groups": caller.groups } }),
    };
    Ok(body)
}

fn access(app: &App, caller: &Caller, spec: &Value) -> Result<Value, ApiError> {
    let (path, asked) = (&spec["nonResourceAttributes"], &spec["resourceAttributes"]);
    let of = |from: &Value, field: &str| from[field].as_str().unwrap_or_default().to_owned();
    let decision = if path.is_object() {
        app.authorize(caller, &of(path, "verb"), Target::Path(&of(path, "path")))
    } else if asked.is_object() {
        let target = Target::Resource {
            group: &of(asked, "group"),
            resource: &of(asked, "resource"),
            subresource: &of(asked, "subresource"),
            namespace: &of(asked, "namespace"),
            name: &of(asked, "name"),
        };
        app.authorize(caller, &of(asked, "verb"), target)
    } else {
        let text = "spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified";
        return Err(ApiError::new(422, "Invalid", text));
    };
    Ok(match decision {
        Ok(()) => json!({ "allowed": true }),
        Err(_) => json!({ "allowed": false }),
    })
}

/// Only administrators' rules can be listed: others are decided by code, not by rules.
fn rules(caller: &Caller) -> Value {
    if is_admin(caller) {
        return json!({
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"] }],
            "nonResourceRules": [{ "verbs": ["*"], "nonResourceURLs": ["*"] }],
            "incomplete": false,
        });
    }
    json!({ "resourceRules": [], "nonResourceRules": [], "incomplete": true })
}

fn is_admin(caller: &Caller) -> bool {
    caller.groups.iter().any(|g| g == "system:masters")
}
