//! Server-side apply: merging an applied configuration, and who owns which fields.
//!
//! In: the current object (or none), the applied configuration, the manager and the time. Out: the merged object with
//! its `managedFields`, or a conflict that names the other managers.

use serde_json::{Map, Value};

use super::compare::compare;
use super::fieldset::{self, Fields};
use super::managers::{Entry, Managers, Operation, Writer, strip};
use super::schema::{Applying, Schema};
use crate::status::{ApiError, Cause};

/// Owner of all that was there before anybody applied, where nobody was recorded.
const BEFORE: &str = "before-first-apply";

/// Applies `config` to `live` (null: creates). `force` takes over fields of others.
pub fn apply(
    live: &Value,
    config: &Value,
    schema: Schema,
    has_status: bool,
    by: Writer<'_>,
    force: bool,
) -> Result<Value, ApiError> {
    if config["metadata"]["managedFields"].as_array().is_some_and(|m| !m.is_empty()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if let Some(twin) = fieldset::twin(config, schema) {
        let why = format!("failed to create typed patch object: {twin}");
        return Err(ApiError::bad_request(why));
    }
    let mut mine = fieldset::of_map(config.as_object().unwrap_or(&Map::new()), schema);
    strip(&mut mine, by.subresource, has_status);
    let mut managers = Managers::of(live);
    if managers.0.is_empty() && !live.is_null() {
        managers.0.push(before_first_apply(live, schema, by));
    }
    let own = managers.take(Operation::Apply, by);
    let mut merged = merge(live, config, schema);
    let mut owned = managers.owned();
    owned.unite(&mine);
    if let Some(own) = &own {
        prune(&mut merged, &own.fields, &owned, "");
    }
    let (written, removed) = compare(live, &merged, schema).written_and_removed();
    let conflicts = conflicts(&managers, &written);
    if !conflicts.is_empty() && !force {
        return Err(conflict_error(&conflicts));
    }
    managers.lose(&written);
    managers.lose(&removed);
    match own {
        // Applying the same twice writes once.
        Some(own) if own.fields == mine => managers.0.push(own),
        _ => managers.0.push(Entry::new(Operation::Apply, by, mine)),
    }
    managers.put(&mut merged);
    Ok(merged)
}

fn before_first_apply(live: &Value, schema: Schema, by: Writer<'_>) -> Entry {
    let mut fields = compare(&Value::Null, live, schema).added;
    strip(&mut fields, "", false);
    let api_version = live["apiVersion"].as_str().unwrap_or(by.api_version);
    let was = Writer { manager: BEFORE, api_version, subresource: "", time: by.time };
    Entry::new(Operation::Update, was, fields)
}

/// Fields of one manager that would get another value.
struct Conflict {
    manager: String,
    paths: Vec<String>,
}

fn conflicts(managers: &Managers, written: &Fields) -> Vec<Conflict> {
    let of = |entry: &Entry| {
        let paths = entry.fields.common(written).paths();
        let paths: Vec<String> = paths.iter().map(|path| fieldset::readable(path)).collect();
        (!paths.is_empty()).then(|| Conflict { manager: described(entry), paths })
    };
    let mut found: Vec<Conflict> = managers.0.iter().filter_map(of).collect();
    found.sort_by(|a, b| a.manager.cmp(&b.manager));
    found
}

/// A manager as a conflict names it. Who applies is told by the name alone.
fn described(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if entry.operation == Operation::Update {
        text.push_str(&format!(" using {}", entry.api_version));
    }
    text
}

fn conflict_error(conflicts: &[Conflict]) -> ApiError {
    let count: usize = conflicts.iter().map(|conflict| conflict.paths.len()).sum();
    let message = match conflicts {
        [Conflict { manager, paths }] if count == 1 => {
            format!("Apply failed with 1 conflict: conflict with {manager}: {}", paths[0])
        }
        several => {
            let mut lines = Vec::new();
            for Conflict { manager, paths } in several {
                lines.push(format!("conflicts with {manager}:"));
                lines.extend(paths.iter().map(|path| format!("- {path}")));
            }
            format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
        }
    };
    let causes = conflicts.iter().flat_map(|Conflict { manager, paths }| {
        paths.iter().map(move |path| Cause {
            reason: "FieldManagerConflict".into(),
            message: format!("conflict with {manager}"),
            field: path.clone(),
        })
    });
    ApiError::new(409, "Conflict", message).with_causes(causes.collect())
}

/// Removes what this manager applied before and nobody owns now, and what held nothing else. `within` is the step that led
/// here: an item of a list that others have fields of keeps the fields that it is known by.
fn prune(value: &mut Value, before: &Fields, owned: &Fields, within: &str) {
    for (step, was) in before.below.iter().filter(|(step, _)| !fieldset::is_key(within, step)) {
        let Some(held) = owned.at(step) else {
            // Nobody has anything here, but what was never applied may be below.
            give_up(value, step, was);
            continue;
        };
        if let Some(next) = fieldset::step_into(value, step) {
            prune(next, was, held, step);
        }
    }
}

/// Removes a field or item with all that was applied of it.
fn give_up(value: &mut Value, step: &str, was: &Fields) {
    if was.member {
        fieldset::remove(value, step);
        return;
    }
    let Some(next) = fieldset::step_into(value, step) else { return };
    was.below.iter().for_each(|(step, was)| give_up(next, step, was));
    let empty = match next {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    if empty {
        fieldset::remove(value, step);
    }
}

fn merge(live: &Value, config: &Value, schema: Schema) -> Value {
    let (Some(old), Some(new)) = (live.as_object(), config.as_object()) else {
        return config.clone();
    };
    let mut merged = old.clone();
    for (field, value) in new {
        let rule = schema.rule(field);
        let merged_value = match (old.get(field), value, rule.apply) {
            (_, _, Applying::Atomic) => value.clone(),
            (Some(before), Value::Object(_), _) => merge(before, value, rule.item),
            (Some(Value::Array(before)), Value::Array(after), Applying::Keys(keys)) => {
                merge_list(before, after, keys, rule.item)
            }
            (Some(Value::Array(before)), Value::Array(after), Applying::Set) => {
                let mut all = before.clone();
                all.extend(after.iter().filter(|i| !before.contains(i)).cloned());
                Value::Array(all)
            }
            _ => value.clone(),
        };
        merged.insert(field.clone(), merged_value);
    }
    Value::Object(merged)
}

fn merge_list(before: &[Value], after: &[Value], keys: &[&str], schema: Schema) -> Value {
    let key =
        |v: &Value| v.as_object().map(|m| fieldset::key_of(m, keys, schema)).unwrap_or_default();
    let mut all: Vec<Value> = before.to_vec();
    for item in after {
        match all.iter_mut().find(|old| key(old) == key(item)) {
            Some(old) if schema.atomic => *old = item.clone(),
            Some(old) => *old = merge(old, item, schema),
            None => all.push(item.clone()),
        }
    }
    Value::Array(all)
}
