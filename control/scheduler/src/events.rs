//! The scheduler's Events, aggregated: the same text about the same Pod is one Event with a count.
//!
//! In: a Pod, a reason, a text. Out: an Event to create, or the patch that counts it once more. Pure.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::{Value, json};

use beeline_api::time::Timestamp;

const COMPONENT: &str = "default-scheduler";

/// The Event with this text; its name follows from Pod, reason and text.
pub(crate) fn event(pod: &Pod, level: &str, reason: &str, message: &str, now: Timestamp) -> Event {
    let meta = &pod.metadata;
    let name = meta.name.clone().unwrap_or_default();
    let hash = fnv(&[meta.uid.as_deref().unwrap_or_default(), reason, message]);
    let stamp = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{hash:016x}")),
            namespace: meta.namespace.clone(),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            field_path: None,
        },
        type_: Some(level.to_owned()),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        count: Some(1),
        first_timestamp: Some(stamp.clone()),
        last_timestamp: Some(stamp),
        source: Some(EventSource { component: Some(COMPONENT.to_owned()), host: None }),
        reporting_component: Some(COMPONENT.to_owned()),
        ..Event::default()
    }
}

/// Once more.
pub(crate) fn again(known: &Event, now: Timestamp) -> Value {
    let stamp = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    json!({ "count": known.count.unwrap_or(1) + 1, "lastTimestamp": stamp })
}

/// 64-bit FNV-1a: names must be the same in every version.
fn fnv(parts: &[&str]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in parts.iter().flat_map(|part| part.bytes().chain([0xff])) {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash
}
