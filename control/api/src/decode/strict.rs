//! Reads a value as a typed object just to see what does not fit: unknown fields and wrong types, with their paths.
//!
//! In: a JSON value and a `k8s-openapi` type. Out: paths of fields the type does not have, and the first type error in
//! the words of Go's decoder, which is what users of Kubernetes know.

use std::cell::RefCell;
use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::Value;

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

/// Checks `value` against `T`.
pub fn check<T: DeserializeOwned>(value: &Value) -> Checked {
    let state = State::default();
    let error = T::deserialize(Reader { value, state: &state, expected: None }).err().map(|e| e.0);
    Checked { unknown: state.unknown.into_inner(), error }
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

#[derive(Default)]
struct State {
    path: RefCell<Vec<Segment>>,
    unknown: RefCell<Vec<Vec<Segment>>>,
    structs: RefCell<Vec<&'static str>>,
}

impl State {
    fn fail(&self, value: &Value, wanted: &str) -> Error {
        let what = match value {
            Value::Null => "null".to_owned(),
            Value::Bool(_) => "bool".to_owned(),
            Value::Number(n) if wanted.starts_with("int") => format!("number {n}"),
            Value::Number(_) => "number".to_owned(),
            Value::String(_) => "string".to_owned(),
            Value::Array(_) => "array".to_owned(),
            Value::Object(_) => "object".to_owned(),
        };
        let fields = self.path.borrow();
        let names: Vec<&str> = fields
            .iter()
            .filter_map(|s| match s {
                Segment::Field(name) => Some(name.as_str()),
                Segment::Index(_) => None,
            })
            .collect();
        let holder = self.structs.borrow().last().copied().unwrap_or_default();
        if names.is_empty() {
            return Error(format!("json: cannot unmarshal {what} into Go value of type {wanted}"));
        }
        Error(format!(
            "json: cannot unmarshal {what} into Go struct field {holder}.{} of type {wanted}",
            names.join(".")
        ))
    }
}

/// What does not fit.
#[derive(Debug)]
struct Error(String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Error {}
impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct Reader<'a> {
    value: &'a Value,
    state: &'a State,
    expected: Option<&'static str>,
}

impl<'a> Reader<'a> {
    fn integer<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        name: &str,
        fits: fn(i64) -> bool,
    ) -> Result<V::Value, Error> {
        match self.value.as_i64().or_else(|| whole(self.value)) {
            Some(n) if fits(n) => visitor.visit_i64(n),
            _ => Err(self.state.fail(self.value, name)),
        }
    }

    fn wrap<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|e| {
            if e.0.contains("unmarshal") || e.0.contains("illegal base64") {
                e
            } else {
                self.explain(&e)
            }
        })
    }

    /// Errors of leaf parsers: times and bytes.
    fn explain(&self, error: &Error) -> Error {
        let text = self.value.as_str().unwrap_or_default();
        if ["Invalid symbol", "Invalid last symbol", "Invalid padding", "Invalid input length"]
            .iter()
            .any(|p| error.0.starts_with(p))
        {
            let digits = |s: &str| s.chars().take_while(char::is_ascii_digit).collect::<String>();
            let at = error
                .0
                .split_once("offset ")
                .map_or_else(|| text.len().to_string(), |(_, rest)| digits(rest));
            return Error(format!("illegal base64 data at input byte {at}"));
        }
        if matches!(self.expected, Some("Time" | "MicroTime")) {
            let layout = if self.expected == Some("Time") {
                "2006-01-02T15:04:05Z07:00"
            } else {
                "2006-01-02T15:04:05.000000Z07:00"
            };
            return Error(format!(
                "parsing time \"{text}\" as \"{layout}\": cannot parse \"{text}\" as \"2006\""
            ));
        }
        Error(error.0.clone())
    }
}

fn whole(value: &Value) -> Option<i64> {
    let f = value.as_f64()?;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked in the condition")]
    (f.fract() == 0.0 && f.abs() < 9e15).then_some(f as i64)
}

