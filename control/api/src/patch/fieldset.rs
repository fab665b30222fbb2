//! Sets of field paths in the FieldsV1 form: `{"f:spec": {"f:replicas": {}}}`.

use serde_json::{Map, Value, json};

use super::schema::{Applying, Rule, Schema};

/// A set of fields: a FieldsV1 tree.
pub(super) type Set = Map<String, Value>;

/// All fields of a value.
pub(super) fn of_map(map: &Map<String, Value>, schema: Schema) -> Set {
    let mut set = Set::new();
    for (field, value) in map {
        let below = of_field(value, schema.rule(field));
        set.insert(format!("f:{field}"), Value::Object(below));
    }
    set
}

fn of_field(value: &Value, rule: Rule) -> Set {
    match (value, rule.apply) {
        (_, Applying::Atomic) => Set::new(),
        (Value::Object(map), _) => of_map(map, rule.item),
        (Value::Array(items), Applying::Keys(keys)) => {
            let mut set = Set::new();
            for value in items.iter().filter_map(Value::as_object) {
                let mut below =
                    if rule.item.atomic { Set::new() } else { of_map(value, rule.item) };
                if !rule.item.atomic {
                    below.insert(".".to_owned(), json!({}));
                }
                set.insert(key_of(value, keys, rule.item), Value::Object(below));
            }
            set
        }
        (Value::Array(items), Applying::Set) => {
            items.iter().map(|i| (format!("v:{i}"), json!({}))).collect()
        }
        _ => Set::new(),
    }
}

/// `k:{"containerPort":80,"protocol":"TCP"}`, with the defaults that keys have.
pub(super) fn key_of(item: &Map<String, Value>, keys: &[&str], of: Schema) -> String {
    let mut parts = Map::new();
    for key in keys {
        let default = || of.field(key).and_then(|f| f.default).map(Value::from);
        let value = item.get(*key).cloned().or_else(default);
        if let Some(value) = value {
            parts.insert((*key).to_owned(), value);
        }
    }
    format!("k:{}", Value::Object(parts))
}

/// Whether a tree ends here: nothing below but itself.
pub(super) fn is_leaf(set: &Set) -> bool {
    set.keys().all(|k| k == ".")
}

/// Takes from `a` what is in `b`: leaf by leaf.
pub(super) fn subtract(a: &mut Set, b: &Set) {
    a.retain(|key, mine| {
        let (Some(mine), Some(theirs)) =
            (mine.as_object_mut(), b.get(key).and_then(Value::as_object))
        else {
            return true;
        };
        if is_leaf(mine) {
            return false;
        }
        subtract(mine, theirs);
        !mine.is_empty()
    });
}

/// Leaves that are in both, as readable paths (`.spec.replicas`) with their raw steps.
pub(super) fn common(a: &Set, b: &Set) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    walk_common(a, b, &mut Vec::new(), &mut out);
    out
}

fn walk_common(a: &Set, b: &Set, at: &mut Vec<String>, out: &mut Vec<Vec<String>>) {
    for (key, below) in a {
        let (Some(mine), Some(theirs)) = (below.as_object(), b.get(key).and_then(Value::as_object))
        else {
            continue;
        };
        at.push(key.clone());
        if is_leaf(mine) || is_leaf(theirs) {
            if key != "." {
                out.push(at.clone());
            }
        } else {
            walk_common(mine, theirs, at, out);
        }
        at.pop();
    }
}

/// All leaves.
pub(super) fn leaves(a: &Set) -> Vec<Vec<String>> {
    common(a, a)
}

/// `.spec.template.spec.containers[name="c"].image`
pub(super) fn readable(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        if let Some(field) = step.strip_prefix("f:") {
            text.push('.');
            text.push_str(field);
        } else if let Some(keys) =
            step.strip_prefix("k:").and_then(|k| serde_json::from_str::<Set>(k).ok())
        {
            let parts: Vec<String> = keys.iter().map(|(k, v)| format!("{k}={v}")).collect();
            text.push_str(&format!("[{}]", parts.join(",")));
        } else if let Some(value) = step.strip_prefix("v:") {
            text.push_str(&format!("[={value}]"));
        }
    }
    text
}

/// The value at a path.
pub(super) fn lookup<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    let mut at = value;
    for step in path {
        at = if let Some(field) = step.strip_prefix("f:") {
            at.get(field)?
        } else if let Some(keys) = step.strip_prefix("k:") {
            let keys: Set = serde_json::from_str(keys).ok()?;
            at.as_array()?.iter().find(|item| matches_keys(item, &keys))?
        } else {
            let wanted: Value = serde_json::from_str(step.strip_prefix("v:")?).ok()?;
            at.as_array()?.iter().find(|item| **item == wanted)?
        };
    }
    Some(at)
}

pub(super) fn matches_keys(item: &Value, keys: &Set) -> bool {
    keys.iter().all(|(k, v)| {
        &item[k.as_str()] == v || (k == "protocol" && item.get(k).is_none() && v == "TCP")
    })
}

/// Removes what the path names; list items whose own entry goes are removed whole.
pub(super) fn remove(value: &mut Value, path: &[String]) {
    let Some((step, rest)) = path.split_first() else { return };
    if let Some(field) = step.strip_prefix("f:") {
        if rest.is_empty() {
            if let Some(map) = value.as_object_mut() {
                map.remove(field);
            }
        } else if let Some(next) = value.get_mut(field) {
            remove(next, rest);
        }
    } else if let Some(keys) =
        step.strip_prefix("k:").and_then(|k| serde_json::from_str::<Set>(k).ok())
    {
        let Some(items) = value.as_array_mut() else { return };
        if rest.is_empty() {
            items.retain(|item| !matches_keys(item, &keys));
        } else if let Some(item) = items.iter_mut().find(|item| matches_keys(item, &keys)) {
            remove(item, rest);
        }
    } else if let Some(wanted) =
        step.strip_prefix("v:").and_then(|v| serde_json::from_str::<Value>(v).ok())
        && let Some(items) = value.as_array_mut()
    {
        items.retain(|item| *item != wanted);
    }
}
