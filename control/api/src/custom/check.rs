//! Whether an object's values are what its schema says, in upstream's words.
//!
//! In: an object, the one before, a schema. Out: causes. What an update left as it was is not judged again (KEP 4008):
//! a schema that became stricter does not make old objects unchangeable.

use serde_json::{Map, Value};

use super::format;
use super::schema::{Limits, List, Of, Schema};
use crate::kinds::Causes;
use crate::status::Cause;
use crate::validate::{duplicate, invalid, required, too_long, too_many};

/// Judges an object, `old` being what it replaces: its values, and if these are right, the rules.
pub(super) fn check(value: &Value, old: Option<&Value>, schema: &Schema, causes: &mut Causes) {
    let before = causes.len();
    node(value, old, schema, "", causes);
    if causes.len() == before && schema.ruled {
        rules(value, old, schema, "", causes);
    }
}

fn below(at: &str, name: &str) -> String {
    if at.is_empty() { name.to_owned() } else { format!("{at}.{name}") }
}

fn node(value: &Value, old: Option<&Value>, schema: &Schema, at: &str, causes: &mut Causes) {
    if old == Some(value) || (value.is_null() && schema.nullable) {
        return;
    }
    if let Some(wrong) = type_problem(value, schema, at) {
        causes.push(wrong);
        return;
    }
    if let Some(limits) = &schema.limits {
        self::limits(value, limits, at, causes);
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if (at.is_empty() || schema.embedded) && matches!(name.as_str(), "metadata") {
                    continue;
                }
                if let Some(schema) = schema.field(name) {
                    node(value, old.and_then(|o| o.get(name)), schema, &below(at, name), causes);
                }
            }
        }
        Value::Array(items) => {
            unique(items, schema, at, causes);
            let Some(of) = &schema.items else { return };
            for (i, item) in items.iter().enumerate() {
                let before = counterpart(item, old, schema);
                node(item, before, of, &format!("{at}[{i}]"), causes);
            }
        }
        _ => {}
    }
}

/// The same item of the list before: only those of type map tell.
fn counterpart<'o>(item: &Value, old: Option<&'o Value>, schema: &Schema) -> Option<&'o Value> {
    if schema.list != List::Map {
        return None;
    }
    old?.as_array()?.iter().find(|old| schema.keys.iter().all(|k| old.get(k) == item.get(k)))
}

fn rules(value: &Value, old: Option<&Value>, schema: &Schema, at: &str, causes: &mut Causes) {
    if !schema.ruled || value.is_null() || old == Some(value) {
        return;
    }
    let shown = if at.is_empty() { "<nil>" } else { at };
    for rule in &schema.rules {
        rule.judge(value, old, schema, shown, causes);
    }
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                if let Some(schema) = schema.field(name) {
                    rules(value, old.and_then(|o| o.get(name)), schema, &below(at, name), causes);
                }
            }
        }
        Value::Array(items) => {
            let Some(of) = &schema.items else { return };
            for (i, item) in items.iter().enumerate() {
                let before = counterpart(item, old, schema);
                rules(item, before, of, &format!("{at}[{i}]"), causes);
            }
        }
        _ => {}
    }
}

fn is_whole(value: &Value) -> bool {
    value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|f| f.fract() == 0.0)
}

fn type_problem(value: &Value, schema: &Schema, at: &str) -> Option<Cause> {
    let fits = if schema.int_or_string {
        value.is_string() || (value.is_number() && is_whole(value))
    } else {
        match schema.of? {
            Of::Object => value.is_object(),
            Of::Array => value.is_array(),
            Of::String => value.is_string(),
            Of::Boolean => value.is_boolean(),
            Of::Number => value.is_number(),
            Of::Integer => value.is_number() && is_whole(value),
        }
    };
    if fits {
        return None;
    }
    let wanted = if schema.int_or_string { "integer,string" } else { schema.of?.name() };
    let has = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) if is_whole(value) => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let message = format!("{at} in body must be of type {wanted}: \"{has}\"");
    Some(Cause { reason: "FieldValueTypeInvalid".into(), ..invalid(at, has, &message) })
}

fn limits(value: &Value, limits: &Limits, at: &str, causes: &mut Causes) {
    if let Some(allowed) = &limits.one_of_values
        && !allowed.contains(value)
    {
        causes.push(unsupported(at, value, allowed));
    }
    match value {
        Value::Number(_) => number(value, limits, at, causes),
        Value::String(text) => written(text, limits, at, causes),
        Value::Array(items) => {
            let (min, max) = (limits.items.0.map(size), limits.items.1.map(size));
            if let Some(min) = min.filter(|min| items.len() < *min) {
                let message = format!("{at} in body should have at least {min} items");
                causes.push(invalid(at, items.len(), &message));
            }
            if let Some(max) = max.filter(|max| items.len() > *max) {
                causes.push(too_many(at, items.len(), max));
            }
        }
        Value::Object(map) => fields(map, limits, at, causes),
        _ => {}
    }
    combined(value, limits, at, causes);
}

fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn unsupported(at: &str, value: &Value, allowed: &[Value]) -> Cause {
    let list: Vec<String> = allowed.iter().map(Value::to_string).collect();
    Cause {
        reason: "FieldValueNotSupported".into(),
        message: format!("Unsupported value: {value}: supported values: {}", list.join(", ")),
        field: at.to_owned(),
    }
}

fn number(value: &Value, limits: &Limits, at: &str, causes: &mut Causes) {
    let Some(n) = value.as_f64() else { return };
    let mut wrong =
        |why: String| causes.push(invalid(at, value.clone(), &format!("{at} in body {why}")));
    if let Some(min) = limits.minimum {
        if limits.exclusive_minimum && n <= min {
            wrong(format!("should be greater than {min}"));
        } else if n < min {
            wrong(format!("should be greater than or equal to {min}"));
        }
    }
    if let Some(max) = limits.maximum {
        if limits.exclusive_maximum && n >= max {
            wrong(format!("should be less than {max}"));
        } else if n > max {
            wrong(format!("should be less than or equal to {max}"));
        }
    }
    if let Some(of) = limits.multiple_of.filter(|of| (n / of).fract() != 0.0) {
        wrong(format!("should be a multiple of {of}"));
    }
}

fn written(text: &str, limits: &Limits, at: &str, causes: &mut Causes) {
    let length = text.chars().count();
    let (min, max) = (limits.length.0.map(size), limits.length.1.map(size));
    if let Some(min) = min.filter(|min| length < *min) {
        let message = format!("{at} in body should be at least {min} chars long");
        causes.push(invalid(at, text, &message));
    }
    if let Some(max) = max.filter(|max| length > *max) {
        causes.push(too_long(at, max));
    }
    if let Some(pattern) = limits.pattern.as_ref().filter(|p| !p.matches(text)) {
        let message = format!("{at} in body should match '{}'", pattern.text);
        causes.push(invalid(at, text, &message));
    }
    if !format::fits(&limits.format, text) {
        let message = format!("{at} in body must be of type {}: \"{text}\"", limits.format);
        causes.push(invalid(at, text, &message));
    }
}

fn fields(map: &Map<String, Value>, limits: &Limits, at: &str, causes: &mut Causes) {
    for name in limits.required.iter().filter(|name| !map.contains_key(*name)) {
        causes.push(required(&below(at, name), ""));
    }
    let (min, max) = (limits.properties.0.map(size), limits.properties.1.map(size));
    if let Some(min) = min.filter(|min| map.len() < *min) {
        let message = format!("{at} in body should have at least {min} properties");
        causes.push(invalid(at, map.len(), &message));
    }
    if let Some(max) = max.filter(|max| map.len() > *max) {
        causes.push(too_many(at, map.len(), max));
    }
}

/// `allOf`, `anyOf`, `oneOf`, `not`.
fn combined(value: &Value, limits: &Limits, at: &str, causes: &mut Causes) {
    for schema in &limits.all_of {
        node(value, None, schema, at, causes);
    }
    let fits = |schema: &Schema| {
        let mut causes = Causes::new();
        node(value, None, schema, at, &mut causes);
        causes.is_empty()
    };
    let mut wrong =
        |why: &str| causes.push(invalid(at, value.clone(), &format!("{at} in body {why}")));
    if !limits.any_of.is_empty() && !limits.any_of.iter().any(fits) {
        wrong("must validate at least one schema (anyOf)");
    }
    if !limits.one_of.is_empty() {
        match limits.one_of.iter().filter(|s| fits(s)).count() {
            1 => {}
            0 => wrong("must validate one and only one schema (oneOf). Found none valid"),
            n => wrong(&format!(
                "must validate one and only one schema (oneOf). Found {n} valid alternatives"
            )),
        }
    }
    if limits.not.as_ref().is_some_and(fits) {
        wrong("must not validate the schema (not)");
    }
}

/// Sets hold each value once, lists of type map each combination of keys.
fn unique(items: &[Value], schema: &Schema, at: &str, causes: &mut Causes) {
    let key = |item: &Value| -> Value {
        let part = |k: &String| Some((k.clone(), item.get(k)?.clone()));
        match schema.list {
            List::Map => Value::Object(schema.keys.iter().filter_map(part).collect()),
            List::Set | List::Atomic => item.clone(),
        }
    };
    if schema.list == List::Atomic {
        return;
    }
    let mut seen = std::collections::HashSet::new();
    for (i, item) in items.iter().enumerate() {
        let key = key(item);
        if !seen.insert(key.to_string()) {
            causes.push(duplicate(&format!("{at}[{i}]"), key));
        }
    }
}

#[cfg(test)]
mod tests;
