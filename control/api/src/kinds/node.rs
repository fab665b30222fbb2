//! core/v1 Node.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, status, wide};
use super::{Causes, KindInfo};
use crate::meta::{self, list, or_set, text};
use crate::quantity;
use crate::time::Timestamp;
use crate::validate::forbidden;

const ROLE: &str = "node-role.kubernetes.io/";

/// Node.
pub static NODE: KindInfo = KindInfo {
    kind: "Node",
    plural: "nodes",
    singular: "node",
    short_names: &["no"],
    namespaced: false,
    status_subresource: true,
    subresources: &[status("Node")],
    columns: &[
        NAME,
        col("Status"),
        col("Roles"),
        AGE,
        col("Version"),
        wide("Internal-IP"),
        wide("External-IP"),
        wide("OS-Image"),
        wide("Kernel-Version"),
        wide("Container-Runtime"),
    ],
    cells,
    fields: &["spec.unschedulable"],
    field: |object, _| (object["spec"]["unschedulable"] == true).to_string(),
    default,
    status_on_create: true,
    validate_update,
    ..BASE
};

fn default(object: &mut Value) {
    for field in ["capacity", "allocatable"] {
        if let Some(resources) = object["status"].get_mut(field).and_then(Value::as_object_mut) {
            quantity::canonicalize(resources);
        }
    }
    let capacity = object["status"]["capacity"].clone();
    if capacity.is_object() {
        or_set(meta::map(object, "status"), "allocatable", capacity);
    }
    if !object["spec"].is_object() {
        object["spec"] = serde_json::json!({});
    }
}

fn validate_update(new: &Value, old: &Value, causes: &mut Causes) {
    for field in ["podCIDR", "providerID"] {
        let (was, is) = (&old["spec"][field], &new["spec"][field]);
        if was.as_str().is_some_and(|s| !s.is_empty()) && was != is {
            causes.push(forbidden(
                &format!("spec.{field}"),
                "node updates may not change it except from \"\" to valid",
            ));
        }
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let info = &o["status"]["nodeInfo"];
    let known = |field: &str| match text(info, field) {
        "" => "<unknown>".to_owned(),
        given => given.to_owned(),
    };
    let address = |kind: &str| {
        let found = list(&o["status"], "addresses").iter().find(|a| a["type"] == kind);
        rules::or_none(found.map(|a| text(a, "address").to_owned()).unwrap_or_default())
    };
    vec![
        rules::name_cell(o),
        condition(o).into(),
        roles(o).into(),
        rules::age_cell(o, now),
        text(info, "kubeletVersion").into(),
        address("InternalIP").into(),
        address("ExternalIP").into(),
        known("osImage").into(),
        known("kernelVersion").into(),
        known("containerRuntimeVersion").into(),
    ]
}

fn condition(o: &Value) -> String {
    let ready = list(&o["status"], "conditions").iter().find(|c| c["type"] == "Ready");
    let mut text = match ready {
        Some(c) if c["status"] == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }
    .to_owned();
    if o["spec"]["unschedulable"] == true {
        text.push_str(",SchedulingDisabled");
    }
    text
}

fn roles(o: &Value) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in o["metadata"]["labels"].as_object().into_iter().flatten() {
        if let Some(role) = key.strip_prefix(ROLE).filter(|r| !r.is_empty()) {
            roles.push(role);
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str().filter(|r| !r.is_empty()));
        }
    }
    roles.sort_unstable();
    rules::or_none(roles.join(","))
}
