//! Request bodies into values: bounded, in any of the three encodings.

use axum::body::Body;
use beeline_api::ApiError;
use beeline_api::decode::{self, Parsed};
use beeline_registry::Patch;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;

use crate::media::{self, BodyType, PatchType};
use crate::protobuf;

/// Upstream's limit.
const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// Reads it all.
pub(crate) async fn read(body: Body) -> Result<Bytes, ApiError> {
    match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("Request entity too large: limit is {BODY_BYTES_MAX}");
            Err(ApiError::new(413, "RequestEntityTooLarge", text))
        }
        Err(error) => {
            Err(ApiError::bad_request(format!("unable to read the request body: {error}")))
        }
    }
}

pub(crate) fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok())
}

/// One object. `default` is the (apiVersion, kind) of the URL.
pub(crate) fn object(
    headers: &HeaderMap,
    bytes: &[u8],
    default: (&str, &str),
) -> Result<Parsed, ApiError> {
    match media::body_type(content_type(headers))? {
        BodyType::Json => decode::json(bytes),
        BodyType::Yaml => decode::yaml(bytes),
        BodyType::Protobuf => {
            let value = protobuf::decode(bytes, default)
                .map_err(|e| ApiError::bad_request(e.to_string()))?;
            Ok(Parsed { value, duplicates: Vec::new() })
        }
    }
}

/// Whatever object a body holds, as far as it can be told; for the audit log.
pub(crate) fn any(headers: &HeaderMap, bytes: &[u8]) -> Option<Value> {
    let value = match media::body_type(content_type(headers)) {
        Ok(BodyType::Protobuf) => protobuf::decode(bytes, ("", "")).ok(),
        // A patch has a type of its own, and is JSON or YAML; JSON is read as either.
        Ok(BodyType::Json | BodyType::Yaml) | Err(_) => {
            decode::yaml(bytes).ok().map(|parsed| parsed.value)
        }
    };
    value.filter(|value| value.is_object() || value.is_array())
}

/// Deletion options; an empty body has none. JSON may come under any type: several clients mislabel it.
pub(crate) fn delete_options(headers: &HeaderMap, bytes: &[u8]) -> Result<Option<Value>, ApiError> {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let value = object(headers, bytes, ("v1", "DeleteOptions"))?.value;
    Ok(value.is_object().then_some(value))
}

/// A patch and the duplicate fields in it.
pub(crate) fn patch(headers: &HeaderMap, bytes: &[u8]) -> Result<(Patch, Vec<String>), ApiError> {
    let kind = media::patch_type(content_type(headers))?;
    let parsed = match kind {
        PatchType::Apply => decode::yaml(bytes)?,
        PatchType::Json | PatchType::Merge | PatchType::Strategic => decode::json(bytes)?,
    };
    let patch = match kind {
        PatchType::Json => Patch::Json(parsed.value),
        PatchType::Merge => Patch::Merge(parsed.value),
        PatchType::Strategic => Patch::Strategic(parsed.value),
        PatchType::Apply => Patch::Apply(parsed.value),
    };
    Ok((patch, parsed.duplicates))
}