impl<'de> de::Deserializer<'de> for Reader<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(b) => visitor.visit_bool(*b),
            Value::Number(n) => match (n.as_i64(), n.as_u64(), n.as_f64()) {
                (Some(i), ..) => visitor.visit_i64(i),
                (_, Some(u), _) => visitor.visit_u64(u),
                (.., f) => visitor.visit_f64(f.unwrap_or_default()),
            },
            Value::String(s) => visitor.visit_str(s),
            Value::Array(items) => visitor.visit_seq(Items { items, at: 0, state: self.state }),
            Value::Object(map) => {
                visitor.visit_map(Fields { map: map.iter(), pending: None, state: self.state })
            }
        };
        self.wrap(result)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Bool(b) => visitor.visit_bool(*b),
            other => Err(self.state.fail(other, "bool")),
        }
    }
    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.integer(visitor, "int32", |n| i32::try_from(n).is_ok())
    }
    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.integer(visitor, "int64", |_| true)
    }
    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value.as_f64() {
            Some(f) => visitor.visit_f64(f),
            None => Err(self.state.fail(self.value, "float64")),
        }
    }
    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::String(s) => {
                let result = visitor.visit_str(s);
                self.wrap(result)
            }
            Value::Null => visitor.visit_str(""),
            Value::Number(n) if self.expected == Some("Quantity") => {
                visitor.visit_string(n.to_string())
            }
            other => Err(self.state.fail(other, "string")),
        }
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(Reader { expected: Some(name), ..self })
    }
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Array(items) => visitor.visit_seq(Items { items, at: 0, state: self.state }),
            Value::Null => visitor.visit_seq(Items { items: &[], at: 0, state: self.state }),
            other => {
                let element = Probe::element(|p| visitor.visit_seq(p).map(drop));
                Err(self.state.fail(other, &format!("[]{element}")))
            }
        }
    }
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.value {
            Value::Object(map) => {
                visitor.visit_map(Fields { map: map.iter(), pending: None, state: self.state })
            }
            other => Err(self.state.fail(other, "map[string]string")),
        }
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let Value::Object(map) = self.value else {
            return Err(self.state.fail(self.value, &format!("v1.{name}")));
        };
        self.state.structs.borrow_mut().push(name);
        let result =
            visitor.visit_map(Fields { map: map.iter(), pending: None, state: self.state });
        if result.is_ok() {
            self.state.structs.borrow_mut().pop();
        }
        result
    }
    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let path = self.state.path.borrow().clone();
        self.state.unknown.borrow_mut().push(path);
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 u8 u16 u32 u64 f32 char bytes byte_buf unit unit_struct tuple tuple_struct enum
    }
}

struct Items<'a> {
    items: &'a [Value],
    at: usize,
    state: &'a State,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Error;
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some(value) = self.items.get(self.at) else { return Ok(None) };
        self.state.path.borrow_mut().push(Segment::Index(self.at));
        self.at += 1;
        let item = seed.deserialize(Reader { value, state: self.state, expected: None })?;
        self.state.path.borrow_mut().pop();
        Ok(Some(item))
    }
}

struct Fields<'a> {
    map: serde_json::map::Iter<'a>,
    pending: Option<&'a Value>,
    state: &'a State,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Error;
    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some((key, value)) = self.map.next() else { return Ok(None) };
        self.pending = Some(value);
        self.state.path.borrow_mut().push(Segment::Field(key.clone()));
        seed.deserialize(de::value::StrDeserializer::new(key)).map(Some)
    }
    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let value = self.pending.take().unwrap_or(&Value::Null);
        let result = seed.deserialize(Reader { value, state: self.state, expected: None })?;
        self.state.path.borrow_mut().pop();
        Ok(result)
    }
}

/// Asks a list type what its elements are, by letting it try to read one.
struct Probe;

impl Probe {
    fn element(run: impl FnOnce(Probe) -> Result<(), Error>) -> String {
        run(Probe).err().map_or_else(|| "interface {}".to_owned(), |e| e.0)
    }
}

impl<'de> de::SeqAccess<'de> for Probe {
    type Error = Error;
    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        seed.deserialize(Probe).map(Some)
    }
}

impl<'de> de::Deserializer<'de> for Probe {
    type Error = Error;
    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error("interface {}".to_owned()))
    }
    fn deserialize_string<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error("string".to_owned()))
    }
    fn deserialize_i32<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error("int32".to_owned()))
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        Err(Error(format!("v1.{name}")))
    }
    forward_to_deserialize_any! {
        bool i8 i16 i64 u8 u16 u32 u64 f32 f64 char str bytes byte_buf option unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}
