//! Server-side apply: merging an applied configuration, and who owns which fields.
//!
//! In: the current object (or none), the applied configuration, the manager and the time. Out: the merged object with
//! its `managedFields`, or a conflict that names the other managers. Only applied fields are tracked: ordinary updates
//! take no ownership yet, so they cause no conflicts.

use serde_json::{Map, Value, json};

use super::fieldset::{self, Set};
use super::schema::{Applying, Schema};
use crate::status::{ApiError, Cause};

/// Who applies, as what, and how.
#[derive(Debug, Clone, Copy)]
pub struct Applier<'a> {
    /// Field manager.
    pub manager: &'a str,
    /// Take over fields of others.
    pub force: bool,
    /// Now, as RFC 3339.
    pub time: &'a str,
    /// `status`, or empty.
    pub subresource: &'a str,
}

/// Applies `config` to `live` (null: creates).
pub fn apply(
    live: &Value,
    config: &Value,
    schema: Schema,
    by: Applier<'_>,
) -> Result<Value, ApiError> {
    if config["metadata"]["managedFields"].as_array().is_some_and(|m| !m.is_empty()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let api_version = config["apiVersion"].as_str().unwrap_or_default();
    let mut mine = fieldset::of_map(config.as_object().unwrap_or(&Map::new()), schema);
    untracked(&mut mine);
    let mut managers: Vec<Value> =
        live["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
    let own = take_own(&mut managers, by, api_version);
    let before =
        own.as_ref().and_then(|(_, m)| m["fieldsV1"].as_object().cloned()).unwrap_or_default();
    let conflicts = conflicts(&managers, &mine, live, config);
    if !conflicts.is_empty() && !by.force {
        return Err(conflict_error(&conflicts));
    }
    for conflict in &conflicts {
        disown(&mut managers[conflict.index], &conflict.path);
    }
    managers.retain(|m| m["fieldsV1"].as_object().is_some_and(|f| !f.is_empty()));
    let mut merged = merge(live, config, schema);
    remove_abandoned(&mut merged, before, &mine, &managers);
    let place = own.as_ref().map_or(managers.len(), |(at, _)| (*at).min(managers.len()));
    managers.insert(place, entry(own.map(|(_, m)| m), mine, by, api_version));
    merged["metadata"]["managedFields"] = Value::Array(managers);
    Ok(merged)
}

/// Fields nobody owns.
fn untracked(set: &mut Set) {
    set.remove("f:apiVersion");
    set.remove("f:kind");
    let Some(meta) = set.get_mut("f:metadata").and_then(Value::as_object_mut) else { return };
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "managedFields",
        "selfLink",
    ] {
        meta.remove(&format!("f:{field}"));
    }
    if meta.is_empty() {
        set.remove("f:metadata");
    }
}

/// Takes this manager's earlier apply entry out of the list, with its place.
fn take_own(
    managers: &mut Vec<Value>,
    by: Applier<'_>,
    api_version: &str,
) -> Option<(usize, Value)> {
    let at = managers.iter().position(|m| {
        m["manager"] == by.manager
            && m["operation"] == "Apply"
            && m["apiVersion"] == api_version
            && m["subresource"].as_str().unwrap_or_default() == by.subresource
    })?;
    Some((at, managers.remove(at)))
}

/// The new entry; the old one where nothing changed, so that applying twice writes once.
fn entry(own: Option<Value>, mine: Set, by: Applier<'_>, api_version: &str) -> Value {
    if let Some(own) = own.filter(|o| o["fieldsV1"].as_object() == Some(&mine)) {
        return own;
    }
    let mut entry = json!({
        "manager": by.manager, "operation": "Apply", "apiVersion": api_version, "time": by.time,
        "fieldsType": "FieldsV1", "fieldsV1": Value::Object(mine),
    });
    if !by.subresource.is_empty() {
        entry["subresource"] = Value::from(by.subresource);
    }
    entry
}

struct Conflict {
    index: usize,
    manager: String,
    path: Vec<String>,
}

fn conflicts(managers: &[Value], mine: &Set, live: &Value, config: &Value) -> Vec<Conflict> {
    let mut found = Vec::new();
    for (index, manager) in managers.iter().enumerate() {
        let Some(theirs) = manager["fieldsV1"].as_object() else { continue };
        for path in fieldset::common(mine, theirs) {
            if fieldset::lookup(live, &path) == fieldset::lookup(config, &path) {
                continue;
            }
            let using = format!(
                "conflict with {} using {} at {}",
                manager["manager"],
                manager["apiVersion"].as_str().unwrap_or_default(),
                manager["time"].as_str().unwrap_or_default()
            );
            found.push(Conflict { index, manager: using, path });
        }
    }
    found
}

fn conflict_error(conflicts: &[Conflict]) -> ApiError {
    let plural = if conflicts.len() == 1 { "conflict" } else { "conflicts" };
    let lines: Vec<String> = conflicts
        .iter()
        .map(|c| format!("{}: {}", c.manager, fieldset::readable(&c.path)))
        .collect();
    let text = if lines.len() == 1 { lines[0].clone() } else { lines.join("\n- ") };
    let causes = conflicts.iter().map(|c| Cause {
        reason: "FieldManagerConflict",
        message: c.manager.clone(),
        field: fieldset::readable(&c.path),
    });
    ApiError::new(
        409,
        "Conflict",
        format!("Apply failed with {} {plural}: {text}", conflicts.len()),
    )
    .with_causes(causes.collect())
}

fn disown(manager: &mut Value, path: &[String]) {
    let mut gone = Value::Object(Map::new());
    for step in path.iter().rev() {
        let mut outer = Map::new();
        outer.insert(step.clone(), gone);
        gone = Value::Object(outer);
    }
    if let (Some(set), Some(gone)) = (manager["fieldsV1"].as_object_mut(), gone.as_object()) {
        fieldset::subtract(set, gone);
    }
}

/// Fields this manager applied before, leaves out now, and nobody else owns.
fn remove_abandoned(merged: &mut Value, mut before: Set, mine: &Set, others: &[Value]) {
    fieldset::subtract(&mut before, mine);
    for other in others.iter().filter_map(|m| m["fieldsV1"].as_object()) {
        fieldset::subtract(&mut before, other);
    }
    // Items first: they are found by the keys that are fields too.
    drop_items(merged, &before, mine, others, &mut Vec::new());
    for path in fieldset::leaves(&before) {
        fieldset::remove(merged, &path);
    }
}

/// List items whose own entry (`.`) was given up are removed whole.
fn drop_items(
    merged: &mut Value,
    given_up: &Set,
    mine: &Set,
    others: &[Value],
    at: &mut Vec<String>,
) {
    for (step, below) in given_up {
        let Some(below) = below.as_object() else { continue };
        at.push(step.clone());
        let owned = |set: &Set| {
            let mut here = Some(set);
            for step in at.iter() {
                here = here.and_then(|s| s.get(step)).and_then(Value::as_object);
            }
            here.is_some()
        };
        if step.starts_with("k:")
            && below.contains_key(".")
            && !owned(mine)
            && !others.iter().filter_map(|m| m["fieldsV1"].as_object()).any(owned)
        {
            fieldset::remove(merged, at);
        } else {
            drop_items(merged, below, mine, others, at);
        }
        at.pop();
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
