//! policy/v1 PodDisruptionBudget.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, int, status};
use super::workload::number;
use super::{Causes, KindInfo};
use crate::intstr;
use crate::meta;
use crate::time::Timestamp;
use crate::validate::invalid;

/// PodDisruptionBudget.
pub static POD_DISRUPTION_BUDGET: KindInfo = KindInfo {
    group: "policy",
    kind: "PodDisruptionBudget",
    plural: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    status_subresource: true,
    generation: true,
    subresources: &[status("PodDisruptionBudget")],
    columns: &[NAME, col("Min Available"), col("Max Unavailable"), int("Allowed Disruptions"), AGE],
    cells,
    default: |object| {
        let status = meta::map(object, "status");
        for count in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
            meta::or_set(status, count, 0);
        }
    },
    validate,
    ..BASE
};

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    if !spec["minAvailable"].is_null() && !spec["maxUnavailable"].is_null() {
        let message = "minAvailable and maxUnavailable cannot be both set";
        causes.push(invalid("spec", spec.clone(), message));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        let at = format!("spec.{field}");
        if let Some(problem) = intstr::problem(&spec[field]) {
            causes.push(invalid(&at, spec[field].clone(), problem));
        } else if intstr::scaled(&spec[field], 100, intstr::Round::Up).is_some_and(|n| n > 100)
            && spec[field].is_string()
        {
            let message = "must not be greater than 100%";
            causes.push(invalid(&at, spec[field].clone(), message));
        }
    }
    rules::selector(&spec["selector"], "spec.selector", causes);
    let policies = &["AlwaysAllow", "IfHealthyBudget"];
    let field = "spec.unhealthyPodEvictionPolicy";
    rules::one_of(&spec["unhealthyPodEvictionPolicy"], field, policies, causes);
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let shown = |field: &str| match &o["spec"][field] {
        Value::Null => "N/A".to_owned(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    };
    vec![
        rules::name_cell(o),
        shown("minAvailable").into(),
        shown("maxUnavailable").into(),
        number(o, "status", "disruptionsAllowed").into(),
        rules::age_cell(o, now),
    ]
}
