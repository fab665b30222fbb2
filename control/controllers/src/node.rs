//! Nodes: who still reports, what that means for their Pods, and their share of the pod network.
//!
//! In: Nodes, their Leases, Pods and `now`. Out: conditions, taints, pod networks, evictions. Pure.
//!
//! ```text
//! Lease older than 40 s ──> Ready Unknown ──> taints unreachable ──> Pods not ready ──> evicted when no longer tolerated
//! Ready False           ──> taints not-ready ─────────────────────────────────────────> evicted when no longer tolerated
//! Lease renewed         ──> the node itself reports Ready, taints go
//! ```

mod eviction;
mod network;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use beeline_alloc::PodCidrs;
use beeline_api::kinds;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{self as core, NodeCondition, Pod, Taint};
use serde_json::json;

use crate::objects::{self, Timestamp};
use crate::write::{ObjectId, Part, Write, value};

/// As upstream's node-monitor-grace-period of old: four missed renewals of 10 s.
const LEASE_TIMEOUT: Duration = Duration::from_secs(40);
const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// All that Nodes are decided from.
#[derive(Clone, Debug)]
pub struct State {
    /// Every Node.
    pub nodes: Vec<Arc<core::Node>>,
    /// The Leases of `kube-node-lease`.
    pub leases: Vec<Arc<Lease>>,
    /// Every Pod.
    pub pods: Vec<Arc<Pod>>,
    /// Since when this controller listens: silence before does not count.
    pub started: Timestamp,
    /// The pod networks, one of each family, empty.
    pub networks: Vec<PodCidrs>,
}

/// What has to be written now.
pub fn plan(state: &State, now: Timestamp) -> Vec<Write> {
    let mut writes = network::plan(&state.nodes, &state.networks, now);
    let renewed: HashMap<&str, Timestamp> = state
        .leases
        .iter()
        .filter_map(|lease| {
            let at = lease.spec.as_ref()?.renew_time.as_ref()?.0;
            Some((objects::name(&lease.metadata), at))
        })
        .collect();
    for node in &state.nodes {
        let heard = renewed.get(objects::name(&node.metadata)).copied();
        let heard = heard.or(objects::created(&node.metadata)).unwrap_or(state.started);
        let lost = objects::age(heard.max(state.started), now) >= LEASE_TIMEOUT;
        writes.extend(lost.then(|| mark_unknown(node, now)).flatten());
        writes.extend(retaint(node, lost, now));
    }
    writes.extend(eviction::plan(state, now));
    writes
}

/// The node's own word on whether it is ready: `True`, `False` or `Unknown`.
fn readiness(node: &core::Node) -> &str {
    let conditions = node.status.as_ref().and_then(|s| s.conditions.as_deref());
    let ready = conditions.unwrap_or_default().iter().find(|c| c.type_ == "Ready");
    // A node that never said anything is not ready yet.
    ready.map_or("False", |c| c.status.as_str())
}

/// What nobody reports any more is not known.
fn mark_unknown(node: &core::Node, now: Timestamp) -> Option<Write> {
    let old = node.status.clone().unwrap_or_default();
    let mut new = old.clone();
    let conditions = new.conditions.get_or_insert_default();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        let unknown = NodeCondition {
            type_: kind.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some("NodeStatusUnknown".to_owned()),
            message: Some("Kubelet stopped posting node status.".to_owned()),
            last_transition_time: Some(objects::stamp(now)),
            last_heartbeat_time: None,
        };
        match conditions.iter_mut().find(|c| c.type_ == kind) {
            Some(known) if known.status == "Unknown" => {}
            Some(known) => {
                let heartbeat = known.last_heartbeat_time.take();
                *known = NodeCondition { last_heartbeat_time: heartbeat, ..unknown };
            }
            None => conditions.push(unknown),
        }
    }
    Write::status(&kinds::NODE, ObjectId::of(&node.metadata), &old, &new)
}

/// The taints that follow from readiness and from `spec.unschedulable`; all others stay.
fn retaint(node: &core::Node, lost: bool, now: Timestamp) -> Option<Write> {
    let spec = node.spec.as_ref();
    let known = spec.and_then(|s| s.taints.clone()).unwrap_or_default();
    let key = match (lost, readiness(node)) {
        (true, _) | (_, "Unknown") => Some(UNREACHABLE),
        (_, "True") => None,
        _ => Some(NOT_READY),
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    if let Some(key) = key {
        wanted.extend([(key, "NoSchedule"), (key, "NoExecute")]);
    }
    if spec.and_then(|s| s.unschedulable).unwrap_or(false) {
        wanted.push((UNSCHEDULABLE, "NoSchedule"));
    }
    let ours = |t: &Taint| [NOT_READY, UNREACHABLE, UNSCHEDULABLE].contains(&t.key.as_str());
    let mut taints: Vec<Taint> = known.iter().filter(|t| !ours(t)).cloned().collect();
    for (key, effect) in wanted {
        let there = known.iter().find(|t| t.key == key && t.effect == effect);
        taints.push(there.cloned().unwrap_or_else(|| Taint {
            key: key.to_owned(),
            effect: effect.to_owned(),
            time_added: (effect == "NoExecute").then(|| objects::stamp(now)),
            value: None,
        }));
    }
    if taints == known {
        return None;
    }
    let patch = json!({
        "metadata": { "resourceVersion": node.metadata.resource_version },
        "spec": { "taints": value(&taints) },
    });
    Some(Write::Patch {
        kind: &kinds::NODE,
        object: ObjectId::of(&node.metadata),
        part: Part::Main,
        patch: Box::new(patch),
    })
}
