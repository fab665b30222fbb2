//! Errors as Kubernetes clients expect them: the `Status` object, its reasons and upstream's wording.
//!
//! In: what went wrong and with which object. Out: [`ApiError`], which turns into HTTP code and body.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use crate::kinds::KindInfo;

/// One failed request: everything the client is told.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// HTTP status code.
    pub code: u16,
    /// Machine-readable reason: one of upstream's, or a webhook's own.
    pub reason: Cow<'static, str>,
    /// What kubectl prints.
    pub message: String,
    /// Which object and why, where known.
    pub details: Option<Box<Details>>,
    /// A fresh continue token for an expired list (`metadata.continue`).
    pub continue_token: Option<Box<str>>,
}

/// The object an error is about.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Plural resource name (the Kind for `Invalid`).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID, where the caller asked for one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Single causes with field paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// One cause of an error.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cause {
    /// For instance `FieldValueInvalid`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub reason: Cow<'static, str>,
    /// Without the field path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Dotted path, `spec.containers[0].image`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl ApiError {
    /// An error with no object attached.
    pub fn new(
        code: u16,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            continue_token: None,
        }
    }

    fn on(mut self, kind: &KindInfo, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: kind.group.to_owned(),
            kind: kind.plural.to_owned(),
            ..Details::default()
        }));
        self
    }

    /// Adds causes.
    #[must_use]
    pub fn with_causes(mut self, causes: Vec<Cause>) -> Self {
        self.details.get_or_insert_default().causes = causes;
        self
    }

    /// Adds one cause without a field.
    #[must_use]
    pub fn with_cause(self, reason: &'static str, message: impl Into<String>, field: &str) -> Self {
        self.with_causes(vec![Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.to_owned(),
        }])
    }

    /// Tells the client when to come back.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// `pods "x" not found`.
    pub fn not_found(kind: &KindInfo, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.qualified()))
            .on(kind, name)
    }

    /// `the server could not find the requested resource`.
    pub fn no_such_resource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource")
    }

    /// `pods "x" already exists`.
    pub fn already_exists(kind: &KindInfo, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.qualified()))
            .on(kind, name)
    }

    /// A conflict in upstream's frame: `Operation cannot be fulfilled on pods "x": why`.
    pub fn conflict(kind: &KindInfo, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Self::new(409, "Conflict", message).on(kind, name)
    }

    /// The conflict of a stale resourceVersion.
    pub fn modified(kind: &KindInfo, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// Validation failed: 422 with one cause per field.
    pub fn invalid(kind: &KindInfo, name: &str, causes: Vec<Cause>) -> Self {
        let lines: Vec<String> =
            causes.iter().map(|c| format!("{}: {}", c.field, c.message)).collect();
        let text =
            if lines.len() == 1 { lines[0].clone() } else { format!("[{}]", lines.join(", ")) };
        let head = if kind.group.is_empty() {
            kind.kind.to_owned()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let mut error = Self::new(422, "Invalid", format!("{head} \"{name}\" is invalid: {text}"))
            .on(kind, name);
        if let Some(details) = error.details.as_mut() {
            kind.kind.clone_into(&mut details.kind);
            details.causes = causes;
        }
        error
    }

    /// `pods "x" is forbidden: why`.
    pub fn forbidden(kind: &KindInfo, name: &str, why: &str) -> Self {
        let object = kind.qualified();
        let message = if name.is_empty() {
            format!("{object} is forbidden: {why}")
        } else {
            format!("{object} \"{name}\" is forbidden: {why}")
        };
        Self::new(403, "Forbidden", message).on(kind, name)
    }

    /// The request makes no sense as sent.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The verb is not offered on this resource.
    pub fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// The body is in a format this resource does not take.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        let list = accepted.join(", ");
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {list}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// A resourceVersion or continue token that history no longer covers.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// A watch from before the kept history.
    pub fn too_old(asked: u64, oldest: u64) -> Self {
        Self::expired(format!("too old resource version: {asked} ({oldest})"))
    }

    /// A resourceVersion that does not exist yet.
    pub fn too_large(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        Self::new(504, "Timeout", message)
            .with_cause("ResourceVersionTooLarge", "Too large resource version", "")
            .retry_after(1)
    }

    /// A request that has to be repeated later.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(503, "ServiceUnavailable", message)
    }

    /// `Internal error occurred: why`.
    pub fn internal(why: impl std::fmt::Display) -> Self {
        let text = why.to_string();
        Self::new(500, "InternalError", format!("Internal error occurred: {text}"))
            .with_cause("", text, "")
    }

    /// Whether this is a 404.
    pub fn is_not_found(&self) -> bool {
        self.code == 404
    }

    /// Whether this is a write conflict worth a retry with a fresh object.
    pub fn is_conflict(&self) -> bool {
        self.code == 409 && self.reason == "Conflict"
    }

    /// Whether a create met an existing object.
    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    /// The `Status` object.
    pub fn to_value(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if let Some(details) = &self.details {
            status["details"] = serde_json::to_value(details).unwrap_or(Value::Null);
        }
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = Value::from(&**token);
        }
        status
    }
}

/// The `Status` of a deletion that left nothing to return.
pub fn success(kind: &KindInfo, name: &str, uid: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
        "details": { "name": name, "group": kind.group, "kind": kind.plural, "uid": uid },
    })
}
