//! Compares a value with its type just to see what does not fit: unknown fields and wrong types, with their paths.
//!
//! In: a JSON value and a [`Type`]. Out: paths of fields the type does not have, and the first type error in the words of
//! Go's decoder, which is what users of Kubernetes know.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::time;
use crate::types::{Field, Of, Shape, Type, types};

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Field or map key.
    Field(String),
    /// List index.
    Index(usize),
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Checked {
    /// Fields the type does not have.
    pub unknown: Vec<Vec<Segment>>,
    /// The first value of a wrong type.
    pub error: Option<String>,
}

/// Checks `value` against a type.
pub fn check(value: &Value, of: &'static Type) -> Checked {
    let mut walk = Walk { path: Vec::new(), unknown: Vec::new(), holder: of.short() };
    let error = walk.object(value, of).err();
    Checked { unknown: walk.unknown, error }
}

/// `spec.containers[0].image`
pub fn dotted(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Field(name) if text.is_empty() => text.push_str(name),
            Segment::Field(name) => {
                text.push('.');
                text.push_str(name);
            }
            Segment::Index(i) => text.push_str(&format!("[{i}]")),
        }
    }
    text
}

struct Walk {
    path: Vec<Segment>,
    unknown: Vec<Vec<Segment>>,
    /// The innermost struct, as Go's messages name it.
    holder: &'static str,
}

/// What does not fit.
type Fits = Result<(), String>;

impl Walk {
    fn object(&mut self, value: &Value, of: &'static Type) -> Fits {
        let Value::Object(map) = value else {
            return Err(self.mismatch(value, of.versioned()));
        };
        let outer = std::mem::replace(&mut self.holder, of.short());
        for (name, inner) in map {
            if of.object && matches!(name.as_str(), "apiVersion" | "kind") {
                continue;
            }
            self.path.push(Segment::Field(name.clone()));
            match of.field(name) {
                Some(field) => self.field(inner, field)?,
                None => self.unknown.push(self.path.clone()),
            }
            self.path.pop();
        }
        self.holder = outer;
        Ok(())
    }

    fn field(&mut self, value: &Value, field: &Field) -> Fits {
        match (field.shape, value) {
            (_, Value::Null) => Ok(()),
            (Shape::Single, value) => self.one(value, field.of),
            (Shape::List, Value::Array(items)) => self.items(items, field.of),
            (Shape::Map, Value::Object(map)) => self.entries(map, field.of),
            (Shape::List, other) => Err(self.mismatch(other, &format!("[]{}", go_name(field.of)))),
            (Shape::Map, other) => {
                Err(self.mismatch(other, &format!("map[string]{}", go_name(field.of))))
            }
        }
    }

    fn items(&mut self, items: &[Value], of: Of) -> Fits {
        for (i, item) in items.iter().enumerate() {
            self.path.push(Segment::Index(i));
            if !item.is_null() {
                self.one(item, of)?;
            }
            self.path.pop();
        }
        Ok(())
    }

    fn entries(&mut self, map: &Map<String, Value>, of: Of) -> Fits {
        for (key, item) in map {
            self.path.push(Segment::Field(key.clone()));
            if !item.is_null() {
                self.one(item, of)?;
            }
            self.path.pop();
        }
        Ok(())
    }

