//! Sets of fields as trees, and their FieldsV1 form: `{"f:spec": {"f:replicas": {}}}`.
//!
//! A step is `f:NAME`, `k:{KEYS}` for an item of a list by its keys, `v:VALUE` for an item of a set. A node may be in the set
//! itself (`.` in FieldsV1 where there is more below), have members below it, or both; a node with neither is not kept.
//! The format is that of upstream's structured-merge-diff, version 6.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::schema::{Applying, Rule, Schema};

/// A set of fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// Whether the field at this node is in the set.
    pub(super) member: bool,
    /// What is below it.
    pub(super) below: BTreeMap<String, Fields>,
}

// === impl Fields ===

impl Fields {
    fn leaf() -> Self {
        Self { member: true, below: BTreeMap::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.member && self.below.is_empty()
    }

    /// From FieldsV1. What is no object counts as an empty one.
    pub(super) fn parse(fields: &Value) -> Self {
        let mut node = Self::default();
        for (step, below) in fields.as_object().into_iter().flatten() {
            if step == "." {
                node.member = true;
                continue;
            }
            let mut child = Self::parse(below);
            child.member |= child.below.is_empty();
            node.below.insert(step.clone(), child);
        }
        node
    }

    /// As FieldsV1.
    pub(super) fn to_value(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.below.is_empty() {
            map.insert(".".to_owned(), json!({}));
        }
        map.extend(self.below.iter().map(|(step, below)| (step.clone(), below.to_value())));
        Value::Object(map)
    }

    /// Adds one field.
    pub(super) fn insert(&mut self, path: &[String]) {
        let mut at = self;
        for step in path {
            at = at.below.entry(step.clone()).or_default();
        }
        at.member = true;
    }

    /// Adds all of `other`.
    pub(super) fn unite(&mut self, other: &Self) {
        self.member |= other.member;
        for (step, theirs) in &other.below {
            self.below.entry(step.clone()).or_default().unite(theirs);
        }
    }

    /// Takes away the very fields that are in `other`; what is below one of them stays.
    pub(super) fn subtract(&mut self, other: &Self) {
        self.member &= !other.member;
        self.below.retain(|step, mine| {
            if let Some(theirs) = other.below.get(step) {
                mine.subtract(theirs);
            }
            !mine.is_empty()
        });
    }

    /// What is in both.
    pub(super) fn common(&self, other: &Self) -> Self {
        let mut both = Self { member: self.member && other.member, below: BTreeMap::new() };
        for (step, mine) in &self.below {
            let Some(theirs) = other.below.get(step) else { continue };
            let common = mine.common(theirs);
            if !common.is_empty() {
                both.below.insert(step.clone(), common);
            }
        }
        both
    }

    /// The node of one field, if anything is in the set there or below.
    pub(super) fn at(&self, step: &str) -> Option<&Self> {
        self.below.get(step)
    }

    /// All its fields.
    pub(super) fn paths(&self) -> Vec<Vec<String>> {
        let mut all = Vec::new();
        self.collect(&mut Vec::new(), &mut all);
        all
    }

    fn collect(&self, at: &mut Vec<String>, all: &mut Vec<Vec<String>>) {
        if self.member {
            all.push(at.clone());
        }
        for (step, below) in &self.below {
            at.push(step.clone());
            below.collect(at, all);
            at.pop();
        }
    }
}

/// The fields that an applied configuration names.
pub(super) fn of_map(map: &Map<String, Value>, schema: Schema) -> Fields {
    let mut node = Fields::default();
    for (field, value) in map {
        let mut below = of_field(value, schema.rule(field));
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        // Entries of maps are fields of their own, whatever they hold.
        below.member |= empty || schema.field(field).is_none();
        if !below.is_empty() {
            node.below.insert(format!("f:{field}"), below);
        }
    }
    node
}

fn of_field(value: &Value, rule: Rule) -> Fields {
    match (value, rule.apply) {
        (_, Applying::Atomic) => Fields::leaf(),
        (Value::Object(map), _) => of_map(map, rule.item),
        (Value::Array(items), Applying::Keys(keys)) => {
            let mut node = Fields::default();
            for item in items.iter().filter_map(Value::as_object) {
                let mut below =
                    if rule.item.atomic { Fields::default() } else { of_map(item, rule.item) };
                below.member = true;
                node.below.insert(key_of(item, keys, rule.item), below);
            }
            node
        }
        (Value::Array(items), Applying::Set) => {
            let below = items.iter().map(|item| (format!("v:{item}"), Fields::leaf()));
            Fields { member: false, below: below.collect() }
        }
        _ => Fields::leaf(),
    }
}

/// An item that a list of items with keys has twice, in upstream's words: nobody could say which of the two is meant.
pub(super) fn twin(config: &Value, schema: Schema) -> Option<String> {
    twin_below(config, schema, &mut Vec::new())
}

fn twin_below(value: &Value, schema: Schema, at: &mut Vec<String>) -> Option<String> {
    for (field, value) in value.as_object()? {
        let rule = schema.rule(field);
        at.push(format!("f:{field}"));
        let found = match (value, rule.apply) {
            (_, Applying::Atomic) => None,
            (Value::Object(_), _) => twin_below(value, rule.item, at),
            (Value::Array(items), Applying::Keys(keys)) => twin_item(items, keys, rule.item, at),
            _ => None,
        };
        if found.is_some() {
            return found;
        }
        at.pop();
    }
    None
}

fn twin_item(
    items: &[Value],
    keys: &[&str],
    schema: Schema,
    at: &mut Vec<String>,
) -> Option<String> {
    let mut seen = std::collections::BTreeSet::new();
    for item in items {
        let key = key_of(item.as_object()?, keys, schema);
        let shown = readable(std::slice::from_ref(&key));
        if !seen.insert(key.clone()) {
            return Some(format!("{}: duplicate entries for key {shown}", readable(at)));
        }
        at.push(key);
        let found = if schema.atomic { None } else { twin_below(item, schema, at) };
        at.pop();
        if found.is_some() {
            return found;
        }
    }
    None
}

/// `k:{"containerPort":80,"protocol":"TCP"}`, with the defaults that keys have.
pub(super) fn key_of(item: &Map<String, Value>, keys: &[&str], of: Schema) -> String {
    let mut parts = BTreeMap::new();
    for key in keys {
        let default = || of.field(key).and_then(|f| f.default).map(Value::from);
        if let Some(value) = item.get(*key).cloned().or_else(default) {
            parts.insert(*key, value);
        }
    }
    format!("k:{}", json!(parts))
}

/// `.spec.template.spec.containers[name="c"].image`
pub(super) fn readable(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        if let Some(field) = step.strip_prefix("f:") {
            text.push('.');
            text.push_str(field);
        } else if let Some(keys) = keys_in(step) {
            let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            text.push_str(&format!("[{}]", parts.join(",")));
        } else if let Some(value) = step.strip_prefix("v:") {
            text.push_str(&format!("[={value}]"));
        }
    }
    text
}

