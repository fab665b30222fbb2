//! What an autoscaler may be.

use serde_json::Value;

use super::super::{Causes, rules};
use crate::meta::{list, text};
use crate::quantity;
use crate::validate::{forbidden, invalid, required};

/// Longest that a policy may look back, in seconds.
const PERIOD_MAX: i64 = 1800;
/// Longest that a recommendation may be held, in seconds.
const WINDOW_MAX: i64 = 3600;
/// The types of metrics, and the field of each.
const TYPES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

pub(super) fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let min = spec["minReplicas"].as_i64();
    let max = spec["maxReplicas"].as_i64().unwrap_or(0);
    rules::at_least(&spec["minReplicas"], 1, "spec.minReplicas", causes);
    if max < 1 {
        causes.push(invalid("spec.maxReplicas", max, "must be greater than 0"));
    }
    if min.is_some_and(|min| max < min) {
        let message = "must be greater than or equal to `minReplicas`";
        causes.push(invalid("spec.maxReplicas", max, message));
    }
    reference(&spec["scaleTargetRef"], "spec.scaleTargetRef", causes);
    for (i, metric) in list(spec, "metrics").iter().enumerate() {
        self::metric(metric, &format!("spec.metrics[{i}]"), causes);
    }
    for direction in ["scaleUp", "scaleDown"] {
        let at = format!("spec.behavior.{direction}");
        scaling(&spec["behavior"][direction], &at, causes);
    }
}

fn reference(reference: &Value, at: &str, causes: &mut Causes) {
    for field in ["kind", "name"] {
        let at = format!("{at}.{field}");
        if rules::required(&reference[field], &at, "", causes) {
            rules::named(&reference[field], &at, crate::validate::path_segment, causes);
        }
    }
}

fn metric(metric: &Value, at: &str, causes: &mut Causes) {
    let kind = text(metric, "type");
    if kind.is_empty() {
        causes.push(required(&format!("{at}.type"), "must specify a metric source type"));
        return;
    }
    let names: Vec<&str> = TYPES.iter().map(|(name, _)| *name).collect();
    rules::one_of(&metric["type"], &format!("{at}.type"), &names, causes);
    let Some((_, field)) = TYPES.iter().find(|(name, _)| *name == kind) else { return };
    let source = &metric[*field];
    let at_source = format!("{at}.{field}");
    if !source.is_object() {
        let message = "must populate information for the given metric source";
        causes.push(required(&at_source, message));
        return;
    }
    if let Some((_, other)) = TYPES.iter().find(|(_, f)| f != field && metric[*f].is_object()) {
        let message = "must populate the given metric source only";
        causes.push(forbidden(&format!("{at}.{other}"), message));
    }
    match kind {
        "Resource" | "ContainerResource" => {
            rules::required(
                &source["name"],
                &format!("{at_source}.name"),
                "must specify a resource name",
                causes,
            );
            if kind == "ContainerResource" {
                let message = "must specify a container name";
                let field = format!("{at_source}.container");
                rules::required(&source["container"], &field, message, causes);
            }
        }
        _ => {
            let field = format!("{at_source}.metric.name");
            let message = "must specify a metric name";
            rules::required(&source["metric"]["name"], &field, message, causes);
        }
    }
    if kind == "Object" {
        let at = format!("{at_source}.describedObject");
        reference(&source["describedObject"], &at, causes);
    }
    target(&source["target"], &format!("{at_source}.target"), kind, causes);
}

fn target(target: &Value, at: &str, kind: &str, causes: &mut Causes) {
    let types = &["AverageValue", "Utilization", "Value"];
    if text(target, "type").is_empty() {
        let message = "must specify a metric target type";
        causes.push(required(&format!("{at}.type"), message));
    } else if !types.contains(&text(target, "type")) {
        let message = "must be either Utilization, Value, or AverageValue";
        causes.push(invalid(&format!("{at}.type"), text(target, "type"), message));
    }
    for field in ["value", "averageValue"] {
        let value = &target[field];
        if !value.is_null() && quantity::of(value).is_none_or(|q| q.milli() <= 0) {
            let message = "must be positive";
            causes.push(invalid(&format!("{at}.{field}"), value.clone(), message));
        }
    }
    let utilization = &target["averageUtilization"];
    if utilization.as_i64().is_some_and(|n| n < 1) {
        let field = format!("{at}.averageUtilization");
        causes.push(invalid(&field, utilization.clone(), "must be greater than 0"));
    }
    let some = |fields: &[&str]| fields.iter().any(|f| !target[*f].is_null());
    match kind {
        "Resource" | "ContainerResource" if !some(&["averageUtilization", "averageValue"]) => {
            let message = "must set either a target raw value or a target utilization";
            causes.push(required(&format!("{at}.averageUtilization"), message));
        }
        "Pods" if !some(&["averageValue"]) => {
            let message = "must specify a positive target averageValue";
            causes.push(required(&format!("{at}.averageValue"), message));
        }
        "Object" | "External" if !some(&["value", "averageValue"]) => {
            let message = "must set either a target value for metric or a per-pod target";
            causes.push(required(&format!("{at}.averageValue"), message));
        }
        _ => {}
    }
}

fn scaling(scaling: &Value, at: &str, causes: &mut Causes) {
    if !scaling.is_object() {
        return;
    }
    let window = &scaling["stabilizationWindowSeconds"];
    let field = format!("{at}.stabilizationWindowSeconds");
    rules::not_negative(window, &field, causes);
    if window.as_i64().is_some_and(|n| n > WINDOW_MAX) {
        let message = format!("must be less than or equal to {WINDOW_MAX}");
        causes.push(invalid(&field, window.clone(), &message));
    }
    let select = &["Disabled", "Max", "Min"];
    rules::one_of(&scaling["selectPolicy"], &format!("{at}.selectPolicy"), select, causes);
    if list(scaling, "policies").is_empty() {
        causes.push(required(&format!("{at}.policies"), "must specify at least one Policy"));
    }
    for (i, policy) in list(scaling, "policies").iter().enumerate() {
        let at = format!("{at}.policies[{i}]");
        rules::one_of(&policy["type"], &format!("{at}.type"), &["Percent", "Pods"], causes);
        for (field, most) in [("value", i64::MAX), ("periodSeconds", PERIOD_MAX)] {
            let n = policy[field].as_i64().unwrap_or(0);
            let at = format!("{at}.{field}");
            if n <= 0 {
                causes.push(invalid(&at, n, "must be greater than zero"));
            } else if n > most {
                let message = format!("must be less than or equal to {most}");
                causes.push(invalid(&at, n, &message));
            }
        }
    }
}
