//! Questions that are answered and forgotten: may I, may he, what may I, who am I, whose token is this.
//!
//! In: a caller and a review object. Out: the review with its status.

mod access;
mod token;

use beeline_api::{ApiError, decode};
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
    pub(crate) namespaced: bool,
    answer: fn(&App, &Caller, &Value) -> Result<Value, ApiError>,
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
        namespaced: false,
        answer: access::own,
    },
    ReviewInfo {
        group: AUTHORIZATION,
        version: "v1",
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        namespaced: false,
        answer: access::rules,
    },
    ReviewInfo {
        group: AUTHORIZATION,
        version: "v1",
        kind: "SubjectAccessReview",
        plural: "subjectaccessreviews",
        singular: "subjectaccessreview",
        namespaced: false,
        answer: access::of_another,
    },
    ReviewInfo {
        group: AUTHORIZATION,
        version: "v1",
        kind: "LocalSubjectAccessReview",
        plural: "localsubjectaccessreviews",
        singular: "localsubjectaccessreview",
        namespaced: true,
        answer: access::of_another,
    },
    ReviewInfo {
        group: AUTHENTICATION,
        version: "v1",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        namespaced: false,
        answer: token::own,
    },
    ReviewInfo {
        group: AUTHENTICATION,
        version: "v1",
        kind: "TokenReview",
        plural: "tokenreviews",
        singular: "tokenreview",
        namespaced: false,
        answer: token::review,
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
    namespace: Option<&str>,
    mut body: Value,
) -> Result<Value, ApiError> {
    let target = Target::Resource {
        group: info.group,
        resource: info.plural,
        subresource: "",
        namespace: namespace.unwrap_or_default(),
        name: "",
    };
    app.authorize(caller, "create", target).map_err(|why| {
        let text = format!("{}.{} is forbidden: {why}", info.plural, info.group);
        ApiError::new(403, "Forbidden", text)
    })?;
    decode::expect(&mut body, &info.api_version(), info.kind)?;
    if !body["metadata"].is_object() {
        body["metadata"] = json!({});
    }
    if let Some(namespace) = namespace {
        in_namespace(&mut body, namespace)?;
    }
    body["status"] = (info.answer)(app, caller, &body["spec"])?;
    Ok(body)
}

/// A local review asks about its own namespace alone.
fn in_namespace(body: &mut Value, namespace: &str) -> Result<(), ApiError> {
    let asked = &mut body["spec"]["resourceAttributes"];
    if asked.is_object() && asked["namespace"].as_str().unwrap_or_default() != namespace {
        let text = format!(
            "spec.resourceAttributes.namespace: Invalid value: {}: must match metadata.namespace",
            asked["namespace"]
        );
        return Err(ApiError::new(422, "Invalid", text));
    }
    body["metadata"]["namespace"] = json!(namespace);
    Ok(())
}
