//! Pods whose end is not told yet: other nodes may still send them new connections.
//!
//! In: what is held and until which epoch is in force everywhere. Out: what is due. Pure but for the time it is given.

use std::time::Instant;

use beeline_proto::feed::change::Kind;

use crate::world::{Addressed, Audience};

/// What waits.
#[derive(Debug, Default)]
pub(super) struct Held {
    pods: Vec<Pod>,
}

#[derive(Debug)]
struct Pod {
    node: String,
    change: Kind,
    epoch: u64,
    until: Instant,
}

/// Namespace and name of the Pod that a change is about.
fn pod(kind: &Kind) -> Option<(&str, &str)> {
    match kind {
        Kind::Pod(object) => Some((&object.namespace, &object.name)),
        Kind::PodGone(name) => Some((&name.namespace, &name.name)),
        _ => None,
    }
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }

    /// Keep a change back until this epoch is in force everywhere.
    pub(super) fn hold(&mut self, node: &str, change: &Kind, epoch: u64, until: Instant) {
        self.pods.push(Pod { node: node.to_owned(), change: change.clone(), epoch, until });
    }

    /// A later change of a held Pod: its end replaces what is held; another state waits in its place (true).
    pub(super) fn supersede(&mut self, kind: &Kind) -> bool {
        let Some(name) = pod(kind) else { return false };
        let Some(index) = self.pods.iter().position(|held| pod(&held.change) == Some(name)) else {
            return false;
        };
        if matches!(kind, Kind::Pod(_)) {
            self.pods[index].change = kind.clone();
            return true;
        }
        self.pods.remove(index);
        false
    }

    /// Take what need not wait any longer.
    pub(super) fn take_due(
        &mut self,
        now: Instant,
        in_force: impl Fn(u64) -> bool,
    ) -> Vec<Addressed> {
        let (due, rest) = std::mem::take(&mut self.pods)
            .into_iter()
            .partition(|held: &Pod| held.until <= now || in_force(held.epoch));
        self.pods = rest;
        due.into_iter().map(|held| (Audience::Node(held.node), held.change)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use beeline_proto::feed::{Name, Object};

    use super::*;

    fn change(revision: u64) -> Kind {
        Kind::Pod(Object {
            namespace: "default".into(),
            name: "p".into(),
            revision,
            ..Object::default()
        })
    }

    #[test]
    fn a_pod_waits_for_the_epoch_or_the_time_and_keeps_its_newest_state() {
        let (mut held, start) = (Held::default(), Instant::now());
        held.hold("n1", &change(1), 5, start + Duration::from_secs(1));
        assert!(held.supersede(&change(2)));
        assert!(held.take_due(start, |epoch| epoch < 5).is_empty());
        assert_eq!(
            held.take_due(start, |epoch| epoch <= 5),
            [(Audience::Node("n1".into()), change(2))]
        );
        assert!(held.is_empty());
        held.hold("n1", &change(1), 5, start);
        assert_eq!(held.take_due(start, |_| false).len(), 1);
        held.hold("n1", &change(1), 5, start);
        assert!(!held.supersede(&Kind::PodGone(Name {
            namespace: "default".into(),
            name: "p".into(),
            ..Name::default()
        })));
        assert!(held.is_empty());
    }
}