fn keys_in(step: &str) -> Option<Map<String, Value>> {
    step.strip_prefix("k:").and_then(|keys| serde_json::from_str(keys).ok())
}

/// Whether a field is one of those that an item of a list is known by.
pub(super) fn is_key(item: &str, field: &str) -> bool {
    let field = field.strip_prefix("f:").unwrap_or_default();
    keys_in(item).is_some_and(|keys| keys.contains_key(field))
}

/// What a step leads to.
pub(super) fn step_into<'v>(value: &'v mut Value, step: &str) -> Option<&'v mut Value> {
    if let Some(field) = step.strip_prefix("f:") {
        return value.get_mut(field);
    }
    let keys = keys_in(step)?;
    value.as_array_mut()?.iter_mut().find(|item| has_keys(item, &keys))
}

/// Removes what a step leads to: a field, or a whole item of a list.
pub(super) fn remove(value: &mut Value, step: &str) {
    if let Some(field) = step.strip_prefix("f:") {
        if let Some(map) = value.as_object_mut() {
            map.remove(field);
        }
    } else if let Some(items) = value.as_array_mut() {
        if let Some(keys) = keys_in(step) {
            items.retain(|item| !has_keys(item, &keys));
        } else if let Some(wanted) =
            step.strip_prefix("v:").and_then(|v| serde_json::from_str::<Value>(v).ok())
        {
            items.retain(|item| *item != wanted);
        }
    }
}

fn has_keys(item: &Value, keys: &Map<String, Value>) -> bool {
    keys.iter().all(|(key, wanted)| match item.get(key) {
        Some(value) => value == wanted,
        // The only key with a default.
        None => key == "protocol" && wanted == "TCP",
    })
}
