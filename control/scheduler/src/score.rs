//! Which of the possible nodes is best: spread over nodes first, then the emptier one.
//!
//! In: a Pod and the nodes that passed. Out: scores that can be explained. Pure.

use k8s_openapi::api::core::v1::{Pod, PreferredSchedulingTerm};

use crate::filter::{is_tolerated, term_matches};
use crate::snapshot::{NodeState, Resources};

/// Points of one node; each part is between 0 and 100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Score {
    /// The node.
    pub node: String,
    /// Few Pods of the same owner are here.
    pub spread: i64,
    /// Much would be left.
    pub least_allocated: i64,
    /// CPU and memory would be used alike.
    pub balanced: i64,
    /// The Pod prefers it.
    pub preferred: i64,
    /// It has few soft taints.
    pub untainted: i64,
}

impl Score {
    /// The weighted sum: spreading decides, since the loss of a node is what hurts most.
    pub fn total(&self) -> i64 {
        let Self { node: _, spread, least_allocated, balanced, preferred, untainted } = self;
        3 * untainted + 2 * preferred + 2 * spread + least_allocated + balanced
    }
}

/// Score those that passed.
pub(crate) fn score(pod: &Pod, wanted: &Resources, states: &[(&String, &NodeState)]) -> Vec<Score> {
    let siblings: Vec<i64> = states.iter().map(|(_, state)| siblings(pod, state)).collect();
    let soft: Vec<i64> = states.iter().map(|(_, state)| soft_taints(pod, state)).collect();
    let liked: Vec<i64> = states.iter().map(|(_, state)| preference(pod, state)).collect();
    let most = |all: &[i64]| all.iter().copied().max().unwrap_or(0);
    let (most_siblings, most_soft, most_liked) = (most(&siblings), most(&soft), most(&liked));
    let few = |n: i64, most: i64| if most == 0 { 100 } else { 100 * (most - n) / most };
    states
        .iter()
        .enumerate()
        .map(|(i, (name, state))| Score {
            node: (*name).clone(),
            spread: few(siblings[i], most_siblings),
            least_allocated: (free(state, wanted, "cpu") + free(state, wanted, "memory")) / 2,
            balanced: 100 - (free(state, wanted, "cpu") - free(state, wanted, "memory")).abs(),
            preferred: if most_liked == 0 { 0 } else { 100 * liked[i] / most_liked },
            untainted: few(soft[i], most_soft),
        })
        .collect()
}

/// Percent of a resource that would be left. Pods that ask for nothing count a little, as upstream has it.
fn free(state: &NodeState, wanted: &Resources, resource: &str) -> i64 {
    let nominal: i128 = if resource == "cpu" { 100 } else { 200 * 1024 * 1024 * 1000 };
    let total = state.allocatable.get(resource);
    if total <= 0 {
        return 0;
    }
    let silent = state.pods.iter().filter(|p| Resources::of(p).get(resource) == 0).count();
    let mut used = state.requested.get(resource) + nominal * i128::try_from(silent).unwrap_or(0);
    used += if wanted.get(resource) == 0 { nominal } else { wanted.get(resource) };
    i64::try_from((100 * (total - used) / total).clamp(0, 100)).unwrap_or(0)
}

/// Pods here that the same controller made, or without one, that have the same labels.
fn siblings(pod: &Pod, state: &NodeState) -> i64 {
    let owner = |p: &Pod| {
        let owners = p.metadata.owner_references.iter().flatten();
        owners.into_iter().find(|o| o.controller == Some(true)).map(|o| o.uid.clone())
    };
    let mine = owner(pod);
    let same = state.pods.iter().filter(|other| {
        other.metadata.namespace == pod.metadata.namespace
            && other.metadata.deletion_timestamp.is_none()
            && match &mine {
                Some(uid) => owner(other).as_ref() == Some(uid),
                None => {
                    pod.metadata.labels.is_some() && other.metadata.labels == pod.metadata.labels
                }
            }
    });
    i64::try_from(same.count()).unwrap_or(i64::MAX)
}

fn soft_taints(pod: &Pod, state: &NodeState) -> i64 {
    let taints = state.node.spec.as_ref().and_then(|s| s.taints.as_deref()).unwrap_or_default();
    let soft = taints.iter().filter(|t| t.effect == "PreferNoSchedule" && !is_tolerated(pod, t));
    i64::try_from(soft.count()).unwrap_or(i64::MAX)
}

fn preference(pod: &Pod, state: &NodeState) -> i64 {
    let affinity = pod.spec.as_ref().and_then(|s| s.affinity.as_ref()?.node_affinity.as_ref());
    let terms =
        affinity.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
    let matching = terms
        .into_iter()
        .flatten()
        .filter(|t: &&PreferredSchedulingTerm| term_matches(&t.preference, &state.node));
    matching.map(|t| i64::from(t.weight)).sum()
}
