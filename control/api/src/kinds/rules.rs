//! What most kinds share: the row they start from, and small pieces for columns and checks.

use serde_json::Value;

use super::{ALL_VERBS, Causes, Column, KindInfo, STATUS_VERBS, SubresourceInfo};
use crate::decode::strict::Checked;
use crate::patch::schema;
use crate::time::{self, Timestamp};
use crate::validate;

/// A namespaced core/v1 kind without status, whose columns are NAME and AGE.
pub(super) const BASE: KindInfo = KindInfo {
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
    check: |_| Checked::default(),
    default: |_| {},
    status_on_create: false,
    prepare_create: |_| {},
    prepare_update: |_, _| {},
    name_rule: validate::dns_subdomain,
    validate: |_, _| {},
    validate_update: |_, _, _| {},
    validate_status: |_, _| {},
    schema: &schema::OBJECT,
};

pub(super) const NAME: Column =
    Column { name: "Name", kind: "string", format: "name", priority: 0 };
pub(super) const AGE: Column = col("Age");

pub(super) const fn col(name: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 0 }
}

pub(super) const fn wide(name: &'static str) -> Column {
    Column { name, kind: "string", format: "", priority: 1 }
}

pub(super) const fn int(name: &'static str) -> Column {
    Column { name, kind: "integer", format: "", priority: 0 }
}

/// `/status` with the parent's own kind.
pub(super) const fn status(kind: &'static str) -> SubresourceInfo {
    SubresourceInfo { name: "status", kind, group_version: None, verbs: STATUS_VERBS }
}

/// `/scale`.
pub(super) const SCALE: SubresourceInfo = SubresourceInfo {
    name: "scale",
    kind: "Scale",
    group_version: Some(("autoscaling", "v1")),
    verbs: STATUS_VERBS,
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
