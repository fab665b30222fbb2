//! storage.k8s.io/v1 StorageClass and VolumeAttributesClass.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, boolean, col};
use super::{Causes, KindInfo};
use crate::meta::{list, or_set, text};
use crate::validate::{self, forbidden, required, too_long};

/// Marks the class of claims that name none.
const DEFAULT: &str = "storageclass.kubernetes.io/is-default-class";
/// Most parameters, and most bytes of them.
const PARAMETERS_MAX: usize = 512;
const PARAMETERS_BYTES_MAX: usize = 256 * 1024;

/// StorageClass.
pub static STORAGE_CLASS: KindInfo = KindInfo {
    group: "storage.k8s.io",
    kind: "StorageClass",
    plural: "storageclasses",
    singular: "storageclass",
    short_names: &["sc"],
    namespaced: false,
    columns: &[
        NAME,
        col("Provisioner"),
        col("ReclaimPolicy"),
        col("VolumeBindingMode"),
        boolean("AllowVolumeExpansion"),
        AGE,
    ],
    cells: |o, now| {
        let name = text(&o["metadata"], "name");
        let marked = o["metadata"]["annotations"][DEFAULT] == "true";
        let name = if marked { format!("{name} (default)") } else { name.to_owned() };
        vec![
            name.into(),
            text(o, "provisioner").into(),
            text(o, "reclaimPolicy").into(),
            text(o, "volumeBindingMode").into(),
            (o["allowVolumeExpansion"] == true).into(),
            rules::age_cell(o, now),
        ]
    },
    default: |object| {
        if let Some(class) = object.as_object_mut() {
            or_set(class, "reclaimPolicy", "Delete");
            or_set(class, "volumeBindingMode", "Immediate");
        }
    },
    validate: validate_storage,
    validate_update: |new, old, causes| {
        for field in ["parameters", "provisioner"] {
            if new[field] != old[field] {
                causes.push(forbidden(field, &format!("updates to {field} are forbidden.")));
            }
        }
        for field in ["reclaimPolicy", "volumeBindingMode"] {
            rules::immutable(&new[field], &old[field], field, causes);
        }
    },
    ..BASE
};

/// VolumeAttributesClass.
pub static VOLUME_ATTRIBUTES_CLASS: KindInfo = KindInfo {
    group: "storage.k8s.io",
    kind: "VolumeAttributesClass",
    plural: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    namespaced: false,
    columns: &[NAME, col("DriverName"), AGE],
    cells: |o, now| {
        vec![rules::name_cell(o), text(o, "driverName").into(), rules::age_cell(o, now)]
    },
    validate: |object, causes| {
        if rules::required(&object["driverName"], "driverName", "", causes) {
            rules::named(&object["driverName"], "driverName", validate::dns_subdomain, causes);
        }
        let parameters = &object["parameters"];
        if parameters.as_object().is_none_or(serde_json::Map::is_empty) {
            causes.push(required("parameters", "must contain at least one key/value pair"));
        }
        self::parameters(parameters, causes);
    },
    validate_update: |new, old, causes| {
        for field in ["driverName", "parameters"] {
            rules::immutable(&new[field], &old[field], field, causes);
        }
    },
    ..BASE
};

fn validate_storage(object: &Value, causes: &mut Causes) {
    if rules::required(&object["provisioner"], "provisioner", "", causes) {
        let rule = |name: &str, _: bool| validate::label_key(&name.to_lowercase());
        rules::named(&object["provisioner"], "provisioner", rule, causes);
    }
    parameters(&object["parameters"], causes);
    let policies = &["Delete", "Retain"];
    rules::required_of(&object["reclaimPolicy"], "reclaimPolicy", policies, causes);
    let modes = &["Immediate", "WaitForFirstConsumer"];
    rules::required_of(&object["volumeBindingMode"], "volumeBindingMode", modes, causes);
    for (i, term) in list(object, "allowedTopologies").iter().enumerate() {
        for (j, wanted) in list(term, "matchLabelExpressions").iter().enumerate() {
            let at = format!("allowedTopologies[{i}].matchLabelExpressions[{j}]");
            rules::named(
                &wanted["key"],
                &format!("{at}.key"),
                |s, _| validate::label_key(s),
                causes,
            );
            if list(wanted, "values").is_empty() {
                causes.push(required(&format!("{at}.values"), ""));
            }
        }
    }
}

fn parameters(parameters: &Value, causes: &mut Causes) {
    let map = parameters.as_object();
    let size: usize = map
        .into_iter()
        .flatten()
        .map(|(k, v)| k.len() + v.as_str().unwrap_or_default().len())
        .sum();
    if size > PARAMETERS_BYTES_MAX {
        causes.push(too_long("parameters", PARAMETERS_BYTES_MAX));
    }
    let count = map.map_or(0, serde_json::Map::len);
    if count > PARAMETERS_MAX {
        causes.push(validate::too_many("parameters", count, PARAMETERS_MAX));
    }
    if map.is_some_and(|m| m.contains_key("")) {
        causes.push(validate::invalid("parameters", 0, "key must not be empty"));
    }
}
