//! Structural schemas: what a definition says of the fields of its objects, parsed once.
//!
//! In: `openAPIV3Schema` of a version (KEP 1111, and the `x-kubernetes-*` extensions of apiextensions/v1). Out: a tree
//! that pruning, defaulting, validation and merging walk beside an object. Whether a schema is a good one was decided
//! when the definition was written (`structural.rs`); parsing skips what it does not know.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

use super::rules::Rule;
use crate::meta::{list, text};

/// One node of a schema.
#[derive(Debug, Default)]
pub struct Schema {
    /// Its type; none where anything goes.
    pub(super) of: Option<Of>,
    /// Null is a value.
    pub(super) nullable: bool,
    /// A number or text.
    pub(super) int_or_string: bool,
    /// Unknown fields stay.
    pub(super) preserve: bool,
    /// A whole object: with apiVersion, kind and metadata.
    pub(super) embedded: bool,
    /// Fields by name.
    pub(super) properties: BTreeMap<String, Schema>,
    /// Of all other fields.
    pub(super) others: Option<Box<Schema>>,
    /// Of list items.
    pub(super) items: Option<Box<Schema>>,
    /// Value where absent.
    pub(super) default: Option<Value>,
    /// How a list merges.
    pub(super) list: List,
    /// By which fields a list of type map merges.
    pub(super) keys: Vec<String>,
    /// Server-side apply owns the object as a whole.
    pub(super) atomic: bool,
    /// What else must hold; most nodes have nothing of it.
    pub(super) limits: Option<Box<Limits>>,
    /// Rules in CEL.
    pub(super) rules: Vec<Rule>,
    /// Whether there are rules here or below.
    pub(super) ruled: bool,
}

/// `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// `x-kubernetes-list-type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum List {
    #[default]
    Atomic,
    Set,
    Map,
}

/// Validation of values (JSON Schema draft 4, as OpenAPI 3.0 has it).
#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) required: Vec<String>,
    pub(super) one_of_values: Option<Vec<Value>>,
    pub(super) minimum: Option<f64>,
    pub(super) maximum: Option<f64>,
    pub(super) exclusive_minimum: bool,
    pub(super) exclusive_maximum: bool,
    pub(super) multiple_of: Option<f64>,
    pub(super) length: (Option<u64>, Option<u64>),
    pub(super) items: (Option<u64>, Option<u64>),
    pub(super) properties: (Option<u64>, Option<u64>),
    pub(super) pattern: Option<Pattern>,
    pub(super) format: String,
    pub(super) all_of: Vec<Schema>,
    pub(super) any_of: Vec<Schema>,
    pub(super) one_of: Vec<Schema>,
    pub(super) not: Option<Schema>,
}

/// A regular expression, compiled when first asked.
#[derive(Debug, Default)]
pub(super) struct Pattern {
    pub(super) text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Of {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "object" => Self::Object,
            "array" => Self::Array,
            "string" => Self::String,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "boolean" => Self::Boolean,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl Pattern {
    /// Whether the text matches; patterns that do not compile were refused with their definition.
    pub(super) fn matches(&self, value: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| Regex::new(&self.text).ok());
        compiled.as_ref().is_none_or(|pattern| pattern.is_match(value))
    }
}

impl Schema {
    /// A node that takes anything.
    fn anything() -> Self {
        Self { preserve: true, nullable: true, ..Self::default() }
    }

    /// Parses a schema.
    pub(super) fn parse(of: &Value) -> Self {
        let flag = |name: &str| of[name] == true;
        let properties: BTreeMap<String, Self> = of["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, of)| (name.clone(), Self::parse(of)))
            .collect();
        let others = match &of["additionalProperties"] {
            Value::Bool(true) => Some(Box::new(Self::anything())),
            schema @ Value::Object(_) => Some(Box::new(Self::parse(schema))),
            _ => None,
        };
        let items = of["items"].is_object().then(|| Box::new(Self::parse(&of["items"])));
        let rules: Vec<Rule> =
            list(of, "x-kubernetes-validations").iter().map(Rule::parse).collect();
        let below = properties.values().chain(others.as_deref()).chain(items.as_deref());
        let ruled = !rules.is_empty() || { below }.any(|s| s.ruled);
        Self {
            of: Of::parse(text(of, "type")),
            nullable: flag("nullable"),
            int_or_string: flag("x-kubernetes-int-or-string"),
            preserve: flag("x-kubernetes-preserve-unknown-fields"),
            embedded: flag("x-kubernetes-embedded-resource"),
            properties,
            others,
            items,
            default: of.get("default").cloned(),
            list: match text(of, "x-kubernetes-list-type") {
                "set" => List::Set,
                "map" => List::Map,
                _ => List::Atomic,
            },
            keys: texts(of, "x-kubernetes-list-map-keys"),
            atomic: text(of, "x-kubernetes-map-type") == "atomic",
            limits: Limits::parse(of).map(Box::new),
            rules,
            ruled,
        }
    }

    /// Of a field, known or other.
    pub(super) fn field(&self, name: &str) -> Option<&Self> {
        self.properties.get(name).or(self.others.as_deref())
    }

    /// Whether a null there is no value, to be dropped.
    pub(super) fn drops(&self, value: &Value) -> bool {
        value.is_null() && !self.nullable
    }
}

impl Limits {
    fn parse(of: &Value) -> Option<Self> {
        let numbers = |low: &str, high: &str| (of[low].as_u64(), of[high].as_u64());
        let schemas = |name: &str| list(of, name).iter().map(Schema::parse).collect();
        let pattern = of["pattern"].as_str().filter(|p| !p.is_empty());
        let limits = Self {
            required: texts(of, "required"),
            one_of_values: of["enum"].as_array().cloned(),
            minimum: of["minimum"].as_f64(),
            maximum: of["maximum"].as_f64(),
            exclusive_minimum: of["exclusiveMinimum"] == true,
            exclusive_maximum: of["exclusiveMaximum"] == true,
            multiple_of: of["multipleOf"].as_f64().filter(|m| *m > 0.0),
            length: numbers("minLength", "maxLength"),
            items: numbers("minItems", "maxItems"),
            properties: numbers("minProperties", "maxProperties"),
            pattern: pattern
                .map(|text| Pattern { text: text.to_owned(), compiled: OnceLock::new() }),
            format: text(of, "format").to_owned(),
            all_of: schemas("allOf"),
            any_of: schemas("anyOf"),
            one_of: schemas("oneOf"),
            not: of["not"].is_object().then(|| Schema::parse(&of["not"])),
        };
        let said = [
            "required",
            "enum",
            "minimum",
            "maximum",
            "multipleOf",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "pattern",
            "format",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
        ];
        said.iter().any(|name| of.get(name).is_some()).then_some(limits)
    }
}

fn texts(of: &Value, field: &str) -> Vec<String> {
    list(of, field).iter().filter_map(Value::as_str).map(str::to_owned).collect()
}
