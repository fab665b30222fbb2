//! core/v1 ReplicationController: what ReplicaSets were before, with a plain map as selector.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, SCALE, int, status, wide};
use super::workload::{self, number};
use super::{Causes, KindInfo};
use crate::meta::{self, or_set};
use crate::time::Timestamp;
use crate::validate::{invalid, required};

/// ReplicationController.
pub static REPLICATION_CONTROLLER: KindInfo = KindInfo {
    kind: "ReplicationController",
    plural: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    status_subresource: true,
    generation: true,
    scale: Some(workload::SCALE_PATHS),
    subresources: &[SCALE, status("ReplicationController")],
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
    validate,
    ..BASE
};

/// Labels and selector come from the template where they are not given.
fn default(object: &mut Value) {
    workload::default_template(object);
    let labels = object["spec"]["template"]["metadata"]["labels"].clone();
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        or_set(spec, "replicas", 1);
        if labels.is_object() && spec.get("selector").is_none_or(|s| s == &json!({})) {
            spec.insert("selector".to_owned(), labels.clone());
        }
    }
    if labels.is_object() {
        or_set(meta::of(object), "labels", labels);
    }
    or_set(meta::map(object, "status"), "replicas", 0);
}

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    rules::not_negative(&spec["replicas"], "spec.replicas", causes);
    rules::not_negative(&spec["minReadySeconds"], "spec.minReadySeconds", causes);
    let selector = spec["selector"].as_object();
    if selector.is_none_or(serde_json::Map::is_empty) {
        causes.push(required("spec.selector", ""));
    }
    let labels = &spec["template"]["metadata"]["labels"];
    if selector.into_iter().flatten().any(|(key, value)| labels.get(key) != Some(value)) {
        let message = "`selector` does not match template `labels`";
        causes.push(invalid("spec.template.metadata.labels", labels.clone(), message));
    }
    if !spec["template"].is_object() {
        causes.push(required("spec.template", ""));
        return;
    }
    workload::template(&spec["template"], "spec.template", causes);
    workload::always_restarts(&spec["template"], "ReplicationController", causes);
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images] = workload::container_cells(&o["spec"]["template"]);
    vec![
        rules::name_cell(o),
        number(o, "spec", "replicas").into(),
        number(o, "status", "replicas").into(),
        number(o, "status", "readyReplicas").into(),
        rules::age_cell(o, now),
        containers,
        images,
        rules::map_text(&o["spec"]["selector"]).into(),
    ]
}
