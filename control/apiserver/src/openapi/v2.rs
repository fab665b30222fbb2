//! The v2 document in protobuf: gnostic's messages (`openapiv2/OpenAPIv2.proto`), as older kubectls ask for them.
//!
//! In: the document as JSON. Out: bytes. Only what our documents contain is written.

use bytes::Bytes;
use serde_json::{Map, Value};

/// Encodes a document.
pub(super) fn encode(document: &Value) -> Bytes {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, |info| {
        info.text(1, &document["info"]["title"]);
        info.text(2, &document["info"]["version"]);
    });
    out.message(8, |paths| named(paths, 2, &document["paths"], path));
    out.message(9, |definitions| named(definitions, 1, &document["definitions"], schema));
    Bytes::from(out.bytes)
}

/// A message being written.
#[derive(Default)]
struct Message {
    bytes: Vec<u8>,
}

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
            value >>= 7;
        }
        self.bytes.push(u8::try_from(value).unwrap_or_default());
    }

    fn tag(&mut self, number: u64, wire: u64) {
        self.varint(number << 3 | wire);
    }

    fn raw(&mut self, number: u64, bytes: &[u8]) {
        self.tag(number, 2);
        self.varint(bytes.len() as u64);
        self.bytes.extend_from_slice(bytes);
    }

    /// Text, if it is that.
    fn text(&mut self, number: u64, value: &Value) {
        if let Some(text) = value.as_str() {
            self.raw(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u64, value: &Value) {
        for text in value.as_array().into_iter().flatten() {
            self.text(number, text);
        }
    }

    fn flag(&mut self, number: u64, value: &Value) {
        if value == true {
            self.tag(number, 0);
            self.varint(1);
        }
    }

    fn message(&mut self, number: u64, write: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        write(&mut inner);
        self.raw(number, &inner.bytes);
    }
}

/// A map, as gnostic has them: a list of names with values.
fn named(out: &mut Message, number: u64, map: &Value, write: fn(&mut Message, &Value)) {
    for (name, value) in map.as_object().into_iter().flatten() {
        out.message(number, |entry| {
            entry.raw(1, name.as_bytes());
            entry.message(2, |inner| write(inner, value));
        });
    }
}

/// `x-...` fields, each as YAML; JSON is YAML too.
fn extensions(out: &mut Message, number: u64, of: &Value) {
    let all = of.as_object().into_iter().flatten();
    for (name, value) in all.filter(|(name, _)| name.starts_with("x-")) {
        out.message(number, |entry| {
            entry.raw(1, name.as_bytes());
            entry.message(2, |any| any.raw(2, value.to_string().as_bytes()));
        });
    }
}

fn schema(out: &mut Message, of: &Value) {
    out.text(1, &of["$ref"]);
    out.text(2, &of["format"]);
    out.text(4, &of["description"]);
    if !of["default"].is_null() {
        out.message(5, |any| any.raw(2, of["default"].to_string().as_bytes()));
    }
    out.texts(19, &of["required"]);
    if of["additionalProperties"].is_object() {
        out.message(21, |item| item.message(1, |inner| schema(inner, &of["additionalProperties"])));
    }
    if of["type"].is_string() {
        out.message(22, |item| item.text(1, &of["type"]));
    }
    if of["items"].is_object() {
        out.message(23, |item| item.message(1, |inner| schema(inner, &of["items"])));
    }
    if of["properties"].as_object().is_some_and(|p| !Map::is_empty(p)) {
        out.message(25, |properties| named(properties, 1, &of["properties"], schema));
    }
    extensions(out, 31, of);
}

fn path(out: &mut Message, of: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if of[method].is_object() {
            out.message(number, |inner| operation(inner, &of[method]));
        }
    }
}

fn operation(out: &mut Message, of: &Value) {
    out.text(5, &of["operationId"]);
    out.texts(6, &of["produces"]);
    out.texts(7, &of["consumes"]);
    for one in of["parameters"].as_array().into_iter().flatten() {
        out.message(8, |item| item.message(1, |inner| parameter(inner, one)));
    }
    out.message(9, |responses| named(responses, 1, &of["responses"], response));
    extensions(out, 13, of);
}

/// `Parameter`: one of a body parameter and a query parameter.
fn parameter(out: &mut Message, of: &Value) {
    if of["in"] == "body" {
        out.message(1, |body| {
            body.text(2, &of["name"]);
            body.text(3, &of["in"]);
            body.flag(4, &of["required"]);
            body.message(5, |inner| schema(inner, &of["schema"]));
        });
        return;
    }
    out.message(2, |other| {
        other.message(3, |query| {
            query.text(2, &of["in"]);
            query.text(4, &of["name"]);
            query.text(6, &of["type"]);
        });
    });
}

/// `ResponseValue`: a response with the schema of its body.
fn response(out: &mut Message, of: &Value) {
    out.message(1, |response| {
        response.text(1, &of["description"]);
        response.message(2, |item| item.message(1, |inner| schema(inner, &of["schema"])));
    });
}
