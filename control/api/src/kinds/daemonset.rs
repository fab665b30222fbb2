//! apps/v1 DaemonSet.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col, int, status, wide};
use super::workload::{self, number};
use super::{Causes, KindInfo};
use crate::intstr;
use crate::meta::{self, or_set};
use crate::time::Timestamp;
use crate::validate::{invalid, required};

/// DaemonSet.
pub static DAEMON_SET: KindInfo = KindInfo {
    group: "apps",
    kind: "DaemonSet",
    plural: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    status_subresource: true,
    generation: true,
    subresources: &[status("DaemonSet")],
    columns: &[
        NAME,
        int("Desired"),
        int("Current"),
        int("Ready"),
        int("Up-to-date"),
        int("Available"),
        col("Node Selector"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    default,
    validate,
    validate_update: |new, old, causes| {
        let (new, old) = (&new["spec"]["selector"], &old["spec"]["selector"]);
        rules::immutable(new, old, "spec.selector", causes);
    },
    ..BASE
};

fn default(object: &mut Value) {
    workload::default_template(object);
    if object["spec"].is_object() {
        let spec = meta::map(object, "spec");
        or_set(spec, "revisionHistoryLimit", 10);
        or_set(spec, "updateStrategy", json!({}));
        if let Some(strategy) = spec.get_mut("updateStrategy") {
            or_set_strategy(strategy);
        }
    }
    let status = meta::map(object, "status");
    for count in
        ["currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"]
    {
        or_set(status, count, 0);
    }
}

fn or_set_strategy(strategy: &mut Value) {
    if let Some(map) = strategy.as_object_mut() {
        or_set(map, "type", "RollingUpdate");
    }
    if strategy["type"] == "RollingUpdate" {
        let rolling = meta::map(strategy, "rollingUpdate");
        or_set(rolling, "maxUnavailable", 1);
        or_set(rolling, "maxSurge", 0);
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    workload::validate_lasting(object, "DaemonSet", causes);
    let strategy = &object["spec"]["updateStrategy"];
    let at = "spec.updateStrategy";
    rules::one_of(&strategy["type"], &format!("{at}.type"), &["RollingUpdate", "OnDelete"], causes);
    if strategy["type"] != "RollingUpdate" {
        return;
    }
    let rolling = &strategy["rollingUpdate"];
    for field in ["maxUnavailable", "maxSurge"] {
        if let Some(problem) = intstr::problem(&rolling[field]) {
            let field_at = format!("{at}.rollingUpdate.{field}");
            causes.push(invalid(&field_at, rolling[field].clone(), problem));
        }
    }
    let zero = |v: &Value| *v == 0 || *v == "0%" || *v == "0";
    if zero(&rolling["maxUnavailable"]) && zero(&rolling["maxSurge"]) {
        let field = format!("{at}.rollingUpdate.maxUnavailable");
        causes.push(required(&field, "cannot be 0 when maxSurge is 0"));
    }
    if !zero(&rolling["maxUnavailable"]) && !zero(&rolling["maxSurge"]) {
        let field = format!("{at}.rollingUpdate.maxSurge");
        let shown = rolling["maxSurge"].clone();
        causes.push(invalid(&field, shown, "may not be set when maxUnavailable is non-zero"));
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images, selector] = workload::wide_cells(o);
    vec![
        rules::name_cell(o),
        number(o, "status", "desiredNumberScheduled").into(),
        number(o, "status", "currentNumberScheduled").into(),
        number(o, "status", "numberReady").into(),
        number(o, "status", "updatedNumberScheduled").into(),
        number(o, "status", "numberAvailable").into(),
        rules::map_text(&o["spec"]["template"]["spec"]["nodeSelector"]).into(),
        rules::age_cell(o, now),
        containers,
        images,
        selector,
    ]
}