    fn one(&mut self, value: &Value, of: Of) -> Fits {
        match (of, value) {
            (Of::String, Value::String(_))
            | (Of::Bool, Value::Bool(_))
            | (Of::Double, Value::Number(_))
            | (Of::Quantity, Value::String(_) | Value::Number(_))
            | (Of::IntOrString | Of::Duration, Value::String(_))
            | (Of::FieldsV1 | Of::RawExtension, Value::Object(_))
            | (Of::SchemaOrBool, Value::Bool(_))
            | (Of::Json, _) => Ok(()),
            (Of::Int32 | Of::IntOrString, value) => {
                self.integer(value, "int32", |n| i32::try_from(n).is_ok())
            }
            (Of::Int64, value) => self.integer(value, "int64", |_| true),
            (Of::Bytes, Value::String(text)) => base64_problem(text),
            (Of::Time, Value::String(text)) => moment(text, "2006-01-02T15:04:05Z07:00"),
            (Of::MicroTime, Value::String(text)) => {
                moment(text, "2006-01-02T15:04:05.000000Z07:00")
            }
            (Of::Items | Of::SchemaOrStrings, Value::Array(items)) => self.items(items, Of::String),
            (Of::SchemaOrArray, Value::Array(items)) => {
                for item in items {
                    self.schema(item)?;
                }
                Ok(())
            }
            (Of::SchemaOrArray | Of::SchemaOrBool | Of::SchemaOrStrings, value) => {
                self.schema(value)
            }
            (Of::Type(index), value) => match types().get(index) {
                Some(of) => self.object(value, of),
                None => Ok(()),
            },
            (of, value) => Err(self.mismatch(value, go_name(of))),
        }
    }

    fn schema(&mut self, value: &Value) -> Fits {
        match types().by_name("apiextensions.v1.JSONSchemaProps") {
            Some(of) => self.object(value, of),
            None => Ok(()),
        }
    }

    fn integer(&self, value: &Value, name: &str, fits: fn(i64) -> bool) -> Fits {
        match value.as_i64().or_else(|| whole(value)) {
            Some(n) if fits(n) => Ok(()),
            _ => Err(self.mismatch(value, name)),
        }
    }

    fn mismatch(&self, value: &Value, wanted: &str) -> String {
        let what = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(n) if wanted.starts_with("int") => format!("number {n}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let names = self.path.iter().filter_map(|s| match s {
            Segment::Field(name) => Some(name.as_str()),
            Segment::Index(_) => None,
        });
        let names: Vec<&str> = names.collect();
        if names.is_empty() {
            return format!("json: cannot unmarshal {what} into Go value of type {wanted}");
        }
        let (holder, names) = (self.holder, names.join("."));
        format!(
            "json: cannot unmarshal {what} into Go struct field {holder}.{names} of type {wanted}"
        )
    }
}

fn go_name(of: Of) -> &'static str {
    match of {
        Of::String | Of::Items | Of::SchemaOrStrings => "string",
        Of::Bool => "bool",
        Of::Int32 | Of::IntOrString => "int32",
        Of::Int64 => "int64",
        Of::Double => "float64",
        Of::Bytes => "[]uint8",
        Of::Quantity => "resource.Quantity",
        Of::Time => "v1.Time",
        Of::MicroTime => "v1.MicroTime",
        Of::Duration => "v1.Duration",
        Of::FieldsV1 => "v1.FieldsV1",
        Of::RawExtension => "runtime.RawExtension",
        Of::Json | Of::SchemaOrArray | Of::SchemaOrBool => "v1.JSONSchemaProps",
        Of::Type(index) => types().get(index).map_or("", Type::versioned),
    }
}

fn whole(value: &Value) -> Option<i64> {
    let f = value.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked in the condition")]
    (f.fract() == 0.0 && f.abs() < 9e15).then_some(f as i64)
}

fn base64_problem(text: &str) -> Fits {
    use base64::DecodeError::{InvalidByte, InvalidLastSymbol, InvalidLength, InvalidPadding};
    match STANDARD.decode(text) {
        Ok(_) => Ok(()),
        Err(InvalidByte(at, _) | InvalidLastSymbol(at, _)) => {
            Err(format!("illegal base64 data at input byte {at}"))
        }
        Err(InvalidLength(_) | InvalidPadding) => {
            Err(format!("illegal base64 data at input byte {}", text.len()))
        }
    }
}

fn moment(text: &str, layout: &str) -> Fits {
    if time::parse(text).is_some() {
        return Ok(());
    }
    Err(format!("parsing time \"{text}\" as \"{layout}\": cannot parse \"{text}\" as \"2006\""))
}
