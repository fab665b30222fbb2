//! Kubernetes protobuf bodies into JSON values.
//!
//! In: bytes that begin with `k8s\0` and hold a `runtime.Unknown`. Out: the object as the JSON that Go's encoder would
//! have written for it. The messages are data (`beeline_api::types`), so a kind more is lines more there.
//! Refuses: encoding. Every client that sends protobuf reads JSON.

mod scalar;
mod transcode;
mod wire;

use beeline_api::types::types;
use serde_json::Value;

/// The first bytes of every body.
const MAGIC: &[u8] = b"k8s\0";

/// Why a body could not be decoded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ProtobufError {
    /// Not what the content type says.
    #[error(
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
    )]
    NoPrefix,
    /// Ends in the middle, or its framing is broken.
    #[error("malformed protobuf in {message}: {why}")]
    Malformed {
        /// The message being read.
        message: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A kind whose messages are not in the table.
    #[error("no kind \"{kind}\" is registered for version \"{api_version}\"")]
    UnknownKind {
        /// As sent.
        api_version: String,
        /// As sent.
        kind: String,
    },
}

/// Decodes one body. Where the envelope names no type, `default` does: (apiVersion, kind) of the URL.
pub(crate) fn decode(body: &[u8], default: (&str, &str)) -> Result<Value, ProtobufError> {
    let unknown = body.strip_prefix(MAGIC).ok_or(ProtobufError::NoPrefix)?;
    let envelope = transcode::envelope(unknown)?;
    let api_version =
        if envelope.api_version.is_empty() { default.0 } else { &envelope.api_version };
    let kind = if envelope.kind.is_empty() { default.1 } else { &envelope.kind };
    let message = types().of_kind(api_version, kind).ok_or_else(|| ProtobufError::UnknownKind {
        api_version: api_version.to_owned(),
        kind: kind.to_owned(),
    })?;
    let mut object = transcode::message(message, envelope.raw, 0)?;
    object.insert("apiVersion".to_owned(), Value::from(api_version));
    object.insert("kind".to_owned(), Value::from(kind));
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests;
