//! core/v1 LimitRange.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::rules::{self, BASE, NAME, date};
use super::{Causes, KindInfo};
use crate::meta::{self, list, text};
use crate::quantity::{self, Quantity};
use crate::validate::{self, duplicate, forbidden, invalid, required};

const SIDES: [&str; 5] = ["min", "max", "default", "defaultRequest", "maxLimitRequestRatio"];

/// LimitRange.
pub static LIMIT_RANGE: KindInfo = KindInfo {
    kind: "LimitRange",
    plural: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    columns: &[NAME, date("Created At")],
    cells: |o, _| vec![rules::name_cell(o), rules::created_cell(o)],
    default,
    validate,
    ..BASE
};

/// Of containers, limits follow from the greatest allowed, and requests from limits or the least allowed.
fn default(object: &mut Value) {
    let Some(spec) = object.get_mut("spec") else { return };
    for limit in meta::items(spec, "limits") {
        for side in SIDES {
            if let Some(list) = limit.get_mut(side).and_then(Value::as_object_mut) {
                quantity::canonicalize(list);
            }
        }
        if limit["type"] != "Container" {
            continue;
        }
        let of = |side: &str| limit[side].as_object().cloned().unwrap_or_default();
        let (min, max, mut limits, mut requests) =
            (of("min"), of("max"), of("default"), of("defaultRequest"));
        fill(&mut limits, &max);
        fill(&mut requests, &limits);
        fill(&mut requests, &min);
        for (side, list) in [("default", limits), ("defaultRequest", requests)] {
            if !list.is_empty() {
                limit[side] = Value::Object(list);
            }
        }
    }
}

fn fill(list: &mut Map<String, Value>, from: &Map<String, Value>) {
    for (name, amount) in from {
        list.entry(name.clone()).or_insert_with(|| amount.clone());
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    let mut seen = BTreeSet::new();
    for (i, limit) in list(&object["spec"], "limits").iter().enumerate() {
        let at = format!("spec.limits[{i}]");
        let kind = text(limit, "type");
        if !seen.insert(kind) {
            causes.push(duplicate(&format!("{at}.type"), kind));
        }
        if !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") && !kind.contains('/') {
            let message = "must be a standard limit type or fully qualified";
            causes.push(invalid(&format!("{at}.type"), kind, message));
        }
        sides(limit, kind, &at, causes);
        let names: BTreeSet<&String> = SIDES
            .iter()
            .flat_map(|s| limit[*s].as_object().into_iter().flat_map(Map::keys))
            .collect();
        for name in names {
            order(limit, name, &at, causes);
        }
    }
}

fn sides(limit: &Value, kind: &str, at: &str, causes: &mut Causes) {
    for side in SIDES {
        rules::quantities(&limit[side], &format!("{at}.{side}"), causes);
        for name in limit[side].as_object().into_iter().flat_map(Map::keys) {
            let field = format!("{at}.{side}[{name}]");
            causes.extend(
                validate::label_key(name).iter().map(|p| invalid(&field, name.as_str(), p)),
            );
        }
    }
    if kind == "Pod" {
        for side in ["default", "defaultRequest"] {
            if limit[side].as_object().is_some_and(|m| !m.is_empty()) {
                let message = "may not be specified when `type` is 'Pod'";
                causes.push(forbidden(&format!("{at}.{side}"), message));
            }
        }
    }
    if kind == "PersistentVolumeClaim"
        && limit["min"]["storage"].is_null()
        && limit["max"]["storage"].is_null()
    {
        let message =
            "either minimum or maximum storage value is required, but neither was provided";
        causes.push(required(&format!("{at}.limits"), message));
    }
}

/// min <= defaultRequest <= default <= max.
fn order(limit: &Value, name: &str, at: &str, causes: &mut Causes) {
    let of = |side: &str| quantity::of(&limit[side][name]);
    let pairs = [
        ("min", "max", "min"),
        ("min", "defaultRequest", "defaultRequest"),
        ("min", "default", "default"),
        ("defaultRequest", "max", "defaultRequest"),
        ("defaultRequest", "default", "defaultRequest"),
        ("default", "max", "default"),
    ];
    let words = |side: &str| match side {
        "defaultRequest" => "default request".to_owned(),
        other => other.to_owned(),
    };
    let shown = |q: &Quantity| q.canonical();
    for (low, high, field) in pairs {
        if let (Some(a), Some(b)) = (of(low), of(high))
            && a > b
        {
            let message = format!(
                "{} value {} is greater than {} value {}",
                words(low),
                shown(&a),
                words(high),
                shown(&b)
            );
            let value = limit[field][name].clone();
            causes.push(invalid(&format!("{at}.{field}[{name}]"), value, &message));
        }
    }
    let ratio = of("maxLimitRequestRatio");
    if ratio.is_some_and(|r| r.milli() < 1000) {
        let field = format!("{at}.maxLimitRequestRatio[{name}]");
        let value = limit["maxLimitRequestRatio"][name].clone();
        causes.push(invalid(&field, value, "ratio cannot be less than 1"));
    }
}
