//! Responses: bodies, headers, and errors as clients expect them.

use axum::body::Body;
use beeline_api::ApiError;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WARNING};
use http::{HeaderValue, Response, StatusCode};
use serde_json::Value;

pub(crate) type Answer = Response<Body>;

/// JSON that is encoded already.
pub(crate) fn json_bytes(code: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(code, "application/json", body.into())
}

/// JSON from a value.
pub(crate) fn json(code: StatusCode, value: &Value) -> Answer {
    json_bytes(code, serde_json::to_vec(value).unwrap_or_default())
}

/// Plain text.
pub(crate) fn text(code: StatusCode, body: impl Into<Bytes>) -> Answer {
    with_type(code, "text/plain; charset=utf-8", body.into())
}

/// Any static type.
pub(crate) fn with_type(code: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// The same with caching switched off, as for all resources.
pub(crate) fn uncached(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    answer
}

/// Upstream's answer to a path that does not exist.
pub(crate) fn page_not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// A `Status`.
pub(crate) fn error(error: &ApiError) -> Answer {
    let code = StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut answer = uncached(json(code, &error.to_value()));
    let seconds = error.details.as_ref().map_or(0, |d| d.retry_after_seconds);
    if seconds > 0 {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// Adds `Warning` headers.
pub(crate) fn warn(answer: &mut Answer, warnings: Vec<String>) {
    for warning in warnings {
        let escaped = warning.replace('\\', "\\\\").replace('"', "\\\"");
        let clean: String = escaped.chars().filter(|c| !c.is_control()).collect();
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{clean}\"").as_bytes()) {
            answer.headers_mut().append(WARNING, value);
        }
    }
}

pub(crate) fn unauthorized() -> ApiError {
    ApiError::new(401, "Unauthorized", "Unauthorized")
}

/// A refusal that is about a path, in upstream's words.
pub(crate) fn forbidden_path(reason: &str) -> ApiError {
    ApiError::new(403, "Forbidden", format!("forbidden: {reason}"))
}
