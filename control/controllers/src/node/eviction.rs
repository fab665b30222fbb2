//! Pods that their node no longer serves: not ready, then evicted when they tolerate it no longer, and removed
//! when the node is gone for good.

use std::collections::HashMap;
use std::sync::Arc;

use beeline_api::kinds;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use serde_json::json;

use super::{State, UNREACHABLE};
use crate::events;
use crate::objects::{self, Timestamp};
use crate::write::{ObjectId, Part, Removal, Write, value};

pub(super) fn plan(state: &State, now: Timestamp) -> Vec<Write> {
    let nodes: HashMap<&str, &Arc<Node>> =
        state.nodes.iter().map(|node| (objects::name(&node.metadata), node)).collect();
    // Nodes may be registered again right after a restart: give them the time that a Lease has.
    let settled = objects::age(state.started, now) >= super::LEASE_TIMEOUT;
    let mut writes = Vec::new();
    for pod in &state.pods {
        let Some(name) = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()) else { continue };
        let Some(node) = nodes.get(name) else {
            writes.extend(settled.then(|| remove(pod)));
            continue;
        };
        let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
        // The taint alone says little: it goes a moment after the node is back and has said that its Pods are ready.
        let silent = super::readiness(node) == "Unknown";
        if silent && taints.iter().any(|t| t.key == UNREACHABLE) {
            writes.extend(mark_not_ready(pod, now));
        }
        if objects::is_active(pod) && is_due(pod, taints, now) {
            let about = events::about("v1", "Pod", &pod.metadata);
            let id = ObjectId::of(&pod.metadata);
            let text = format!("Marking for deletion Pod {id}");
            writes.push(events::write(&events::event(
                about,
                "Normal",
                "TaintManagerEviction",
                &text,
                "taint-eviction-controller",
                now,
            )));
            writes.push(Write::delete(&kinds::POD, id, Removal::Graceful));
        }
    }
    writes
}

/// Nobody is left who could end this Pod.
fn remove(pod: &Pod) -> Write {
    Write::delete(&kinds::POD, ObjectId::of(&pod.metadata), Removal::Now)
}

/// Traffic must not go to where nobody knows whether the Pod runs.
fn mark_not_ready(pod: &Pod, now: Timestamp) -> Option<Write> {
    if !objects::is_ready(pod) {
        return None;
    }
    let mut conditions = pod.status.as_ref()?.conditions.clone()?;
    let ready = conditions.iter_mut().find(|c| c.type_ == "Ready")?;
    ready.status = "False".to_owned();
    ready.reason = Some("NodeNotReady".to_owned());
    ready.last_transition_time = Some(objects::stamp(now));
    Some(Write::Patch {
        kind: &kinds::POD,
        object: ObjectId::of(&pod.metadata),
        part: Part::Status,
        // What the node says meanwhile stands.
        patch: Box::new(json!({
            "metadata": { "resourceVersion": pod.metadata.resource_version },
            "status": { "conditions": value(&conditions) },
        })),
    })
}

/// Whether some taint that does not let Pods run is no longer tolerated.
fn is_due(pod: &Pod, taints: &[Taint], now: Timestamp) -> bool {
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref()).unwrap_or_default();
    taints.iter().filter(|taint| taint.effect == "NoExecute").any(|taint| {
        let mut matching = tolerations.iter().filter(|t| tolerates(t, taint)).peekable();
        if matching.peek().is_none() {
            return true;
        }
        // Of several tolerations the shortest counts; one without a time is forever.
        let limit = matching.filter_map(|t| t.toleration_seconds).min();
        let since = taint.time_added.as_ref().map_or(now, |t| t.0);
        limit.is_some_and(|limit| objects::age(since, now) >= objects::seconds(limit))
    })
}

/// Whether one toleration covers one taint.
pub(super) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let effect = toleration.effect.as_deref().unwrap_or_default();
    let key = toleration.key.as_deref().unwrap_or_default();
    let value = toleration.value.as_deref().unwrap_or_default();
    (effect.is_empty() || effect == taint.effect)
        && (key.is_empty() || key == taint.key)
        && (toleration.operator.as_deref() == Some("Exists")
            || (!key.is_empty() && value == taint.value.as_deref().unwrap_or_default()))
}
