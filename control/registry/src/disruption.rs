//! Whether a pod may be evicted now: what its disruption budget has left.
//!
//! In: a pod and the budgets of its namespace. Out: nothing, with the budget one poorer; or a refusal in upstream's words.
//! A controller keeps what a budget allows; here that is only taken.

use std::sync::Arc;

use beeline_api::kinds::POD_DISRUPTION_BUDGET;
use beeline_api::meta::{list, text};
use beeline_api::selectors::LabelSelector;
use beeline_api::{ApiError, meta, time};
use serde_json::{Value, json};

use crate::admission::request::By;
use crate::object::Object;
use crate::options::{Caller, Subresource, Target, WriteOptions};
use crate::registry::Registry;
use crate::write::{self, CONFLICT_TRIES};

/// Evictions of one budget that its controller has not seen confirmed.
const DISRUPTED_MAX: usize = 2_000;
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// How a pod may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It does not count: only as long as it is as it was seen.
    AsSeen,
    /// A budget has given it leave.
    Given,
}

/// Asks the budget of a pod.
pub(crate) async fn ask(
    registry: &Registry,
    pod: &Object,
    dry_run: bool,
) -> Result<Leave, ApiError> {
    let phase = text(&pod.value["status"], "phase");
    if pod.deleting() || matches!(phase, "Succeeded" | "Failed" | "Pending" | "") {
        return Ok(Leave::AsSeen);
    }
    let mut last = String::new();
    for _ in 0..CONFLICT_TRIES {
        let Some(budget) = budget_of(registry, pod)? else { return Ok(Leave::Given) };
        if let Some(leave) = leave_of_unhealthy(pod, &budget.value) {
            return Ok(leave);
        }
        check(&budget)?;
        if dry_run {
            return Ok(Leave::Given);
        }
        match take(registry, &budget, pod.name()).await {
            Err(e) if e.is_conflict() => budget.name().clone_into(&mut last),
            result => return result.map(|()| Leave::Given),
        }
    }
    let why = format!("Timeout: couldn't update PodDisruptionBudget {last:?} due to conflicts");
    Err(ApiError::new(504, "Timeout", why).retry_after(10))
}

/// The one that selects the pod.
fn budget_of(registry: &Registry, pod: &Object) -> Result<Option<Arc<Object>>, ApiError> {
    let selects = |budget: &Arc<Object>| {
        let selector = LabelSelector::from_object(&budget.value["spec"]["selector"]);
        selector.is_some_and(|selector| selector.matches(pod.labels()))
    };
    let all = registry.snapshot(&POD_DISRUPTION_BUDGET, Some(pod.namespace()));
    let mut own = all.into_iter().filter(selects);
    match (own.next(), own.next()) {
        (_, Some(_)) => Err(ApiError::new(
            500,
            "InternalError",
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
        )),
        (first, None) => Ok(first),
    }
}

/// Pods that are not ready are no loss where the budget says so, or where it is kept without them.
fn leave_of_unhealthy(pod: &Object, budget: &Value) -> Option<Leave> {
    let conditions = list(&pod.value["status"], "conditions");
    if conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True") {
        return None;
    }
    let number = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    let (current, desired) = (number("currentHealthy"), number("desiredHealthy"));
    (always || (current >= desired && desired > 0)).then_some(Leave::AsSeen)
}

/// Whether one more may go.
fn check(budget: &Object) -> Result<(), ApiError> {
    let (name, status) = (budget.name(), &budget.value["status"]);
    let number = |field: &str| status[field].as_i64().unwrap_or(0);
    let generation = budget.value["metadata"]["generation"].as_i64().unwrap_or(0);
    if number("observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(&why).retry_after(10));
    }
    let forbid = |why: &str| Err(ApiError::forbidden(&POD_DISRUPTION_BUDGET, name, why));
    if number("disruptionsAllowed") < 0 {
        return forbid("pdb disruptions allowed is negative");
    }
    if status["disruptedPods"].as_object().is_some_and(|pods| pods.len() > DISRUPTED_MAX) {
        return forbid(
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        );
    }
    if number("disruptionsAllowed") == 0 {
        let (desired, current) = (number("desiredHealthy"), number("currentHealthy"));
        return Err(refused(&format!(
            "The disruption budget {name} needs {desired} healthy pods and has {current} currently"
        )));
    }
    Ok(())
}

fn refused(why: &str) -> ApiError {
    ApiError::new(429, "TooManyRequests", REFUSED).with_cause("DisruptionBudget", why, "")
}

/// Takes one disruption, and tells the controller of which pod.
async fn take(registry: &Registry, budget: &Arc<Object>, pod: &str) -> Result<(), ApiError> {
    let now = time::format(registry.now());
    let mut new = budget.value.clone();
    let generation = new["metadata"]["generation"].clone();
    let status = meta::map(&mut new, "status");
    let left = status.get("disruptionsAllowed").and_then(Value::as_i64).unwrap_or(0) - 1;
    status.insert("disruptionsAllowed".to_owned(), json!(left));
    status.entry("disruptedPods").or_insert_with(|| json!({}))[pod] = json!(now);
    if left == 0 {
        let conditions = status.entry("conditions").or_insert_with(|| json!([]));
        if let Some(all) = conditions.as_array_mut() {
            all.retain(|condition| condition["type"] != "DisruptionAllowed");
            all.push(json!({ "type": "DisruptionAllowed", "status": "False", "reason": "InsufficientPods",
                "message": "", "lastTransitionTime": now, "observedGeneration": generation }));
        }
    }
    let kind = &POD_DISRUPTION_BUDGET;
    let target = Target::object(kind, Some(budget.namespace()), budget.name());
    let caller = Caller::system("apiserver");
    let by = By::of(&caller, kind, "UpdateOptions");
    let target = target.sub(Subresource::Status);
    write::replace(registry, by, &target, new, budget, &WriteOptions::default()).await.map(drop)
}
