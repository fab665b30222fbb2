//! core/v1 PersistentVolume.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, status, wide};
use super::{Causes, KindInfo};
use crate::meta::{self, list, or_set, text};
use crate::quantity;
use crate::time::Timestamp;
use crate::validate::{forbidden, invalid, required};

/// What of a PersistentVolumeSpec is no source of the volume.
const NO_SOURCE: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];
/// Access modes, with their short forms.
const ACCESS: [(&str, &str); 4] = [
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
];

/// PersistentVolume.
pub static PERSISTENT_VOLUME: KindInfo = KindInfo {
    kind: "PersistentVolume",
    plural: "persistentvolumes",
    singular: "persistentvolume",
    short_names: &["pv"],
    namespaced: false,
    status_subresource: true,
    subresources: &[status("PersistentVolume")],
    columns: &[
        NAME,
        col("Capacity"),
        col("Access Modes"),
        col("Reclaim Policy"),
        col("Status"),
        col("Claim"),
        col("StorageClass"),
        col("VolumeAttributesClass"),
        col("Reason"),
        AGE,
        wide("VolumeMode"),
    ],
    cells,
    default,
    validate,
    validate_update,
    ..BASE
};

fn default(object: &mut Value) {
    if object["spec"].is_object() {
        let spec = meta::map(object, "spec");
        or_set(spec, "persistentVolumeReclaimPolicy", "Retain");
        or_set(spec, "volumeMode", "Filesystem");
        if let Some(capacity) = spec.get_mut("capacity").and_then(Value::as_object_mut) {
            quantity::canonicalize(capacity);
        }
        if let Some(path) = spec.get_mut("hostPath").and_then(Value::as_object_mut) {
            path.entry("type").or_insert_with(|| Value::from(""));
        }
    }
    or_set(meta::map(object, "status"), "phase", "Pending");
}

/// `RWO,ROX`
pub(super) fn short_modes(modes: &Value) -> String {
    let known = |mode: &&(&str, &str)| {
        modes.as_array().into_iter().flatten().any(|m| m.as_str() == Some(mode.0))
    };
    ACCESS.iter().filter(known).map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// Access modes of a volume or claim.
pub(super) fn access_modes(spec: &Value, path: &str, causes: &mut Causes) {
    let known: Vec<&str> = ACCESS.iter().map(|(mode, _)| *mode).collect();
    for mode in list(spec, "accessModes") {
        rules::one_of(mode, &format!("{path}.accessModes"), &known, causes);
    }
    let exclusive = list(spec, "accessModes").iter().any(|m| m == "ReadWriteOncePod");
    if exclusive && list(spec, "accessModes").len() > 1 {
        let message = "may not use ReadWriteOncePod with other access modes";
        causes.push(forbidden(&format!("{path}.accessModes"), message));
    }
}

fn source(spec: &Value) -> Vec<&String> {
    let all = spec.as_object().into_iter().flat_map(|m| m.keys());
    all.filter(|k| !NO_SOURCE.contains(&k.as_str())).collect()
}

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    if list(spec, "accessModes").is_empty() {
        causes.push(required("spec.accessModes", ""));
    }
    access_modes(spec, "spec", causes);
    let capacity = spec["capacity"].as_object();
    match capacity {
        None => causes.push(required("spec.capacity", "")),
        Some(c) if !c.contains_key("storage") || c.len() > 1 => {
            let message = "supported values: \"storage\"";
            causes.push(invalid("spec.capacity", spec["capacity"].clone(), message));
        }
        Some(c) => {
            for (name, amount) in c {
                let field = format!("spec.capacity[{name}]");
                if quantity::of(amount).is_none_or(|q| q.milli() <= 0) {
                    let message = "must be greater than zero";
                    causes.push(invalid(&field, amount.clone(), message));
                }
            }
        }
    }
    let policies = &["Delete", "Recycle", "Retain"];
    let field = "spec.persistentVolumeReclaimPolicy";
    rules::one_of(&spec["persistentVolumeReclaimPolicy"], field, policies, causes);
    rules::one_of(&spec["volumeMode"], "spec.volumeMode", &["Block", "Filesystem"], causes);
    match source(spec).as_slice() {
        [] => causes.push(required("spec", "must specify a volume type")),
        [_] => {}
        [_, second, ..] => {
            let message = "may not specify more than 1 volume type";
            causes.push(forbidden(&format!("spec.{second}"), message));
        }
    }
    if spec["hostPath"].is_object() {
        rules::required(&spec["hostPath"]["path"], "spec.hostPath.path", "", causes);
    }
    if spec["nfs"].is_object() {
        rules::required(&spec["nfs"]["server"], "spec.nfs.server", "", causes);
        rules::required(&spec["nfs"]["path"], "spec.nfs.path", "", causes);
    }
    if spec["csi"].is_object() {
        rules::required(&spec["csi"]["driver"], "spec.csi.driver", "", causes);
        rules::required(&spec["csi"]["volumeHandle"], "spec.csi.volumeHandle", "", causes);
    }
    if spec["local"].is_object() {
        rules::required(&spec["local"]["path"], "spec.local.path", "", causes);
        if !spec["nodeAffinity"]["required"].is_object() {
            let message = "Local volume requires node affinity";
            causes.push(required("spec.nodeAffinity", message));
        }
    }
}

fn validate_update(new: &Value, old: &Value, causes: &mut Causes) {
    let (new, old) = (&new["spec"], &old["spec"]);
    if rules::without(new, &NO_SOURCE) != rules::without(old, &NO_SOURCE) {
        let message = "spec.persistentvolumesource is immutable after creation";
        causes.push(forbidden("spec.persistentvolumesource", message));
    }
    rules::immutable(&new["volumeMode"], &old["volumeMode"], "spec.volumeMode", causes);
    if old["nodeAffinity"].is_object() {
        let field = "spec.nodeAffinity";
        rules::immutable(&new["nodeAffinity"], &old["nodeAffinity"], field, causes);
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let claim = match text(&spec["claimRef"], "name") {
        "" => String::new(),
        name => format!("{}/{name}", text(&spec["claimRef"], "namespace")),
    };
    let phase = if meta::deleting(o) { "Terminating" } else { text(&o["status"], "phase") };
    vec![
        rules::name_cell(o),
        text(&spec["capacity"], "storage").into(),
        short_modes(&spec["accessModes"]).into(),
        text(spec, "persistentVolumeReclaimPolicy").into(),
        phase.into(),
        claim.into(),
        text(spec, "storageClassName").into(),
        rules::or_unset(text(spec, "volumeAttributesClassName")),
        text(&o["status"], "reason").into(),
        rules::age_cell(o, now),
        rules::or_unset(text(spec, "volumeMode")),
    ]
}
