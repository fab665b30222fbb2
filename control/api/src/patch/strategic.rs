//! Strategic merge patch: merge patch that knows lists by key, with `$patch`, `$setElementOrder`,
//! `$deleteFromPrimitiveList` and `$retainKeys`.

use serde_json::{Map, Value};

use super::schema::{Patching, Rule, Schema};
use crate::status::ApiError;

const DIRECTIVE: &str = "$patch";
const RETAIN: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch.
pub fn strategic(object: Value, patch: &Value, schema: Schema) -> Result<Value, ApiError> {
    let Some(patch) = patch.as_object() else {
        return Err(ApiError::bad_request(
            "error decoding patch: a strategic merge patch must be an object",
        ));
    };
    let object = match object {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    merge_map(object, patch, schema).map(|m| Value::Object(m.unwrap_or_default()))
}

/// None: the patch deletes the map.
fn merge_map(
    mut current: Map<String, Value>,
    patch: &Map<String, Value>,
    schema: Schema,
) -> Result<Option<Map<String, Value>>, ApiError> {
    match patch.get(DIRECTIVE).map(|d| d.as_str().unwrap_or_default()) {
        None | Some("merge") => {}
        Some("delete") => return Ok(None),
        Some("replace") => {
            let mut whole = patch.clone();
            whole.remove(DIRECTIVE);
            return Ok(Some(whole));
        }
        Some(other) => return Err(bad(&format!("unknown patch type: {other}"))),
    }
    retain_keys(&mut current, patch)?;
    for (field, wanted) in patch {
        if field == DIRECTIVE || field == RETAIN || field.starts_with(ORDER) {
            continue;
        }
        if let Some(list) = field.strip_prefix(DELETE_FROM) {
            delete_from(&mut current, list, wanted);
            continue;
        }
        if wanted.is_null() {
            current.remove(field);
            continue;
        }
        let order = patch.get(&format!("{ORDER}{field}"));
        let merged = merge_field(current.remove(field), wanted, order, schema.rule(field))?;
        if let Some(value) = merged {
            current.insert(field.clone(), value);
        }
    }
    order_untouched_lists(&mut current, patch, schema);
    Ok(Some(current))
}

fn merge_field(
    old: Option<Value>,
    wanted: &Value,
    order: Option<&Value>,
    rule: Rule,
) -> Result<Option<Value>, ApiError> {
    match (wanted, rule.patch) {
        (_, Patching::Replace) => Ok(Some(clean(wanted.clone()))),
        (Value::Object(patch), _) => {
            let old = match old {
                Some(Value::Object(map)) => map,
                _ => Map::new(),
            };
            Ok(merge_map(old, patch, rule.item)?.map(Value::Object))
        }
        (Value::Array(patch), Patching::Key(key)) => {
            merge_list(as_list(old), patch, order, key, rule.item).map(|l| Some(Value::Array(l)))
        }
        (Value::Array(patch), Patching::Set) => {
            Ok(Some(Value::Array(merge_set(as_list(old), patch, order))))
        }
        (other, _) => Ok(Some(clean(other.clone()))),
    }
}

fn as_list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

fn merge_list(
    mut current: Vec<Value>,
    patch: &[Value],
    order: Option<&Value>,
    key: &str,
    schema: Schema,
) -> Result<Vec<Value>, ApiError> {
    if patch.iter().any(|p| p[DIRECTIVE] == "replace") {
        return Ok(patch
            .iter()
            .filter(|p| p.get(DIRECTIVE).is_none())
            .cloned()
            .map(clean)
            .collect());
    }
    let before: Vec<Value> = current.iter().map(|c| c[key].clone()).collect();
    for item in patch {
        let Some(map) = item.as_object() else {
            return Err(bad("expected a list of objects"));
        };
        let Some(id) = map.get(key) else {
            return Err(bad(&format!("map: {item} does not contain declared merge key: {key}")));
        };
        let at = current.iter().position(|c| &c[key] == id);
        let old = at
            .map(|i| current[i].take())
            .and_then(|v| if let Value::Object(m) = v { Some(m) } else { None });
        match (merge_map(old.unwrap_or_default(), map, schema)?, at) {
            (Some(new), Some(i)) => current[i] = Value::Object(new),
            (Some(new), None) => current.push(clean(Value::Object(new))),
            (None, Some(i)) => drop(current.remove(i)),
            (None, None) => {}
        }
    }
    let order = order.and_then(Value::as_array).map_or(patch, Vec::as_slice);
    let place = |item: &Value| order.iter().position(|o| o[key] == item[key]);
    Ok(arrange(current, place, |item| before.iter().position(|b| *b == item[key])))
}

fn merge_set(mut current: Vec<Value>, patch: &[Value], order: Option<&Value>) -> Vec<Value> {
    let before = current.clone();
    for item in patch {
        if !current.contains(item) {
            current.push(item.clone());
        }
    }
    let order = order.and_then(Value::as_array).map_or(patch, Vec::as_slice);
    let place = |item: &Value| order.iter().position(|o| o == item);
    arrange(current, place, |item| before.iter().position(|b| b == item))
}

/// Upstream's order: the items that the patch names in the patch's order, the others in the order they had. Between one
/// of each, the order before decides if both were there before, and the patch's item goes first if not.
fn arrange(
    items: Vec<Value>,
    place: impl Fn(&Value) -> Option<usize>,
    before: impl Fn(&Value) -> Option<usize>,
) -> Vec<Value> {
    let size = items.len();
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        items.into_iter().partition(|item| place(item).is_some());
    named.sort_by_key(&place);
    let (mut named, mut others) = (named.into_iter().peekable(), others.into_iter().peekable());
    let mut arranged = Vec::with_capacity(size);
    loop {
        let other_first = match (named.peek(), others.peek()) {
            (None, None) => return arranged,
            (Some(_), None) => false,
            (None, Some(_)) => true,
            (Some(named), Some(other)) => match (before(other), before(named)) {
                (Some(other), Some(named)) => other < named,
                _ => false,
            },
        };
        arranged.extend(if other_first { others.next() } else { named.next() });
    }
}

/// `$setElementOrder` may come without a patch of the list itself.
fn order_untouched_lists(
    current: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    schema: Schema,
) {
    for (field, order) in patch {
        let Some(field) = field.strip_prefix(ORDER) else { continue };
        if patch.contains_key(field) {
            continue;
        }
        let (Some(Value::Array(items)), Some(order)) = (current.get_mut(field), order.as_array())
        else {
            continue;
        };
        match schema.rule(field).patch {
            Patching::Key(key) => {
                let before: Vec<Value> = items.iter().map(|i| i[key].clone()).collect();
                let place = |item: &Value| order.iter().position(|o| o[key] == item[key]);
                *items = arrange(std::mem::take(items), place, |i| {
                    before.iter().position(|b| *b == i[key])
                });
            }
            _ => {
                let before = items.clone();
                let place = |item: &Value| order.iter().position(|o| o == item);
                *items = arrange(std::mem::take(items), place, |item| {
                    before.iter().position(|b| b == item)
                });
            }
        }
    }
}

fn retain_keys(
    current: &mut Map<String, Value>,
    patch: &Map<String, Value>,
) -> Result<(), ApiError> {
    let Some(keys) = patch.get(RETAIN) else { return Ok(()) };
    let keys: Vec<&str> = keys.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (field, value) in patch {
        if !field.starts_with('$') && !value.is_null() && !keys.contains(&field.as_str()) {
            return Err(bad(&format!("not all patch's keys: {field} is not in retainKeys list")));
        }
    }
    current.retain(|field, _| keys.contains(&field.as_str()));
    Ok(())
}

fn delete_from(current: &mut Map<String, Value>, list: &str, gone: &Value) {
    if let Some(Value::Array(items)) = current.get_mut(list) {
        items.retain(|item| !gone.as_array().is_some_and(|g| g.contains(item)));
    }
}

/// A patch value that becomes an object's value must not carry directives or nulls with it.
fn clean(value: Value) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.into_iter()
                .filter(|(k, v)| !k.starts_with('$') && !v.is_null())
                .map(|(k, v)| (k, clean(v)))
                .collect(),
        ),
        Value::Array(items) => Value::Array(
            items
                .into_iter()
                .filter(|i| i.get(DIRECTIVE).is_none_or(|d| d != "delete"))
                .map(clean)
                .collect(),
        ),
        other => other,
    }
}

fn bad(why: &str) -> ApiError {
    ApiError::bad_request(format!("invalid patch: {why}"))
}
