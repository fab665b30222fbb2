//! Messages that JSON writes as one value: quantities, times, integers or strings, embedded JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_api::time;
use beeline_api::types::Of;
use serde_json::Value;

use super::wire::{Raw, Reader};

/// The value, or None where the message stands for absence (a zero time).
pub(super) fn decode(scalar: Of, bytes: &[u8]) -> Result<Option<Value>, &'static str> {
    match scalar {
        Of::Quantity => text_field(bytes, 1).map(|text| Some(Value::from(text))),
        Of::IntOrString => int_or_string(bytes).map(Some),
        Of::Time => moment(bytes, time::format),
        Of::MicroTime => moment(bytes, time::format_micro),
        Of::FieldsV1 | Of::RawExtension | Of::Json => embedded(bytes),
        Of::Items => items(bytes).map(Some),
        Of::Duration => duration(bytes).map(Some),
        Of::String
        | Of::Bool
        | Of::Int32
        | Of::Int64
        | Of::Double
        | Of::Bytes
        | Of::SchemaOrArray
        | Of::SchemaOrBool
        | Of::SchemaOrStrings
        | Of::Type(_) => Err("field has the wrong wire type"),
    }
}

/// Bytes as JSON writes them.
pub(super) fn base64(bytes: &[u8]) -> Value {
    Value::from(STANDARD.encode(bytes))
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, &'static str> {
    std::str::from_utf8(bytes).map_err(|_| "string is not UTF-8")
}

/// Two's complement, as int32 and int64 travel.
pub(super) fn signed(varint: u64) -> i64 {
    i64::from_le_bytes(varint.to_le_bytes())
}

fn text_field(bytes: &[u8], wanted: u32) -> Result<String, &'static str> {
    let mut reader = Reader::new(bytes);
    let mut found = String::new();
    while let Some((number, raw)) = reader.field()? {
        if let (true, Raw::Bytes(bytes)) = (number == wanted, raw) {
            text(bytes)?.clone_into(&mut found);
        }
    }
    Ok(found)
}

fn int_or_string(bytes: &[u8]) -> Result<Value, &'static str> {
    let (mut is_text, mut number, mut string) = (false, 0, "");
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        match field {
            (1, Raw::Varint(kind)) => is_text = kind == 1,
            (2, Raw::Varint(value)) => number = signed(value),
            (3, Raw::Bytes(bytes)) => string = text(bytes)?,
            _ => {}
        }
    }
    Ok(if is_text { Value::from(string) } else { Value::from(number) })
}

fn moment(
    bytes: &[u8],
    format: fn(time::Timestamp) -> String,
) -> Result<Option<Value>, &'static str> {
    let (mut seconds, mut nanos) = (None, 0);
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        match field {
            (1, Raw::Varint(value)) => seconds = Some(signed(value)),
            (2, Raw::Varint(value)) => nanos = signed(value),
            _ => {}
        }
    }
    // Go's zero time, the year 1, travels as no message or as these seconds.
    const YEAR_ONE: i64 = -62_135_596_800;
    let Some(seconds) = seconds.filter(|s| *s != YEAR_ONE) else { return Ok(None) };
    let nanos = i32::try_from(nanos).map_err(|_| "nanoseconds out of range")?;
    let moment = time::Timestamp::new(seconds, nanos).map_err(|_| "time out of range")?;
    Ok(Some(Value::from(format(moment))))
}

/// Nanoseconds, as text in seconds: `1.5s`.
fn duration(bytes: &[u8]) -> Result<Value, &'static str> {
    const NANOS_PER_SECOND: i64 = 1_000_000_000;
    let mut nanos = 0;
    let mut reader = Reader::new(bytes);
    while let Some(field) = reader.field()? {
        if let (1, Raw::Varint(value)) = field {
            nanos = signed(value);
        }
    }
    let (seconds, rest) = (nanos / NANOS_PER_SECOND, (nanos % NANOS_PER_SECOND).unsigned_abs());
    let text = if rest == 0 { format!("{seconds}s") } else { format!("{seconds}.{rest:09}s") };
    Ok(Value::from(text))
}

fn embedded(bytes: &[u8]) -> Result<Option<Value>, &'static str> {
    let mut reader = Reader::new(bytes);
    let mut value = None;
    while let Some((number, raw)) = reader.field()? {
        if let (1, Raw::Bytes(json)) = (number, raw) {
            value = Some(serde_json::from_slice(json).map_err(|_| "embedded JSON does not parse")?);
        }
    }
    Ok(value)
}

fn items(bytes: &[u8]) -> Result<Value, &'static str> {
    let mut reader = Reader::new(bytes);
    let mut items = Vec::new();
    while let Some((number, raw)) = reader.field()? {
        if let (1, Raw::Bytes(item)) = (number, raw) {
            items.push(Value::from(text(item)?));
        }
    }
    Ok(Value::Array(items))
}
