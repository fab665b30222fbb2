//! Field problems: constructors for causes, worded like upstream's `field.Error`.

use serde_json::Value;

use crate::status::Cause;

fn cause(reason: &'static str, field: &str, message: String) -> Cause {
    Cause { reason: reason.into(), message, field: field.to_owned() }
}

/// A value the way messages show it: text quoted, the rest plain.
fn shown(value: &Value) -> String {
    value.to_string()
}

/// `Required value: m`
pub fn required(field: &str, message: &str) -> Cause {
    let text = if message.is_empty() {
        "Required value".to_owned()
    } else {
        format!("Required value: {message}")
    };
    cause("FieldValueRequired", field, text)
}

/// `Invalid value: "v": m`
pub fn invalid(field: &str, value: impl Into<Value>, message: &str) -> Cause {
    cause("FieldValueInvalid", field, format!("Invalid value: {}: {message}", shown(&value.into())))
}

/// `Unsupported value: "v": supported values: "A", "B"`
pub fn not_supported(field: &str, value: impl Into<Value>, supported: &[&str]) -> Cause {
    let list = supported.iter().map(|s| format!("\"{s}\"")).collect::<Vec<_>>().join(", ");
    let text = format!("Unsupported value: {}: supported values: {list}", shown(&value.into()));
    cause("FieldValueNotSupported", field, text)
}

/// `Forbidden: m`
pub fn forbidden(field: &str, message: &str) -> Cause {
    cause("FieldValueForbidden", field, format!("Forbidden: {message}"))
}

/// `Duplicate value: "v"`
pub fn duplicate(field: &str, value: impl Into<Value>) -> Cause {
    cause("FieldValueDuplicate", field, format!("Duplicate value: {}", shown(&value.into())))
}

/// `Not found: "v"`
pub fn not_found(field: &str, value: impl Into<Value>) -> Cause {
    cause("FieldValueNotFound", field, format!("Not found: {}", shown(&value.into())))
}

/// `Too long: may not be more than n bytes`
pub fn too_long(field: &str, max: usize) -> Cause {
    cause("FieldValueTooLong", field, format!("Too long: may not be more than {max} bytes"))
}

/// `Too many: n: must have at most m items`
pub fn too_many(field: &str, actual: usize, max: usize) -> Cause {
    cause("FieldValueTooMany", field, format!("Too many: {actual}: must have at most {max} items"))
}
