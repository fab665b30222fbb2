//! What most kinds share: the row they start from, and small pieces for columns and checks.

use serde_json::Value;

use super::{ALL_VERBS, Causes, Column, KindInfo, STATUS_VERBS, SubresourceInfo};
use crate::quantity;
use crate::time::{self, Timestamp};
use crate::validate;

/// A namespaced core/v1 kind without status, whose columns are NAME and AGE.
pub(crate) const BASE: KindInfo = KindInfo {
    group: "",
    version: "v1",
    kind: "",
    plural: "",
    singular: "",
    short_names: &[],
    categories: &[],
    namespaced: true,
    status_subresource: false,
    generation: false,
    scale: None,
    verbs: ALL_VERBS,
    subresources: &[],
    create_on_update: false,
    columns: &[NAME, AGE],
    cells: |o, now| vec![name_cell(o), age_cell(o, now)],
    fields: &[],
    field: |object, path| plain_field(object, path),
    view: None,
    custom: None,
    default: |_| {},
    status_on_create: false,
    prepare_caller: |_, _, _| {},
    prepare_create: |_| {},
    prepare_update: |_, _| {},
    name_rule: validate::dns_subdomain,
    validate: |_, _| {},
    validate_update: |_, _, _| {},
    validate_status: |_, _| {},
};

pub(crate) const NAME: Column =
    Column { name: "Name", kind: "string", format: "name", priority: 0 };
pub(crate) const AGE: Column = col("Age");

pub(super) const fn col(name: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 0 }
}

pub(super) const fn wide(name: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 1 }
}

pub(super) const fn int(name: &'static str) -> Column {
    Column { name, kind: "integer", format: "", priority: 0 }
}

/// A moment, shown as it is.
pub(super) const fn date(name: &'static str) -> Column {
    Column { name, kind: "date", format: "", priority: 0 }
}

pub(super) const fn boolean(name: &'static str) -> Column {
    Column { name, kind: "boolean", format: "", priority: 0 }
}

/// `/status` with the parent's own kind. The registry writes it by rules of its own.
pub(crate) const fn status(kind: &'static str) -> SubresourceInfo {
    part("status", kind, STATUS_VERBS)
}

/// A part with the parent's own version that writes nothing of the object.
pub(super) const fn part(
    name: &'static str,
    kind: &'static str,
    verbs: &'static [&'static str],
) -> SubresourceInfo {
    SubresourceInfo {
        name,
        kind,
        group_version: None,
        verbs,
        take: |_, _| {},
        validate: |_, _, _| {},
    }
}

/// `/scale`.
pub(crate) const SCALE: SubresourceInfo = SubresourceInfo {
    group_version: Some(("autoscaling", "v1")),
    ..part("scale", "Scale", STATUS_VERBS)
};

pub(super) fn name_cell(object: &Value) -> Value {
    object["metadata"]["name"].clone()
}

pub(super) fn age_cell(object: &Value, now: Timestamp) -> Value {
    Value::from(time::age(object["metadata"]["creationTimestamp"].as_str(), now))
}

