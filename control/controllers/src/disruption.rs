//! Disruption budgets: how many of the pods that each selects may be evicted now.
//!
//! In: budgets, pods and the workloads that control pods, and `now`. Out: the budgets' status. Pure.
//! Evictions take from `disruptionsAllowed` and note the pod in `disruptedPods`; a status computed from an older budget is
//! refused by its resourceVersion, so that none of that is lost.

mod expected;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use beeline_api::kinds;
use beeline_api::selectors::LabelSelector;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use crate::objects::{self, Timestamp};
use crate::write::{self, ObjectId, Part, Write};

/// How long an evicted pod may take until its deletion begins; later it is believed to stay.
const DELETION_MAX: Duration = Duration::from_secs(120);
const CONDITION: &str = "DisruptionAllowed";

/// All that budgets are decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every budget.
    pub budgets: Vec<Arc<PodDisruptionBudget>>,
    /// Every Pod.
    pub pods: Vec<Arc<Pod>>,
    /// Every ReplicaSet.
    pub replica_sets: Vec<Arc<ReplicaSet>>,
    /// Every Deployment.
    pub deployments: Vec<Arc<Deployment>>,
    /// Every StatefulSet.
    pub stateful_sets: Vec<Arc<StatefulSet>>,
    /// Every ReplicationController.
    pub replication_controllers: Vec<Arc<ReplicationController>>,
}

/// What has to be written now.
pub fn plan(state: &State, now: Timestamp) -> Vec<Write> {
    if state.budgets.is_empty() {
        return Vec::new();
    }
    let mut by_namespace: HashMap<&str, Vec<&Arc<Pod>>> = HashMap::new();
    for pod in &state.pods {
        by_namespace.entry(objects::namespace(&pod.metadata)).or_default().push(pod);
    }
    let scales = expected::Scales::new(state);
    let one = |budget: &Arc<PodDisruptionBudget>| {
        let near = by_namespace.get(objects::namespace(&budget.metadata));
        let near = near.map(Vec::as_slice).unwrap_or_default();
        plan_one(budget, near, &scales, now)
    };
    state.budgets.iter().filter_map(one).collect()
}

fn plan_one(
    budget: &PodDisruptionBudget,
    near: &[&Arc<Pod>],
    scales: &expected::Scales<'_>,
    now: Timestamp,
) -> Option<Write> {
    if objects::is_deleting(&budget.metadata) {
        return None;
    }
    let spec = budget.spec.clone().unwrap_or_default();
    let selector = LabelSelector::from_object(&write::value(&spec.selector));
    let selects = |pod: &Pod| {
        let labels = pod.metadata.labels.as_ref();
        let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
        selector.as_ref().is_some_and(|selector| selector.matches_with(label))
    };
    let pods: Vec<&Arc<Pod>> = near.iter().copied().filter(|pod| selects(pod)).collect();
    let old = budget.status.clone().unwrap_or_default();
    let new = match expected::wanted(&spec, &pods, scales) {
        Ok(wanted) => counted(budget, &old, &pods, wanted, now),
        Err(why) => PodDisruptionBudgetStatus {
            disruptions_allowed: Some(0),
            conditions: conditions(budget, &old, ("False", "SyncFailed", &why), now),
            ..old.clone()
        },
    };
    let (old, new) = (json!({ "status": old }), json!({ "status": new }));
    let mut patch: Value = write::merge_patch(&old, &new)?;
    patch["metadata"]["resourceVersion"] = json!(budget.metadata.resource_version);
    Some(Write::Patch {
        kind: &kinds::POD_DISRUPTION_BUDGET,
        object: ObjectId::of(&budget.metadata),
        part: Part::Status,
        patch: Box::new(patch),
    })
}

fn counted(
    budget: &PodDisruptionBudget,
    old: &PodDisruptionBudgetStatus,
    pods: &[&Arc<Pod>],
    wanted: expected::Wanted,
    now: Timestamp,
) -> PodDisruptionBudgetStatus {
    let disrupted = going(old, pods, now);
    let healthy = |pod: &&&Arc<Pod>| {
        let name = objects::name(&pod.metadata);
        !objects::is_deleting(&pod.metadata)
            && !disrupted.contains_key(name)
            && objects::is_ready(pod)
    };
    let current = i32::try_from(pods.iter().filter(healthy).count()).unwrap_or(i32::MAX);
    // A budget that selects nothing yet is safe when its first pods come.
    let left = if wanted.expected > 0 { current.saturating_sub(wanted.healthy).max(0) } else { 0 };
    let condition =
        if left > 0 { ("True", "SufficientPods", "") } else { ("False", "InsufficientPods", "") };
    PodDisruptionBudgetStatus {
        conditions: conditions(budget, old, condition, now),
        current_healthy: Some(current),
        desired_healthy: Some(wanted.healthy),
        disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
        disruptions_allowed: Some(left),
        expected_pods: Some(wanted.expected),
        observed_generation: budget.metadata.generation,
    }
}

/// Evicted pods whose deletion has not begun, for a while.
fn going(
    old: &PodDisruptionBudgetStatus,
    pods: &[&Arc<Pod>],
    now: Timestamp,
) -> BTreeMap<String, Time> {
    let noted = old.disrupted_pods.iter().flatten();
    let still = |name: &str, at: &Time| {
        objects::age(at.0, now) <= DELETION_MAX
            && pods.iter().any(|pod| {
                objects::name(&pod.metadata) == name && !objects::is_deleting(&pod.metadata)
            })
    };
    noted
        .filter(|(name, at)| still(name, at))
        .map(|(name, at)| (name.clone(), at.clone()))
        .collect()
}

fn conditions(
    budget: &PodDisruptionBudget,
    old: &PodDisruptionBudgetStatus,
    (status, reason, message): (&str, &str, &str),
    now: Timestamp,
) -> Option<Vec<Condition>> {
    let mut all = old.conditions.clone().unwrap_or_default();
    let known = all.iter().find(|c| c.type_ == CONDITION && c.status == status);
    let since = known.map_or_else(|| objects::stamp(now), |c| c.last_transition_time.clone());
    all.retain(|condition| condition.type_ != CONDITION);
    all.push(Condition {
        type_: CONDITION.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: since,
        observed_generation: budget.metadata.generation,
    });
    Some(all)
}
