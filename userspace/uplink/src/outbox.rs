//! What the node has to say, until it is said.
//!
//! In: reports from anyone on the node. Out: messages in the order of their weight. Bounded: one status per Pod, one
//! for the node, one acknowledgement, the last Events.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use beeline_proto::feed::{self as wire, up::Kind};
use beeline_tables::{ObjectName, Snapshot};
use k8s_openapi::api::core::v1::{Event, NodeStatus, PodStatus};
use tokio::sync::Notify;

/// Events that wait while the line is down.
const EVENTS_MAX: usize = 256;

/// The box.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    ack: Option<wire::Ack>,
    node: Option<wire::NodeStatus>,
    node_waits: bool,
    /// The last status of each Pod, by uid.
    pods: BTreeMap<String, wire::PodStatus>,
    pods_wait: BTreeSet<String>,
    /// Pods that ended; kept until control's intent no longer has them.
    gone: BTreeMap<String, wire::PodGone>,
    gone_wait: BTreeSet<String>,
    events: VecDeque<wire::Event>,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn ack(&self, epoch: u64, apply_us: u64) {
        self.state().ack = Some(wire::Ack { epoch, apply_us });
        self.filled.notify_one();
    }

    pub(crate) fn pod_status(&self, pod: &ObjectName, uid: &str, status: &PodStatus) {
        let Ok(status_json) = serde_json::to_vec(status) else { return };
        let report = wire::PodStatus {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: uid.to_owned(),
            status_json,
        };
        let mut state = self.state();
        if state.pods.get(uid) == Some(&report) {
            return;
        }
        state.pods.insert(uid.to_owned(), report);
        state.pods_wait.insert(uid.to_owned());
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn pod_gone(&self, pod: &ObjectName, uid: &str) {
        let gone = wire::PodGone {
            namespace: pod.namespace.to_string(),
            name: pod.name.to_string(),
            uid: uid.to_owned(),
        };
        let mut state = self.state();
        state.pods.remove(uid);
        state.pods_wait.remove(uid);
        state.gone.insert(uid.to_owned(), gone);
        state.gone_wait.insert(uid.to_owned());
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn node_status(&self, status: &NodeStatus) {
        let Ok(status_json) = serde_json::to_vec(status) else { return };
        let mut state = self.state();
        state.node = Some(wire::NodeStatus { status_json });
        state.node_waits = true;
        drop(state);
        self.filled.notify_one();
    }

    /// The newest that the node said of itself, if it has said anything.
    pub(crate) fn newest_node_status(&self) -> Option<NodeStatus> {
        self.state().node.as_ref().and_then(|said| serde_json::from_slice(&said.status_json).ok())
    }

    pub(crate) fn event(&self, event: &Event) {
        let Ok(event_json) = serde_json::to_vec(event) else { return };
        let mut state = self.state();
        if state.events.len() == EVENTS_MAX {
            tracing::warn!("an Event is lost: too many wait for the line");
            state.events.pop_front();
        }
        state.events.push_back(wire::Event { event_json });
        drop(state);
        self.filled.notify_one();
    }

    /// A new line: all that still holds is said again; what was in force for the old line says nothing.
    pub(crate) fn renew(&self) {
        let mut state = self.state();
        state.ack = None;
        state.node_waits = state.node.is_some();
        state.pods_wait = state.pods.keys().cloned().collect();
        state.gone_wait = state.gone.keys().cloned().collect();
    }

    /// Forget Pods that control no longer knows.
    pub(crate) fn prune(&self, intent: &Snapshot) {
        let mut state = self.state();
        if !intent.complete || (state.gone.is_empty() && state.pods.is_empty()) {
            return;
        }
        let known: BTreeSet<&str> =
            intent.pods.values().filter_map(|pod| pod.pod.metadata.uid.as_deref()).collect();
        state.gone.retain(|uid, _| known.contains(uid.as_str()));
        state.pods.retain(|uid, _| known.contains(uid.as_str()));
        let State { pods, pods_wait, gone, gone_wait, .. } = &mut *state;
        pods_wait.retain(|uid| pods.contains_key(uid));
        gone_wait.retain(|uid| gone.contains_key(uid));
    }

    /// Something may have been put in. Cancel safe.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// All that waits, weightiest first.
    pub(crate) fn take(&self) -> Vec<Kind> {
        let mut state = self.state();
        let mut messages: Vec<Kind> = state.ack.take().map(Kind::Ack).into_iter().collect();
        if std::mem::take(&mut state.node_waits) {
            messages.extend(state.node.clone().map(Kind::NodeStatus));
        }
        let pods = std::mem::take(&mut state.pods_wait);
        messages.extend(
            pods.iter().filter_map(|uid| state.pods.get(uid).cloned()).map(Kind::PodStatus),
        );
        let gone = std::mem::take(&mut state.gone_wait);
        messages
            .extend(gone.iter().filter_map(|uid| state.gone.get(uid).cloned()).map(Kind::PodGone));
        messages.extend(std::mem::take(&mut state.events).into_iter().map(Kind::Event));
        messages
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_status_wins_and_is_said_again_on_a_new_line() {
        let outbox = Outbox::default();
        let pod = ObjectName::new("default", "p");
        for phase in ["Pending", "Running"] {
            let status = PodStatus { phase: Some(phase.to_owned()), ..PodStatus::default() };
            outbox.pod_status(&pod, "u", &status);
        }
        let sent = outbox.take();
        assert_eq!(sent.len(), 1);
        let Kind::PodStatus(status) = &sent[0] else { panic!("{sent:?}") };
        assert!(String::from_utf8_lossy(&status.status_json).contains("Running"));
        assert!(outbox.take().is_empty());
        outbox.renew();
        assert_eq!(outbox.take(), sent);
        outbox.pod_gone(&pod, "u");
        assert!(matches!(outbox.take().as_slice(), [Kind::PodGone(_)]));
        outbox.renew();
        assert!(matches!(outbox.take().as_slice(), [Kind::PodGone(_)]));
        outbox.prune(&Snapshot { complete: true, ..Snapshot::default() });
        outbox.renew();
        assert!(outbox.take().is_empty());
    }

    #[test]
    fn what_a_node_said_last_of_itself_is_remembered_when_it_was_sent() {
        let outbox = Outbox::default();
        assert_eq!(outbox.newest_node_status(), None);
        let of = |phase: &str| NodeStatus { phase: Some(phase.into()), ..NodeStatus::default() };
        for phase in ["Pending", "Running"] {
            outbox.node_status(&of(phase));
            outbox.take();
            assert_eq!(outbox.newest_node_status(), Some(of(phase)));
        }
    }
}
