//! Events that controllers leave on objects, as `kubectl describe` shows them.
//!
//! In: an object, a reason and a text. Out: an Event as a write. Pure.

use beeline_api::kinds;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use crate::objects::{self, Timestamp};
use crate::write::Write;

/// A reference to the object that an Event is about.
pub fn about(api_version: &str, kind: &str, meta: &ObjectMeta) -> ObjectReference {
    ObjectReference {
        api_version: Some(api_version.to_owned()),
        kind: Some(kind.to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        field_path: None,
    }
}

/// A first Event.
pub fn event(
    about: ObjectReference,
    level: &str,
    reason: &str,
    message: &str,
    component: &str,
    now: Timestamp,
) -> Event {
    let nanos = now.as_nanosecond().to_le_bytes();
    let uid = about.uid.clone().unwrap_or_default();
    let hash = objects::fnv(&[uid.as_bytes(), reason.as_bytes(), message.as_bytes(), &nanos]);
    let name = about.name.clone().unwrap_or_default();
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{hash:016x}")),
            namespace: Some(about.namespace.clone().unwrap_or_else(|| "default".to_owned())),
            ..ObjectMeta::default()
        },
        involved_object: about,
        type_: Some(level.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        count: Some(1),
        first_timestamp: Some(objects::stamp(now)),
        last_timestamp: Some(objects::stamp(now)),
        source: Some(EventSource { component: Some(component.to_owned()), host: None }),
        reporting_component: Some(component.to_owned()),
        ..Event::default()
    }
}

/// Leave it.
pub fn write(event: &Event) -> Write {
    Write::create(&kinds::EVENT, event)
}

/// The Event of a creation, turned into that of its refusal. The same refusal is told once an hour, of whatever Pod.
pub fn failed(event: &Value, why: &str) -> Option<Value> {
    if event["reason"] != "SuccessfulCreate" {
        return None;
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (uid, name) =
        (text(&event["involvedObject"]["uid"]), text(&event["involvedObject"]["name"]));
    let hour: String = text(&event["firstTimestamp"]).chars().take("2025-01-01T00".len()).collect();
    let rule = why.split_once(" is forbidden: ").map_or(why, |(_, rule)| rule);
    let hash = objects::fnv(&[uid.as_bytes(), hour.as_bytes(), rule.as_bytes()]);
    let mut event = event.clone();
    event["metadata"]["name"] = Value::from(format!("{name}.{hash:016x}"));
    event["type"] = Value::from("Warning");
    event["reason"] = Value::from("FailedCreate");
    event["message"] = Value::from(format!("Error creating: {why}"));
    Some(event)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_is_told_once_an_hour() {
        let event = |reason: &str, at: &str| {
            json!({ "metadata": { "name": "web.1", "namespace": "ns" }, "involvedObject": { "name": "web", "uid": "u" },
                "reason": reason, "message": "Created pod: web-x", "type": "Normal", "firstTimestamp": at })
        };
        let refusal = |pod: &str, at: &str| {
            let why = format!("pods \"{pod}\" is forbidden: exceeded quota: q");
            failed(&event("SuccessfulCreate", at), &why).unwrap()
        };
        let first = refusal("web-x", "2025-01-01T00:10:00Z");
        assert_eq!(
            (&first["type"], &first["reason"], &first["message"]),
            (
                &json!("Warning"),
                &json!("FailedCreate"),
                &json!("Error creating: pods \"web-x\" is forbidden: exceeded quota: q")
            )
        );
        let name = |event: &Value| event["metadata"]["name"].clone();
        assert_eq!(name(&refusal("web-y", "2025-01-01T00:59:00Z")), name(&first));
        assert_ne!(name(&refusal("web-y", "2025-01-01T01:00:00Z")), name(&first));
        assert_eq!(failed(&event("ScalingReplicaSet", ""), "no"), None);
    }
}
