//! storage.k8s.io/v1: what CSI drivers and their helpers write.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, boolean, col, int, status};
use super::{Causes, KindInfo};
use crate::meta::{self, list, or_set, text};
use crate::quantity;
use crate::time::Timestamp;
use crate::validate::{self, duplicate, invalid, required};

/// Longest name of a driver.
const DRIVER_NAME_MAX: usize = 63;

/// CSIDriver.
pub static CSI_DRIVER: KindInfo = KindInfo {
    group: "storage.k8s.io",
    kind: "CSIDriver",
    plural: "csidrivers",
    singular: "csidriver",
    namespaced: false,
    columns: &[
        NAME,
        boolean("AttachRequired"),
        boolean("PodInfoOnMount"),
        boolean("StorageCapacity"),
        col("TokenRequests"),
        boolean("RequiresRepublish"),
        col("Modes"),
        AGE,
    ],
    cells: driver_cells,
    default: |object| {
        if !object["spec"].is_object() {
            return;
        }
        let spec = meta::map(object, "spec");
        or_set(spec, "attachRequired", true);
        for field in ["podInfoOnMount", "storageCapacity", "requiresRepublish", "seLinuxMount"] {
            or_set(spec, field, false);
        }
        or_set(spec, "fsGroupPolicy", "ReadWriteOnceWithFSType");
        if spec.get("volumeLifecycleModes").is_none_or(rules::is_empty) {
            spec.insert("volumeLifecycleModes".to_owned(), json!(["Persistent"]));
        }
    },
    validate: |object, causes| {
        driver_name(&object["metadata"]["name"], "metadata.name", causes);
        let spec = &object["spec"];
        let policies = &["File", "None", "ReadWriteOnceWithFSType"];
        rules::one_of(&spec["fsGroupPolicy"], "spec.fsGroupPolicy", policies, causes);
        for mode in list(spec, "volumeLifecycleModes") {
            let modes = &["Ephemeral", "Persistent"];
            rules::one_of(mode, "spec.volumeLifecycleModes", modes, causes);
        }
    },
    validate_update: |new, old, causes| {
        for field in ["attachRequired", "fsGroupPolicy", "volumeLifecycleModes"] {
            let at = format!("spec.{field}");
            rules::immutable(&new["spec"][field], &old["spec"][field], &at, causes);
        }
    },
    ..BASE
};

/// CSINode.
pub static CSI_NODE: KindInfo = KindInfo {
    group: "storage.k8s.io",
    kind: "CSINode",
    plural: "csinodes",
    singular: "csinode",
    namespaced: false,
    columns: &[NAME, int("Drivers"), AGE],
    cells: |o, now| {
        let count = list(&o["spec"], "drivers").len();
        vec![rules::name_cell(o), count.into(), rules::age_cell(o, now)]
    },
    validate: |object, causes| {
        let mut names = Vec::new();
        for (i, driver) in list(&object["spec"], "drivers").iter().enumerate() {
            let at = format!("spec.drivers[{i}]");
            driver_name(&driver["name"], &format!("{at}.name"), causes);
            rules::required(&driver["nodeID"], &format!("{at}.nodeID"), "", causes);
            let name = text(driver, "name");
            if names.contains(&name) {
                causes.push(duplicate(&format!("{at}.name"), name));
            }
            names.push(name);
            rules::not_negative(
                &driver["allocatable"]["count"],
                &format!("{at}.allocatable.count"),
                causes,
            );
        }
    },
    ..BASE
};

/// CSIStorageCapacity.
pub static CSI_STORAGE_CAPACITY: KindInfo = KindInfo {
    group: "storage.k8s.io",
    kind: "CSIStorageCapacity",
    plural: "csistoragecapacities",
    singular: "csistoragecapacity",
    columns: &[NAME, col("StorageClassName"), col("Capacity")],
    cells: |o, _| {
        let capacity = text(o, "capacity");
        let class = text(o, "storageClassName");
        vec![rules::name_cell(o), class.into(), rules::or_unset(capacity)]
    },
    default: |object| {
        for field in ["capacity", "maximumVolumeSize"] {
            if let Some(q) = object.get(field).and_then(quantity::of) {
                object[field] = q.canonical().into();
            }
        }
    },
    validate: |object, causes| {
        if rules::required(&object["storageClassName"], "storageClassName", "", causes) {
            let rule = validate::dns_subdomain;
            rules::named(&object["storageClassName"], "storageClassName", rule, causes);
        }
        for field in ["capacity", "maximumVolumeSize"] {
            if !object[field].is_null() {
                rules::quantity(&object[field], field, causes);
            }
        }
        rules::selector(&object["nodeTopology"], "nodeTopology", causes);
    },
    validate_update: |new, old, causes| {
        for field in ["nodeTopology", "storageClassName"] {
            rules::immutable(&new[field], &old[field], field, causes);
        }
    },
    ..BASE
};

/// VolumeAttachment.
pub static VOLUME_ATTACHMENT: KindInfo = KindInfo {
    group: "storage.k8s.io",
    kind: "VolumeAttachment",
    plural: "volumeattachments",
    singular: "volumeattachment",
    namespaced: false,
    status_subresource: true,
    subresources: &[status("VolumeAttachment")],
    columns: &[NAME, col("Attacher"), col("PV"), col("Node"), boolean("Attached"), AGE],
    cells: |o, now| {
        let spec = &o["spec"];
        vec![
            rules::name_cell(o),
            text(spec, "attacher").into(),
            text(&spec["source"], "persistentVolumeName").into(),
            text(spec, "nodeName").into(),
            (o["status"]["attached"] == true).into(),
            rules::age_cell(o, now),
        ]
    },
    default: |object| or_set(meta::map(object, "status"), "attached", false),
    validate: |object, causes| {
        let spec = &object["spec"];
        driver_name(&spec["attacher"], "spec.attacher", causes);
        rules::required(&spec["nodeName"], "spec.nodeName", "", causes);
        let source = &spec["source"];
        let (name, inline) =
            (source["persistentVolumeName"].is_string(), source["inlineVolumeSpec"].is_object());
        if !name && !inline {
            let message = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
            causes.push(required("spec.source", message));
        }
    },
    validate_update: |new, old, causes| {
        rules::immutable(&new["spec"], &old["spec"], "spec", causes);
    },
    ..BASE
};

fn driver_name(value: &Value, field: &str, causes: &mut Causes) {
    if !rules::required(value, field, "", causes) {
        return;
    }
    let name = value.as_str().unwrap_or_default();
    if name.len() > DRIVER_NAME_MAX {
        causes.push(validate::too_long(field, DRIVER_NAME_MAX));
    }
    let problems = validate::dns_subdomain(&name.to_lowercase(), false);
    causes.extend(problems.iter().map(|p| invalid(field, name, p)));
}

fn driver_cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let audiences = list(spec, "tokenRequests").iter().map(|r| text(r, "audience"));
    let audiences = audiences.collect::<Vec<_>>().join(",");
    vec![
        rules::name_cell(o),
        (spec["attachRequired"] != false).into(),
        (spec["podInfoOnMount"] == true).into(),
        (spec["storageCapacity"] == true).into(),
        rules::or_unset(&audiences),
        (spec["requiresRepublish"] == true).into(),
        rules::or_none(rules::joined(&spec["volumeLifecycleModes"], ",")).into(),
        rules::age_cell(o, now),
    ]
}
