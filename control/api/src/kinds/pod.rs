//! core/v1 Pod.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col, part, status, wide};
use super::{Causes, KindInfo, STATUS_VERBS, SubresourceInfo, podspec};
use crate::meta::{self, list, or_set, text};
use crate::quantity;
use crate::validate::{forbidden, invalid};

mod printing;
mod subresources;

/// Pod.
pub static POD: KindInfo = KindInfo {
    kind: "Pod",
    plural: "pods",
    singular: "pod",
    short_names: &["po"],
    categories: &["all"],
    status_subresource: true,
    generation: true,
    subresources: &[
        part("binding", "Binding", &["create"]),
        SubresourceInfo {
            take: |new, body| set_or_remove(new, body, "ephemeralContainers"),
            validate: subresources::ephemeral,
            ..part("ephemeralcontainers", "Pod", STATUS_VERBS)
        },
        SubresourceInfo {
            group_version: Some(("policy", "v1")),
            ..part("eviction", "Eviction", &["create"])
        },
        part("log", "Pod", &["get"]),
        SubresourceInfo {
            take: subresources::resize,
            validate: subresources::resized,
            ..part("resize", "Pod", STATUS_VERBS)
        },
        status("Pod"),
    ],
    columns: &[
        NAME,
        col("Ready"),
        col("Status"),
        col("Restarts"),
        AGE,
        wide("IP"),
        wide("Node"),
        wide("Nominated Node"),
        wide("Readiness Gates"),
    ],
    cells: printing::cells,
    fields: &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ],
    field,
    default,
    validate: |object, causes| podspec::validate(&object["spec"], "spec", causes),
    validate_update,
    ..BASE
};

/// Takes one field of the spec from a body.
fn set_or_remove(new: &mut Value, body: &Value, field: &str) {
    let spec = meta::map(new, "spec");
    match body["spec"].get(field) {
        Some(value) => drop(spec.insert(field.to_owned(), value.clone())),
        None => drop(spec.remove(field)),
    }
}

fn field(object: &Value, path: &str) -> String {
    match path {
        "spec.hostNetwork" => (object["spec"]["hostNetwork"] == true).to_string(),
        "status.podIPs" => list(&object["status"], "podIPs")
            .iter()
            .map(|i| text(i, "ip"))
            .collect::<Vec<_>>()
            .join(","),
        _ => rules::plain_field(object, path),
    }
}

fn default(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec") {
        podspec::default(spec);
        podspec::default_requests(spec);
        if let Some(spec) = spec.as_object_mut() {
            or_set(spec, "enableServiceLinks", true);
        }
    }
    let qos = qos_class(&object["spec"]);
    let status = meta::map(object, "status");
    or_set(status, "phase", "Pending");
    or_set(status, "qosClass", qos);
}

/// Guaranteed, Burstable or BestEffort.
fn qos_class(spec: &Value) -> &'static str {
    let containers = || list(spec, "containers").iter().chain(list(spec, "initContainers"));
    let amount = |c: &Value, side: &str, r: &str| {
        quantity::of(&c["resources"][side][r]).map(|q| q.milli()).filter(|m| *m > 0)
    };
    let sides =
        [("limits", "cpu"), ("limits", "memory"), ("requests", "cpu"), ("requests", "memory")];
    if containers().all(|c| sides.iter().all(|(s, r)| amount(c, s, r).is_none())) {
        return "BestEffort";
    }
    let exact = |c: &Value, r: &str| {
        amount(c, "limits", r).is_some() && amount(c, "limits", r) == amount(c, "requests", r)
    };
    if containers().all(|c| exact(c, "cpu") && exact(c, "memory")) {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Only images, deadlines, tolerations (more), gates (fewer) and a negative grace may change.
fn validate_update(new: &Value, old: &Value, causes: &mut Causes) {
    let mut a = new["spec"].clone();
    let mut b = old["spec"].clone();
    for spec in [&mut a, &mut b] {
        for field in podspec::LISTS {
            for container in meta::items(spec, field) {
                if let Some(map) = container.as_object_mut() {
                    map.remove("image");
                    map.remove("imagePullPolicy");
                }
            }
        }
        if let Some(map) = spec.as_object_mut() {
            for field in
                ["activeDeadlineSeconds", "tolerations", "schedulingGates", "ephemeralContainers"]
            {
                map.remove(field);
            }
        }
    }
    if a != b {
        causes.push(forbidden("spec", "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"));
    }
    let kept = list(&old["spec"], "tolerations")
        .iter()
        .all(|t| list(&new["spec"], "tolerations").contains(t));
    if !kept {
        causes.push(forbidden(
            "spec.tolerations",
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
    let gates = list(&old["spec"], "schedulingGates");
    if list(&new["spec"], "schedulingGates").iter().any(|g| !gates.contains(g)) {
        causes.push(forbidden(
            "spec.schedulingGates",
            "only deletion is allowed, but found new scheduling gates",
        ));
    }
    let (was, is) = (&old["spec"]["activeDeadlineSeconds"], &new["spec"]["activeDeadlineSeconds"]);
    if was.is_number() && (is.is_null() || is.as_i64() > was.as_i64()) {
        let shown = if is.is_null() { json!("") } else { is.clone() };
        causes.push(invalid(
            "spec.activeDeadlineSeconds",
            shown,
            "must be less than or equal to previous value",
        ));
    }
}
