//! apps/v1 Deployment.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, SCALE, col, int, status, wide};
use super::workload::{self, number};
use super::{Causes, KindInfo};
use crate::intstr;
use crate::meta::or_set;
use crate::time::Timestamp;
use crate::validate::{forbidden, invalid};

/// Deployment.
pub static DEPLOYMENT: KindInfo = KindInfo {
    group: "apps",
    kind: "Deployment",
    plural: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    status_subresource: true,
    generation: true,
    scale: Some(workload::SCALE_PATHS),
    subresources: &[SCALE, status("Deployment")],
    columns: &[
        NAME,
        col("Ready"),
        int("Up-to-date"),
        int("Available"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    default,
    validate,
    validate_update: |new, old, causes| {
        rules::immutable(
            &new["spec"]["selector"],
            &old["spec"]["selector"],
            "spec.selector",
            causes,
        );
    },
    ..BASE
};

fn default(object: &mut Value) {
    workload::default_template(object);
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    or_set(spec, "replicas", 1);
    or_set(spec, "revisionHistoryLimit", 10);
    or_set(spec, "progressDeadlineSeconds", 600);
    or_set(spec, "strategy", json!({}));
    let Some(strategy) = spec.get_mut("strategy").and_then(Value::as_object_mut) else { return };
    or_set(strategy, "type", "RollingUpdate");
    if strategy["type"] == "RollingUpdate" {
        or_set(strategy, "rollingUpdate", json!({}));
        if let Some(rolling) = strategy.get_mut("rollingUpdate").and_then(Value::as_object_mut) {
            or_set(rolling, "maxUnavailable", "25%");
            or_set(rolling, "maxSurge", "25%");
        }
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    workload::validate(object, causes);
    let spec = &object["spec"];
    let strategy = &spec["strategy"];
    rules::one_of(&strategy["type"], "spec.strategy.type", &["Recreate", "RollingUpdate"], causes);
    let rolling = &strategy["rollingUpdate"];
    if strategy["type"] == "Recreate" && rolling.is_object() {
        causes.push(forbidden(
            "spec.strategy.rollingUpdate",
            "may not be specified when strategy `type` is 'Recreate'",
        ));
        return;
    }
    for field in ["maxUnavailable", "maxSurge"] {
        if let Some(problem) = intstr::problem(&rolling[field]) {
            causes.push(invalid(
                &format!("spec.strategy.rollingUpdate.{field}"),
                rolling[field].clone(),
                problem,
            ));
        }
    }
    let zero = |v: &Value| v == &json!(0) || v == &json!("0%");
    if zero(&rolling["maxUnavailable"]) && zero(&rolling["maxSurge"]) {
        let message = "may not be 0 when `maxSurge` is 0";
        causes.push(invalid(
            "spec.strategy.rollingUpdate.maxUnavailable",
            rolling["maxUnavailable"].clone(),
            message,
        ));
    }
    let deadline = spec["progressDeadlineSeconds"].as_i64().unwrap_or(600);
    if deadline <= spec["minReadySeconds"].as_i64().unwrap_or(0) {
        causes.push(invalid(
            "spec.progressDeadlineSeconds",
            deadline,
            "must be greater than minReadySeconds",
        ));
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let ready =
        format!("{}/{}", number(o, "status", "readyReplicas"), number(o, "spec", "replicas"));
    let [containers, images, selector] = workload::wide_cells(o);
    vec![
        rules::name_cell(o),
        ready.into(),
        number(o, "status", "updatedReplicas").into(),
        number(o, "status", "availableReplicas").into(),
        rules::age_cell(o, now),
        containers,
        images,
        selector,
    ]
}
