//! Messages into JSON objects, by the table.
//!
//! Go writes fields that are no pointers even when they are zero; JSON leaves those out. So zeroes are dropped unless
//! the table says that zero is a value.

use beeline_api::types::{Field, Of, Shape, Type, types};
use serde_json::{Map, Value};

use super::ProtobufError;
use super::scalar;
use super::wire::{Raw, Reader};

/// Messages nested deeper are refused: no served kind comes near.
const DEPTH_MAX: usize = 64;

/// `runtime.Unknown`.
pub(super) struct Envelope<'a> {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) raw: &'a [u8],
}

pub(super) fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, ProtobufError> {
    let mut envelope = Envelope { api_version: String::new(), kind: String::new(), raw: &[] };
    let mut reader = Reader::new(bytes);
    let at = |why| malformed("runtime.Unknown", why);
    while let Some(field) = reader.field().map_err(at)? {
        match field {
            (1, Raw::Bytes(type_meta)) => {
                let mut inner = Reader::new(type_meta);
                while let Some(field) = inner.field().map_err(at)? {
                    match field {
                        (1, Raw::Bytes(text)) => {
                            scalar::text(text).map_err(at)?.clone_into(&mut envelope.api_version);
                        }
                        (2, Raw::Bytes(text)) => {
                            scalar::text(text).map_err(at)?.clone_into(&mut envelope.kind);
                        }
                        _ => {}
                    }
                }
            }
            (2, Raw::Bytes(raw)) => envelope.raw = raw,
            _ => {}
        }
    }
    Ok(envelope)
}

/// One message. Fields that the table does not know are skipped, as every protobuf reader does.
pub(super) fn message(
    of: &Type,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(malformed(of.name, "nested too deeply"));
    }
    let mut object = Map::new();
    let mut reader = Reader::new(bytes);
    while let Some((number, raw)) = reader.field().map_err(|why| malformed(of.name, why))? {
        let Some(field) = of.numbered(number) else { continue };
        match field.shape {
            Shape::Single => single(&mut object, of, field, raw, depth)?,
            Shape::List => repeated(&mut object, of, field, raw, depth)?,
            Shape::Map => map_entry(&mut object, of, field, raw, depth)?,
        }
    }
    Ok(object)
}

fn single(
    object: &mut Map<String, Value>,
    of: &Type,
    field: &Field,
    raw: Raw<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    match value(of, field.of, raw, depth)? {
        Some(Value::Object(inner)) if field.inline => object.extend(inner),
        Some(zero) if !field.zero_matters && is_zero(&zero) => {}
        Some(value) => {
            object.insert(field.name.to_owned(), value);
        }
        None => {}
    }
    Ok(())
}

fn repeated(
    object: &mut Map<String, Value>,
    of: &Type,
    field: &Field,
    raw: Raw<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let list = object.entry(field.name).or_insert_with(|| Value::Array(Vec::new()));
    let Value::Array(list) = list else {
        return Err(malformed(of.name, "field is list and single"));
    };
    match (field.of, raw) {
        (Of::Int32 | Of::Int64, Raw::Bytes(packed)) => {
            let mut reader = Reader::new(packed);
            while !reader.is_empty() {
                let number = reader.varint().map_err(|why| malformed(of.name, why))?;
                list.push(Value::from(scalar::signed(number)));
            }
        }
        _ => list.extend(value(of, field.of, raw, depth)?),
    }
    Ok(())
}

fn map_entry(
    object: &mut Map<String, Value>,
    of: &Type,
    field: &Field,
    raw: Raw<'_>,
    depth: usize,
) -> Result<(), ProtobufError> {
    let Raw::Bytes(entry) = raw else { return Err(malformed(of.name, "map entry is no message")) };
    let mut reader = Reader::new(entry);
    let mut key = "";
    let mut found = value(of, field.of, Raw::Bytes(&[]), depth)?;
    while let Some(part) = reader.field().map_err(|why| malformed(of.name, why))? {
        match part {
            (1, Raw::Bytes(bytes)) => {
                key = scalar::text(bytes).map_err(|why| malformed(of.name, why))?;
            }
            (2, raw) => found = value(of, field.of, raw, depth)?,
            _ => {}
        }
    }
    let map = object.entry(field.name).or_insert_with(|| Value::Object(Map::new()));
    if let (Value::Object(map), Some(found)) = (map, found) {
        map.insert(key.to_owned(), found);
    }
    Ok(())
}

fn value(of: &Type, kind: Of, raw: Raw<'_>, depth: usize) -> Result<Option<Value>, ProtobufError> {
    let at = |why| malformed(of.name, why);
    Ok(Some(match (kind, raw) {
        (Of::String, Raw::Bytes(bytes)) => Value::from(scalar::text(bytes).map_err(at)?),
        (Of::Bytes, Raw::Bytes(bytes)) => scalar::base64(bytes),
        (Of::Bool, Raw::Varint(number)) => Value::from(number != 0),
        (Of::Int32 | Of::Int64, Raw::Varint(number)) => Value::from(scalar::signed(number)),
        (Of::Double, Raw::Fixed64(bits)) => Value::from(f64::from_bits(bits)),
        (Of::Type(index), Raw::Bytes(bytes)) => {
            let inner = types().get(index).ok_or_else(|| at("unknown message"))?;
            Value::Object(message(inner, bytes, depth + 1)?)
        }
        (Of::SchemaOrArray | Of::SchemaOrBool | Of::SchemaOrStrings, Raw::Bytes(bytes)) => {
            schema_or(of, kind, bytes, depth)?
        }
        (scalar, Raw::Bytes(bytes)) => return scalar::decode(scalar, bytes).map_err(at),
        _ => return Err(at("field has the wrong wire type")),
    }))
}

/// The unions of `JSONSchemaProps`: a schema in field 1 (2 for the one with a yes or no), else the other thing.
fn schema_or(of: &Type, kind: Of, bytes: &[u8], depth: usize) -> Result<Value, ProtobufError> {
    let at = |why| malformed(of.name, why);
    let props =
        types().by_name("apiextensions.v1.JSONSchemaProps").ok_or_else(|| at("unknown message"))?;
    let mut reader = Reader::new(bytes);
    let (mut schema, mut many, mut allows) = (None, Vec::new(), false);
    while let Some((number, raw)) = reader.field().map_err(at)? {
        match (number, raw, kind) {
            (1, Raw::Bytes(inner), Of::SchemaOrArray | Of::SchemaOrStrings)
            | (2, Raw::Bytes(inner), Of::SchemaOrBool) => {
                schema = Some(Value::Object(message(props, inner, depth + 1)?));
            }
            (2, Raw::Bytes(inner), Of::SchemaOrArray) => {
                many.push(Value::Object(message(props, inner, depth + 1)?));
            }
            (2, Raw::Bytes(inner), Of::SchemaOrStrings) => {
                many.push(Value::from(scalar::text(inner).map_err(at)?));
            }
            (1, Raw::Varint(number), Of::SchemaOrBool) => allows = number != 0,
            _ => {}
        }
    }
    Ok(match (schema, kind) {
        (Some(schema), _) => schema,
        (None, Of::SchemaOrBool) => Value::from(allows),
        (None, _) => Value::Array(many),
    })
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn malformed(message: &str, why: &'static str) -> ProtobufError {
    ProtobufError::Malformed { message: message.to_owned(), why }
}
