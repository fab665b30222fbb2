//! core/v1 Secret.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::configmap::{DATA_MAX, entries, frozen};
use super::rules::{self, AGE, BASE, NAME, col, int};
use super::{Causes, KindInfo};
use crate::meta::{self, or_set};
use crate::validate::{self, invalid, required, too_long};

/// Secret.
pub static SECRET: KindInfo = KindInfo {
    kind: "Secret",
    plural: "secrets",
    singular: "secret",
    columns: &[NAME, col("Type"), int("Data"), AGE],
    cells: |o, now| {
        vec![
            rules::name_cell(o),
            o["type"].clone(),
            entries(o, &["data"]).into(),
            rules::age_cell(o, now),
        ]
    },
    fields: &["type"],
    default,
    validate,
    validate_update: |new, old, causes| {
        rules::immutable(&new["type"], &old["type"], "type", causes);
        frozen(new, old, &["data"], causes);
    },
    ..BASE
};

fn default(object: &mut Value) {
    let Some(map) = object.as_object_mut() else { return };
    or_set(map, "type", "Opaque");
    let Some(Value::Object(plain)) = map.remove("stringData") else { return };
    let data = meta::map(object, "data");
    for (key, value) in plain {
        data.insert(key, Value::from(STANDARD.encode(value.as_str().unwrap_or_default())));
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    let mut size = 0;
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        let field = format!("data[{key}]");
        causes.extend(validate::config_key(key).iter().map(|p| invalid(&field, key.as_str(), p)));
        size += value.as_str().unwrap_or_default().len() / 4 * 3;
    }
    if size > DATA_MAX {
        causes.push(too_long("data", DATA_MAX));
    }
    let needed: &[&str] = match object["type"].as_str().unwrap_or_default() {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => &[],
    };
    for key in needed.iter().filter(|k| object["data"].get(**k).is_none()) {
        causes.push(required(&format!("data[{key}]"), ""));
    }
}
