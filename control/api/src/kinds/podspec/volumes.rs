//! Volumes of a PodSpec.

use serde_json::{Value, json};

use super::super::Causes;
use crate::meta::{self, list, or_set, text};
use crate::quantity;
use crate::validate::{self, duplicate, forbidden, invalid, required};

/// Sources whose files have a `defaultMode`.
const WITH_MODE: [&str; 4] = ["configMap", "secret", "projected", "downwardAPI"];

/// A volume without a source is an emptyDir.
pub(super) fn default(spec: &mut Value) {
    for volume in meta::items(spec, "volumes") {
        let Some(map) = volume.as_object_mut() else { continue };
        if map.keys().all(|k| k == "name") {
            map.insert("emptyDir".to_owned(), json!({}));
        }
        for source in WITH_MODE {
            if let Some(source) = map.get_mut(source).and_then(Value::as_object_mut) {
                or_set(source, "defaultMode", 420);
            }
        }
        if let Some(path) = map.get_mut("hostPath").and_then(Value::as_object_mut) {
            path.entry("type").or_insert(json!(""));
        }
        if let Some(limit) = volume.pointer_mut("/emptyDir/sizeLimit")
            && let Some(q) = quantity::of(limit)
        {
            *limit = Value::from(q.canonical());
        }
        projected(volume);
        if let Some(downward) = volume.get_mut("downwardAPI") {
            field_refs(downward);
        }
    }
}

fn projected(volume: &mut Value) {
    let Some(sources) = volume.pointer_mut("/projected/sources").and_then(Value::as_array_mut)
    else {
        return;
    };
    for source in sources {
        if let Some(token) = source.get_mut("serviceAccountToken").and_then(Value::as_object_mut) {
            or_set(token, "expirationSeconds", 3600);
        }
        if let Some(downward) = source.get_mut("downwardAPI") {
            field_refs(downward);
        }
    }
}

fn field_refs(downward: &mut Value) {
    for item in meta::items(downward, "items") {
        if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
            or_set(field, "apiVersion", "v1");
        }
    }
}

/// Checks volumes; gives their names.
pub(super) fn validate<'a>(spec: &'a Value, path: &str, causes: &mut Causes) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (i, volume) in list(spec, "volumes").iter().enumerate() {
        let at = format!("{path}.volumes[{i}]");
        let name = text(volume, "name");
        if name.is_empty() {
            causes.push(required(&format!("{at}.name"), ""));
        } else {
            causes.extend(
                validate::dns_label(name, false)
                    .iter()
                    .map(|p| invalid(&format!("{at}.name"), name, p)),
            );
        }
        if names.contains(&name) {
            causes.push(duplicate(&format!("{at}.name"), name));
        }
        names.push(name);
        let sources: Vec<&String> = volume
            .as_object()
            .into_iter()
            .flat_map(|m| m.keys())
            .filter(|k| *k != "name")
            .collect();
        if let Some(second) = sources.get(1) {
            causes.push(forbidden(
                &format!("{at}.{second}"),
                "may not specify more than 1 volume type",
            ));
        }
        if volume["hostPath"].is_object() && text(&volume["hostPath"], "path").is_empty() {
            causes.push(required(&format!("{at}.hostPath.path"), ""));
        }
        if volume["secret"].is_object() && text(&volume["secret"], "secretName").is_empty() {
            causes.push(required(&format!("{at}.secret.secretName"), ""));
        }
        if volume["configMap"].is_object() && text(&volume["configMap"], "name").is_empty() {
            causes.push(required(&format!("{at}.configMap.name"), ""));
        }
    }
    names
}
