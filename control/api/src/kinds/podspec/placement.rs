//! Where a pod may go: affinity, spreading, tolerations.

use serde_json::Value;

use super::super::{Causes, rules};
use crate::meta::{list, text};
use crate::validate::{self, forbidden, invalid, required};

/// Checks what of a PodSpec at `path` is about nodes.
pub(super) fn validate(spec: &Value, path: &str, causes: &mut Causes) {
    let affinity = &spec["affinity"];
    node_affinity(&affinity["nodeAffinity"], &format!("{path}.affinity.nodeAffinity"), causes);
    for kind in ["podAffinity", "podAntiAffinity"] {
        pod_affinity(&affinity[kind], &format!("{path}.affinity.{kind}"), causes);
    }
    for (i, spread) in list(spec, "topologySpreadConstraints").iter().enumerate() {
        self::spread(spread, &format!("{path}.topologySpreadConstraints[{i}]"), causes);
    }
    for (i, toleration) in list(spec, "tolerations").iter().enumerate() {
        self::toleration(toleration, &format!("{path}.tolerations[{i}]"), causes);
    }
}

fn node_affinity(affinity: &Value, at: &str, causes: &mut Causes) {
    let demanded = &affinity["requiredDuringSchedulingIgnoredDuringExecution"];
    let field = format!("{at}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms");
    if demanded.is_object() && list(demanded, "nodeSelectorTerms").is_empty() {
        causes.push(required(&field, "must have at least one node selector term"));
    }
    for (i, term) in list(demanded, "nodeSelectorTerms").iter().enumerate() {
        node_term(term, &format!("{field}[{i}]"), causes);
    }
    let field = format!("{at}.preferredDuringSchedulingIgnoredDuringExecution");
    let wishes = list(affinity, "preferredDuringSchedulingIgnoredDuringExecution");
    for (i, wish) in wishes.iter().enumerate() {
        weight(&wish["weight"], &format!("{field}[{i}].weight"), causes);
        node_term(&wish["preference"], &format!("{field}[{i}].preference"), causes);
    }
}

fn node_term(term: &Value, at: &str, causes: &mut Causes) {
    for (i, wanted) in list(term, "matchExpressions").iter().enumerate() {
        let at = format!("{at}.matchExpressions[{i}]");
        let (operator, values) = (text(wanted, "operator"), list(wanted, "values"));
        let field = format!("{at}.values");
        match operator {
            "In" | "NotIn" if values.is_empty() => {
                let message = "must be specified when `operator` is 'In' or 'NotIn'";
                causes.push(required(&field, message));
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                causes.push(forbidden(&field, message));
            }
            "Gt" | "Lt" if values.len() != 1 => {
                let message = "must be specified single value when `operator` is 'Lt' or 'Gt'";
                causes.push(required(&field, message));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => {
                let message = "not a valid selector operator";
                causes.push(invalid(&format!("{at}.operator"), other, message));
            }
        }
        label(&wanted["key"], &format!("{at}.key"), causes);
    }
}

fn pod_affinity(affinity: &Value, at: &str, causes: &mut Causes) {
    let field = format!("{at}.requiredDuringSchedulingIgnoredDuringExecution");
    let demands = list(affinity, "requiredDuringSchedulingIgnoredDuringExecution");
    for (i, term) in demands.iter().enumerate() {
        pod_term(term, &format!("{field}[{i}]"), causes);
    }
    let field = format!("{at}.preferredDuringSchedulingIgnoredDuringExecution");
    let wishes = list(affinity, "preferredDuringSchedulingIgnoredDuringExecution");
    for (i, wish) in wishes.iter().enumerate() {
        weight(&wish["weight"], &format!("{field}[{i}].weight"), causes);
        pod_term(&wish["podAffinityTerm"], &format!("{field}[{i}].podAffinityTerm"), causes);
    }
}

fn pod_term(term: &Value, at: &str, causes: &mut Causes) {
    for field in ["labelSelector", "namespaceSelector"] {
        rules::selector(&term[field], &format!("{at}.{field}"), causes);
    }
    let field = format!("{at}.topologyKey");
    if rules::required(&term["topologyKey"], &field, "can not be empty", causes) {
        label(&term["topologyKey"], &field, causes);
    }
}

fn weight(weight: &Value, field: &str, causes: &mut Causes) {
    let n = weight.as_i64().unwrap_or(0);
    if !(1..=100).contains(&n) {
        causes.push(invalid(field, n, "must be in the range 1-100"));
    }
}

fn label(key: &Value, field: &str, causes: &mut Causes) {
    rules::named(key, field, |s, _| validate::label_key(s), causes);
}

fn spread(spread: &Value, at: &str, causes: &mut Causes) {
    let skew = spread["maxSkew"].as_i64().unwrap_or(0);
    if skew <= 0 {
        causes.push(invalid(&format!("{at}.maxSkew"), skew, "must be greater than zero"));
    }
    let field = format!("{at}.topologyKey");
    if rules::required(&spread["topologyKey"], &field, "can not be empty", causes) {
        label(&spread["topologyKey"], &field, causes);
    }
    let field = format!("{at}.whenUnsatisfiable");
    let actions = &["DoNotSchedule", "ScheduleAnyway"];
    rules::required_of(&spread["whenUnsatisfiable"], &field, actions, causes);
    if let Some(n) = spread["minDomains"].as_i64().filter(|n| *n <= 0) {
        causes.push(invalid(&format!("{at}.minDomains"), n, "must be greater than zero"));
    }
    for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        let at = format!("{at}.{field}");
        rules::one_of(&spread[field], &at, &["Honor", "Ignore"], causes);
    }
    rules::selector(&spread["labelSelector"], &format!("{at}.labelSelector"), causes);
}

fn toleration(toleration: &Value, at: &str, causes: &mut Causes) {
    let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
    if !key.is_empty() {
        label(&toleration["key"], &format!("{at}.key"), causes);
    }
    let operators = &["Equal", "Exists"];
    rules::one_of(&toleration["operator"], &format!("{at}.operator"), operators, causes);
    let effects = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
    if !text(toleration, "effect").is_empty() {
        rules::one_of(&toleration["effect"], &format!("{at}.effect"), effects, causes);
    }
    if key.is_empty() && operator != "Exists" {
        let message = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
        causes.push(invalid(&format!("{at}.operator"), operator, message));
    }
    if operator == "Exists" && !text(toleration, "value").is_empty() {
        let message = "value must be empty when `operator` is 'Exists'";
        causes.push(invalid(&format!("{at}.operator"), text(toleration, "value"), message));
    }
    if toleration["tolerationSeconds"].is_number() && text(toleration, "effect") != "NoExecute" {
        let message = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        causes.push(invalid(&format!("{at}.effect"), text(toleration, "effect"), message));
    }
}
