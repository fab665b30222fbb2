//! core/v1 ConfigMap.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, int};
use super::{Causes, KindInfo};
use crate::validate::{self, forbidden, invalid, too_long};

/// Most bytes of data a ConfigMap or Secret may hold.
pub(super) const DATA_MAX: usize = 1024 * 1024;

/// ConfigMap.
pub static CONFIG_MAP: KindInfo = KindInfo {
    kind: "ConfigMap",
    plural: "configmaps",
    singular: "configmap",
    short_names: &["cm"],
    columns: &[NAME, int("Data"), AGE],
    cells: |o, now| {
        vec![
            rules::name_cell(o),
            entries(o, &["data", "binaryData"]).into(),
            rules::age_cell(o, now),
        ]
    },
    validate,
    validate_update: |new, old, causes| frozen(new, old, &["data", "binaryData"], causes),
    ..BASE
};

/// Number of entries in these maps.
pub(super) fn entries(object: &Value, maps: &[&str]) -> usize {
    maps.iter().map(|m| object[*m].as_object().map_or(0, serde_json::Map::len)).sum()
}

fn validate(object: &Value, causes: &mut Causes) {
    let mut size = 0;
    for map in ["data", "binaryData"] {
        for (key, value) in object[map].as_object().into_iter().flatten() {
            let field = format!("{map}[{key}]");
            causes
                .extend(validate::config_key(key).iter().map(|p| invalid(&field, key.as_str(), p)));
            if map == "binaryData" && object["data"].get(key).is_some() {
                causes.push(invalid(&field, key.as_str(), "duplicate of key present in data"));
            }
            size += value.as_str().unwrap_or_default().len();
        }
    }
    if size > DATA_MAX {
        causes.push(too_long("", DATA_MAX));
    }
}

/// Nothing of these maps may change once `immutable` is set.
pub(super) fn frozen(new: &Value, old: &Value, maps: &[&str], causes: &mut Causes) {
    if old["immutable"] != true {
        return;
    }
    if new["immutable"] != true {
        causes.push(forbidden("immutable", "field is immutable when `immutable` is set"));
    }
    for map in maps {
        if new[*map] != old[*map] {
            causes.push(forbidden(map, "field is immutable when `immutable` is set"));
        }
    }
}
