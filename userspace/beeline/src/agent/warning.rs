//! Warnings that the agent itself has for the cluster, as Events.

use std::time::SystemTime;

use k8s_openapi::{
    api::core::v1::{Event, EventSource, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
    jiff::Timestamp,
};

/// What is wrong with what, and who says so.
pub struct Warning<'a> {
    /// The object; without a namespace its Events stand in `default`.
    pub about: ObjectReference,
    /// In one word.
    pub reason: &'a str,
    /// For people.
    pub message: String,
    /// The part of the agent.
    pub component: &'a str,
    /// This node.
    pub node: &'a str,
}

impl Warning<'_> {
    /// As an Event without name, seen once.
    pub fn event(self, now: SystemTime) -> Event {
        let time = Timestamp::try_from(now).ok().map(Time);
        let namespace = self.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
        Event {
            count: Some(1),
            first_timestamp: time.clone(),
            last_timestamp: time,
            involved_object: self.about,
            message: Some(self.message),
            metadata: ObjectMeta { namespace: Some(namespace), ..ObjectMeta::default() },
            reason: Some(self.reason.to_owned()),
            reporting_component: Some(self.component.to_owned()),
            reporting_instance: Some(self.node.to_owned()),
            source: Some(EventSource {
                component: Some(self.component.to_owned()),
                host: Some(self.node.to_owned()),
            }),
            type_: Some("Warning".to_owned()),
            ..Event::default()
        }
    }
}
