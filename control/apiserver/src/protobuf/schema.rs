//! The message table: parsed once from text, on the first protobuf body.

use std::collections::HashMap;
use std::sync::OnceLock;

static TEXT: &str = include_str!("../generated/messages.txt");

/// All messages.
#[derive(Debug)]
pub(super) struct Schema {
    messages: Vec<Message>,
    by_name: HashMap<&'static str, usize>,
}

/// One message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) name: &'static str,
    /// By number, ascending.
    fields: Vec<(u32, Field)>,
}

/// One field.
#[derive(Debug)]
pub(super) struct Field {
    /// Its name in JSON.
    pub(super) json: &'static str,
    pub(super) shape: Shape,
    pub(super) of: Type,
    /// Its fields belong to the parent in JSON.
    pub(super) inline: bool,
    /// A pointer in Go: zero is a value, not absence.
    pub(super) zero_matters: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Single,
    Repeated,
    Map,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    String,
    Bool,
    Int32,
    Int64,
    Double,
    Bytes,
    Scalar(Scalar),
    Message(usize),
}

/// Messages that JSON writes as one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Quantity,
    IntOrString,
    Time,
    MicroTime,
    FieldsV1,
    RawExtension,
    Items,
}

/// The table.
pub(super) fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::parse(TEXT))
}

// === impl Schema ===

impl Schema {
    fn parse(text: &'static str) -> Self {
        let lines = || text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
        let by_name: HashMap<_, _> = lines()
            .filter(|l| !l.starts_with(' '))
            .enumerate()
            .map(|(index, name)| (name, index))
            .collect();
        let mut messages: Vec<Message> = Vec::with_capacity(by_name.len());
        for line in lines() {
            match (line.strip_prefix(' '), messages.last_mut()) {
                (Some(field), Some(message)) => message.fields.extend(parse_field(field, &by_name)),
                _ => messages.push(Message { name: line, fields: Vec::new() }),
            }
        }
        Self { messages, by_name }
    }

    /// The message of an API kind. Options and Status are of every group.
    pub(super) fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Message> {
        let (group, version) = api_version.split_once('/').unwrap_or(("core", api_version));
        let group = group.split('.').next().unwrap_or(group);
        let name = format!("{group}.{version}.{kind}");
        let index = self.by_name.get(name.as_str()).or_else(|| match kind {
            "DeleteOptions" | "Status" => self.by_name.get(format!("meta.v1.{kind}").as_str()),
            _ => None,
        })?;
        self.messages.get(*index)
    }

    pub(super) fn message(&self, index: usize) -> Option<&Message> {
        self.messages.get(index)
    }
}

// === impl Message ===

impl Message {
    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        self.fields.binary_search_by_key(&number, |(n, _)| *n).ok().map(|at| &self.fields[at].1)
    }
}

fn parse_field(line: &'static str, by_name: &HashMap<&'static str, usize>) -> Option<(u32, Field)> {
    let mut words = line.split(' ');
    let number = words.next()?.parse().ok()?;
    let json = words.next()?;
    let kind = words.next()?;
    let (shape, kind) = match (kind.strip_prefix("[]"), kind.strip_prefix("{}")) {
        (Some(inner), _) => (Shape::Repeated, inner),
        (_, Some(inner)) => (Shape::Map, inner),
        _ => (Shape::Single, kind),
    };
    let of = match kind {
        "string" => Type::String,
        "bool" => Type::Bool,
        "int32" => Type::Int32,
        "int64" => Type::Int64,
        "double" => Type::Double,
        "bytes" => Type::Bytes,
        "resource.Quantity" => Type::Scalar(Scalar::Quantity),
        "intstr.IntOrString" => Type::Scalar(Scalar::IntOrString),
        "meta.v1.Time" => Type::Scalar(Scalar::Time),
        "meta.v1.MicroTime" => Type::Scalar(Scalar::MicroTime),
        "meta.v1.FieldsV1" => Type::Scalar(Scalar::FieldsV1),
        "runtime.RawExtension" => Type::Scalar(Scalar::RawExtension),
        "authentication.v1.ExtraValue" | "authorization.v1.ExtraValue" => {
            Type::Scalar(Scalar::Items)
        }
        message => Type::Message(*by_name.get(message)?),
    };
    let marks: Vec<&str> = words.collect();
    let field =
        Field { json, shape, of, inline: marks.contains(&"="), zero_matters: marks.contains(&"*") };
    Some((number, field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_parses() {
        let lines = TEXT.lines().filter(|l| l.starts_with(' ')).count();
        let fields: usize = schema().messages.iter().map(|m| m.fields.len()).sum();
        assert_eq!(fields, lines);
        for message in &schema().messages {
            assert!(message.fields.is_sorted_by_key(|(n, _)| *n), "{}", message.name);
        }
    }

    #[test]
    fn kinds_are_found_by_api_version() {
        for (version, kind) in [
            ("v1", "Pod"),
            ("apps/v1", "Deployment"),
            ("discovery.k8s.io/v1", "EndpointSlice"),
            ("apps/v1", "DeleteOptions"),
            ("authorization.k8s.io/v1", "SelfSubjectAccessReview"),
        ] {
            assert!(schema().of_kind(version, kind).is_some(), "{version} {kind}");
        }
        assert!(schema().of_kind("example.com/v1", "Pod").is_none());
    }
}