/// A dotted path read as text: absent is empty, except for booleans, which are `false`.
pub(super) fn plain_field(object: &Value, path: &str) -> String {
    let mut at = object;
    for step in path.split('.') {
        at = &at[step];
    }
    match at {
        Value::String(s) => s.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// The value of an enum-like text field, absent or one of these.
pub(super) fn one_of(value: &Value, field: &str, allowed: &[&str], causes: &mut Causes) {
    if let Some(text) = value.as_str()
        && !allowed.contains(&text)
    {
        causes.push(validate::not_supported(field, text, allowed));
    }
}

/// Must not change.
pub(super) fn immutable(new: &Value, old: &Value, field: &str, causes: &mut Causes) {
    if new != old {
        causes.push(validate::invalid(field, new.clone(), "field is immutable"));
    }
}

/// Must not be negative.
pub(super) fn not_negative(value: &Value, field: &str, causes: &mut Causes) {
    if let Some(n) = value.as_i64().filter(|n| *n < 0) {
        causes.push(validate::invalid(field, n, "must be greater than or equal to 0"));
    }
}

/// `a=b,c=d` or `<none>`.
pub(super) fn map_text(map: &Value) -> String {
    let pairs: Vec<String> = map
        .as_object()
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
        .collect();
    or_none(pairs.join(","))
}

/// `<none>` for nothing.
pub(super) fn or_none(text: String) -> String {
    if text.is_empty() { "<none>".to_owned() } else { text }
}

/// `<unset>` for nothing.
pub(super) fn or_unset(text: &str) -> Value {
    Value::from(if text.is_empty() { "<unset>" } else { text })
}

/// `True`, `False`, or `<unset>`.
pub(super) fn yes_no(value: &Value) -> Value {
    Value::from(match value.as_bool() {
        Some(true) => "True",
        Some(false) => "False",
        None => "<unset>",
    })
}

/// When it was made.
pub(super) fn created_cell(object: &Value) -> Value {
    object["metadata"]["creationTimestamp"].clone()
}

/// The first three, and how many more there are.
pub(super) fn first_three(items: &[String]) -> String {
    let shown = items.iter().take(3).cloned().collect::<Vec<_>>().join(",");
    match items.len() {
        0 => String::new(),
        n if n > 3 => format!("{shown} + {} more...", n - 3),
        _ => shown,
    }
}

/// What of an object's text lists is shown in one cell.
pub(super) fn joined(list: &Value, separator: &str) -> String {
    let items = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    items.collect::<Vec<_>>().join(separator)
}

/// Text that has to be there.
pub(super) fn required(value: &Value, field: &str, message: &str, causes: &mut Causes) -> bool {
    let there = value.as_str().is_some_and(|s| !s.is_empty());
    if !there {
        causes.push(validate::required(field, message));
    }
    there
}

/// Text that has to be there and one of these.
pub(super) fn required_of(value: &Value, field: &str, allowed: &[&str], causes: &mut Causes) {
    if required(value, field, "", causes) {
        one_of(value, field, allowed, causes);
    }
}

/// A list without items.
pub(super) fn is_empty(value: &Value) -> bool {
    value.as_array().is_none_or(Vec::is_empty)
}

/// A name by one of the rules of [`validate`].
pub(super) fn named(
    value: &Value,
    field: &str,
    rule: fn(&str, bool) -> Vec<String>,
    causes: &mut Causes,
) {
    if let Some(name) = value.as_str() {
        causes.extend(rule(name, false).iter().map(|p| validate::invalid(field, name, p)));
    }
}

/// At least this.
pub(super) fn at_least(value: &Value, min: i64, field: &str, causes: &mut Causes) {
    if let Some(n) = value.as_i64().filter(|n| *n < min) {
        let message = format!("must be greater than or equal to {min}");
        causes.push(validate::invalid(field, n, &message));
    }
}

/// Quantities of a resource list, none of them negative.
pub(super) fn quantities(list: &Value, field: &str, causes: &mut Causes) {
    for (name, amount) in list.as_object().into_iter().flatten() {
        quantity(amount, &format!("{field}[{name}]"), causes);
    }
}

/// A quantity that is not negative.
pub(super) fn quantity(amount: &Value, field: &str, causes: &mut Causes) {
    match quantity::of(amount) {
        None => causes.push(validate::invalid(field, amount.clone(), quantity::PATTERN)),
        Some(q) if q.milli() < 0 => {
            let message = "must be greater than or equal to 0";
            causes.push(validate::invalid(field, amount.clone(), message));
        }
        Some(_) => {}
    }
}

/// A LabelSelector: keys, values and operators.
pub(super) fn selector(selector: &Value, path: &str, causes: &mut Causes) {
    validate::labels(&selector["matchLabels"], &format!("{path}.matchLabels"), causes);
    for (i, term) in crate::meta::list(selector, "matchExpressions").iter().enumerate() {
        let at = format!("{path}.matchExpressions[{i}]");
        let key = term["key"].as_str().unwrap_or_default();
        let problems = validate::label_key(key);
        causes.extend(problems.iter().map(|p| validate::invalid(&format!("{at}.key"), key, p)));
        let operator = term["operator"].as_str().unwrap_or_default();
        let (field, none) = (format!("{at}.values"), is_empty(&term["values"]));
        match operator {
            "In" | "NotIn" if none => {
                let message = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(validate::required(&field, message));
            }
            "Exists" | "DoesNotExist" if !none => {
                let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(validate::forbidden(&field, message));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => causes.push(validate::invalid(
                &format!("{at}.operator"),
                other,
                "not a valid selector operator",
            )),
        }
    }
}

/// What of a spec may change: all else is compared.
pub(super) fn without(value: &Value, fields: &[&str]) -> Value {
    let mut rest = value.clone();
    if let Some(map) = rest.as_object_mut() {
        map.retain(|name, _| !fields.contains(&name.as_str()));
    }
    rest
}
