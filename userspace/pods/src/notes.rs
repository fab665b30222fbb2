//! Notes of the state machine as Kubernetes Events.

use std::time::SystemTime;

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

use crate::{
    lifecycle::Note,
    status::time,
    wanted::{Role, Wanted},
};

/// Tools look for events of this component.
const COMPONENT: &str = "kubelet";

/// The event about `pod`. It has no name: control gives it one, and counts repetitions.
pub(crate) fn event(
    note: Note,
    pod: &Pod,
    wanted: &Wanted,
    node_name: &str,
    now: SystemTime,
) -> Event {
    let field_path = note.container.as_deref().map(|name| {
        let role =
            wanted.containers.iter().find(|container| &*container.name == name).map(|one| one.role);
        let list = if matches!(role, Some(Role::Init | Role::Sidecar)) {
            "initContainers"
        } else {
            "containers"
        };
        format!("spec.{list}{{{name}}}")
    });
    Event {
        count: Some(1),
        first_timestamp: Some(time(now)),
        last_timestamp: Some(time(now)),
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path,
        },
        message: Some(note.message),
        metadata: ObjectMeta { namespace: pod.metadata.namespace.clone(), ..ObjectMeta::default() },
        reason: Some(note.reason.to_owned()),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(node_name.to_owned()),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(node_name.to_owned()),
        }),
        type_: Some(if note.warning { "Warning" } else { "Normal" }.to_owned()),
        ..Event::default()
    }
}
