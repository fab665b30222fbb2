//! Events of nodes: the same text about the same object is one Event with a count.

use serde_json::{Value, json};

/// Complete an Event: (namespace, name, Event). The name follows from object, reason and message.
pub(super) fn named(mut event: Value, node: &str, now: &str) -> (String, String, Value) {
    let about = event["involvedObject"].clone();
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    let mut namespace = text(&event["metadata"], "namespace");
    if namespace.is_empty() {
        namespace = text(&about, "namespace");
    }
    if namespace.is_empty() {
        namespace = "default".to_owned();
    }
    let parts = [
        text(&about, "uid"),
        text(&about, "fieldPath"),
        text(&event, "reason"),
        text(&event, "message"),
        text(&event, "type"),
        node.to_owned(),
    ];
    let name = format!("{}.{:016x}", text(&about, "name"), fnv(&parts));
    event["apiVersion"] = Value::from("v1");
    event["kind"] = Value::from("Event");
    event["metadata"] = json!({ "name": name, "namespace": namespace });
    event["count"] = Value::from(1);
    for field in ["firstTimestamp", "lastTimestamp"] {
        if !event[field].is_string() {
            event[field] = Value::from(now);
        }
    }
    if !event["source"].is_object() {
        event["source"] = json!({ "component": "kubelet", "host": node });
    }
    (namespace, name, event)
}

/// 64-bit FNV-1a: names must be the same in every version.
fn fnv(parts: &[String]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
