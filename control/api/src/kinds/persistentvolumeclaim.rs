//! core/v1 PersistentVolumeClaim.

use serde_json::Value;

use super::persistentvolume::{access_modes, short_modes};
use super::rules::{self, AGE, BASE, NAME, col, status, wide};
use super::{Causes, KindInfo};
use crate::meta::{self, list, or_set, text};
use crate::quantity;
use crate::time::Timestamp;
use crate::validate::{forbidden, invalid, required};

/// PersistentVolumeClaim.
pub static PERSISTENT_VOLUME_CLAIM: KindInfo = KindInfo {
    kind: "PersistentVolumeClaim",
    plural: "persistentvolumeclaims",
    singular: "persistentvolumeclaim",
    short_names: &["pvc"],
    status_subresource: true,
    subresources: &[status("PersistentVolumeClaim")],
    columns: &[
        NAME,
        col("Status"),
        col("Volume"),
        col("Capacity"),
        col("Access Modes"),
        col("StorageClass"),
        col("VolumeAttributesClass"),
        AGE,
        wide("VolumeMode"),
    ],
    cells,
    default,
    validate: |object, causes| validate_spec(&object["spec"], "spec", causes),
    validate_update,
    ..BASE
};

/// Fills in a claim, as StatefulSets have them too. The old and the new name of a source say the same.
pub(super) fn default(object: &mut Value) {
    if object["spec"].is_object() {
        let spec = meta::map(object, "spec");
        or_set(spec, "volumeMode", "Filesystem");
        for side in ["requests", "limits"] {
            let resources = spec.get_mut("resources").and_then(|r| r.get_mut(side));
            if let Some(resources) = resources.and_then(Value::as_object_mut) {
                quantity::canonicalize(resources);
            }
        }
        match (spec.get("dataSource").cloned(), spec.get("dataSourceRef").cloned()) {
            (Some(source), None) => drop(spec.insert("dataSourceRef".to_owned(), source)),
            (None, Some(source)) if source["namespace"].is_null() => {
                spec.insert("dataSource".to_owned(), source);
            }
            _ => {}
        }
    }
    or_set(meta::map(object, "status"), "phase", "Pending");
}

/// A claim's spec at `path`.
pub(super) fn validate_spec(spec: &Value, path: &str, causes: &mut Causes) {
    if list(spec, "accessModes").is_empty() {
        let message = "at least 1 access mode is required";
        causes.push(required(&format!("{path}.accessModes"), message));
    }
    access_modes(spec, path, causes);
    rules::selector(&spec["selector"], &format!("{path}.selector"), causes);
    let storage = &spec["resources"]["requests"]["storage"];
    let field = format!("{path}.resources[storage]");
    match quantity::of(storage) {
        None if storage.is_null() => causes.push(required(&field, "")),
        Some(q) if q.milli() > 0 => {}
        _ => causes.push(invalid(&field, storage.clone(), "must be greater than zero")),
    }
    let class = &spec["storageClassName"];
    if !text(spec, "storageClassName").is_empty() {
        let rule = crate::validate::dns_subdomain;
        rules::named(class, &format!("{path}.storageClassName"), rule, causes);
    }
    let modes = &["Block", "Filesystem"];
    rules::one_of(&spec["volumeMode"], &format!("{path}.volumeMode"), modes, causes);
    let source = &spec["dataSource"];
    if source.is_object() {
        for part in ["name", "kind"] {
            let field = format!("{path}.dataSource.{part}");
            rules::required(&source[part], &field, "", causes);
        }
    }
}

fn validate_update(new: &Value, old: &Value, causes: &mut Causes) {
    let (after, before) = (&new["spec"], &old["spec"]);
    // A claim that is being bound gets its volume's name, and its class if it has none.
    let mut free = vec!["resources", "volumeAttributesClassName"];
    if text(before, "volumeName").is_empty() {
        free.push("volumeName");
    }
    if before["storageClassName"].is_null() {
        free.push("storageClassName");
    }
    if rules::without(after, &free) != rules::without(before, &free) {
        let message = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        causes.push(forbidden("spec", message));
    }
    let size = |spec: &Value| quantity::of(&spec["resources"]["requests"]["storage"]);
    let (is, was) = (size(after), size(before));
    let held = quantity::of(&old["status"]["capacity"]["storage"]);
    if is < was && (held.is_none() || is <= held) {
        let message = "field can not be less than status.capacity";
        causes.push(forbidden("spec.resources.requests.storage", message));
    }
    if is > was && text(&old["status"], "phase") != "Bound" {
        let message = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        causes.push(forbidden("spec", message));
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let bound = !text(spec, "volumeName").is_empty();
    let phase = if meta::deleting(o) { "Terminating" } else { text(&o["status"], "phase") };
    let capacity = if bound { text(&o["status"]["capacity"], "storage") } else { "" };
    let modes = if bound { short_modes(&o["status"]["accessModes"]) } else { String::new() };
    vec![
        rules::name_cell(o),
        phase.into(),
        text(spec, "volumeName").into(),
        capacity.into(),
        modes.into(),
        text(spec, "storageClassName").into(),
        rules::or_unset(text(spec, "volumeAttributesClassName")),
        rules::age_cell(o, now),
        rules::or_unset(text(spec, "volumeMode")),
    ]
}
