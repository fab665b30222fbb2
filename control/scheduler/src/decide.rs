//! The decision for one Pod.
//!
//! In: a Pod and a snapshot. Out: a node with the scores of all that were possible, or every node's reasons. Pure.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use crate::filter::{self, Reason};
use crate::score::{self, Score};
use crate::snapshot::{Resources, Snapshot};

/// Where a Pod goes, or why nowhere.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It runs here.
    Node {
        /// The node's name.
        name: String,
        /// Best first.
        scores: Vec<Score>,
    },
    /// No node takes it.
    Nowhere {
        /// How many nodes there are.
        nodes: usize,
        /// How many of them each reason rules out.
        reasons: BTreeMap<Reason, usize>,
        /// How many of them no preemption would help.
        beyond_help: usize,
    },
}

/// Place one Pod.
pub fn decide(pod: &Pod, snapshot: &Snapshot) -> Decision {
    let wanted = Resources::of(pod);
    let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
    let mut possible = Vec::new();
    let mut beyond_help = 0;
    for (name, state) in &snapshot.nodes {
        let against = filter::against(pod, &wanted, state);
        if against.is_empty() {
            possible.push((name, state));
        }
        beyond_help += usize::from(!against.iter().all(Reason::is_helped_by_preemption));
        for reason in against {
            *reasons.entry(reason).or_default() += 1;
        }
    }
    let mut scores = score::score(pod, &wanted, &possible);
    scores.sort_by(|a, b| b.total().cmp(&a.total()).then_with(|| a.node.cmp(&b.node)));
    match scores.first() {
        Some(best) => Decision::Node { name: best.node.clone(), scores },
        None => Decision::Nowhere { nodes: snapshot.nodes.len(), reasons, beyond_help },
    }
}

impl Decision {
    /// What the event `FailedScheduling` says.
    pub fn message(&self) -> Option<String> {
        let Self::Nowhere { nodes, reasons, beyond_help } = self else { return None };
        if *nodes == 0 {
            return Some("no nodes available to schedule pods".to_owned());
        }
        let mut texts: Vec<String> =
            reasons.iter().map(|(r, count)| format!("{count} {r}")).collect();
        texts.sort();
        // Upstream's words. Nothing is preempted here yet, so there are never victims.
        let mut preemption: Vec<String> = [
            (nodes.saturating_sub(*beyond_help), "No preemption victims found for incoming pod"),
            (*beyond_help, "Preemption is not helpful for scheduling"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, text)| format!("{count} {text}"))
        .collect();
        preemption.sort();
        Some(format!(
            "0/{nodes} nodes are available: {}. preemption: 0/{nodes} nodes are available: {}.",
            texts.join(", "),
            preemption.join(", ")
        ))
    }
}
