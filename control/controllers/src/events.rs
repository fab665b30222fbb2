//! Events that controllers leave on objects, as `kubectl describe` shows them.
//!
//! In: an object, a reason and a text. Out: an Event as a write. Pure.

use beeline_api::kinds;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

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
