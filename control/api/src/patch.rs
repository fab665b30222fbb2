//! The patch types: JSON patch, merge patch, strategic merge patch, server-side apply.
//!
//! In: the current object and a patch. Out: the new object, or an error in upstream's words.

use serde_json::Value;

use crate::status::ApiError;

mod apply;
mod compare;
mod fieldset;
mod managers;
pub mod schema;
mod strategic;
mod update;

pub use apply::apply;
pub use managers::Writer;
pub use strategic::strategic;
pub use update::track;

/// Most operations one JSON patch may have.
const OPERATIONS_MAX: usize = 10_000;

/// RFC 6902.
pub fn json(mut object: Value, patch: &Value) -> Result<Value, ApiError> {
    let operations: json_patch::Patch = serde_json::from_value(patch.clone())
        .map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))?;
    if operations.0.len() > OPERATIONS_MAX {
        let message = format!(
            "The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {}",
            operations.0.len()
        );
        return Err(ApiError::new(413, "RequestEntityTooLarge", message));
    }
    json_patch::patch(&mut object, &operations).map_err(|e| {
        ApiError::new(
            422,
            "Invalid",
            format!("the server rejected our request due to an error in our request: {e}"),
        )
    })?;
    Ok(object)
}

/// RFC 7386.
pub fn merge(mut object: Value, patch: &Value) -> Result<Value, ApiError> {
    if !patch.is_object() {
        return Err(ApiError::bad_request("error decoding patch: a merge patch must be an object"));
    }
    json_patch::merge(&mut object, patch);
    Ok(object)
}

#[cfg(test)]
mod tests;
