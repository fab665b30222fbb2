//! apps/v1 ReplicaSet.

use serde_json::Value;

use super::KindInfo;
use super::rules::{self, AGE, BASE, NAME, SCALE, int, status, wide};
use super::workload::{self, number};
use crate::meta::or_set;
use crate::time::Timestamp;

/// ReplicaSet.
pub static REPLICA_SET: KindInfo = KindInfo {
    group: "apps",
    kind: "ReplicaSet",
    plural: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    status_subresource: true,
    generation: true,
    scale: Some(workload::SCALE_PATHS),
    subresources: &[SCALE, status("ReplicaSet")],
    columns: &[
        NAME,
        int("Desired"),
        int("Current"),
        int("Ready"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    fields: &["status.replicas"],
    field: |object, _| number(object, "status", "replicas").to_string(),
    default,
    validate: workload::validate,
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
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        or_set(spec, "replicas", 1);
    }
    let status = crate::meta::map(object, "status");
    or_set(status, "replicas", 0);
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images, selector] = workload::wide_cells(o);
    vec![
        rules::name_cell(o),
        number(o, "spec", "replicas").into(),
        number(o, "status", "replicas").into(),
        number(o, "status", "readyReplicas").into(),
        rules::age_cell(o, now),
        containers,
        images,
        selector,
    ]
}
