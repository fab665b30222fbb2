//! Messages that JSON writes as one value: quantities, times, integers or strings, embedded JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_api::time;
use serde_json::Value;

use super::schema::Scalar;
use super::wire::{Raw, Reader};

/// The value, or None where the message stands for absence (a zero time).
pub(super) fn decode(scalar: Scalar, bytes: &[u8]) -> Result<Option<Value>, &'static str> {
    match scalar {
        Scalar::Quantity => text_field(bytes, 1).map(|text| Some(Value::from(text))),
        Scalar::IntOrString => int_or_string(bytes).map(Some),
        Scalar::Time => moment(bytes, time::format),
        Scalar::MicroTime => moment(bytes, time::format_micro),
        Scalar::FieldsV1 | Scalar::RawExtension => embedded(bytes),
        Scalar::Items => items(bytes).map(Some),
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
