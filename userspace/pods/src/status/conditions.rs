//! The five conditions of a Pod.

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};

use super::{Facts, Phase, time};
use crate::{
    lifecycle::{Sandbox, Slot, State},
    wanted::Role,
};

/// Whether a condition holds, and upstream's word and sentence if not.
type Verdict = Result<(), (&'static str, Option<String>)>;

pub(super) fn of(
    state: &State,
    phase: Phase,
    pod: &Pod,
    before: Option<&PodStatus>,
    facts: Facts,
) -> Vec<PodCondition> {
    let containers_ready = containers_ready(state, phase);
    let ready = match (&containers_ready, unmet_gates(pod)) {
        (Ok(()), Some(message)) => Err(("ReadinessGatesNotReady", Some(message))),
        _ => containers_ready.clone(),
    };
    let verdicts = [
        ("PodReadyToStartContainers", connected(state)),
        ("Initialized", initialized(state, phase)),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Ok(())),
    ];
    let old = before.and_then(|before| before.conditions.as_ref());
    let mut conditions: Vec<PodCondition> = verdicts
        .into_iter()
        .map(|(kind, verdict)| {
            let old = old.and_then(|old| old.iter().find(|condition| condition.type_ == kind));
            condition(kind, verdict, old, pod, facts)
        })
        .collect();
    // Conditions that others set, for readiness gates, stay.
    let known = |kind: &str| verdict_kinds().contains(&kind);
    let set = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .extend(set.into_iter().flatten().filter(|condition| !known(&condition.type_)).cloned());
    conditions
}

fn verdict_kinds() -> [&'static str; 5] {
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
}

fn condition(
    kind: &str,
    verdict: Verdict,
    old: Option<&PodCondition>,
    pod: &Pod,
    facts: Facts,
) -> PodCondition {
    let status = if verdict.is_ok() { "True" } else { "False" };
    let (reason, message) =
        verdict.err().map_or((None, None), |(reason, message)| (Some(reason), message));
    let unchanged =
        old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
    PodCondition {
        last_transition_time: Some(unchanged.unwrap_or_else(|| time(facts.now))),
        message,
        observed_generation: pod.metadata.generation,
        reason: reason.filter(|reason| !reason.is_empty()).map(str::to_owned),
        status: status.to_owned(),
        type_: kind.to_owned(),
        ..PodCondition::default()
    }
}

/// A sandbox in which a container runs had its network before: one that was adopted is only being looked over.
fn connected(state: &State) -> Verdict {
    let connected = match state.sandbox {
        Sandbox::Ready { .. } => true,
        Sandbox::Connecting { .. } | Sandbox::Unconnected { .. } => {
            state.slots.iter().any(Slot::is_running)
        }
        Sandbox::Absent | Sandbox::Creating | Sandbox::Failed { .. } => false,
    };
    if connected { Ok(()) } else { Err(("", None)) }
}

fn initialized(state: &State, phase: Phase) -> Verdict {
    if phase == Phase::Succeeded {
        return Ok(());
    }
    let open: Vec<&str> = state
        .containers()
        .filter(|(_, wanted, slot)| match wanted.role {
            Role::Init => !slot.has_succeeded(),
            Role::Sidecar => !slot.is_started(),
            Role::Main => false,
        })
        .map(|(_, wanted, _)| &*wanted.name)
        .collect();
    if open.is_empty() {
        return Ok(());
    }
    let message = format!("containers with incomplete status: [{}]", open.join(" "));
    Err(("ContainersNotInitialized", Some(message)))
}

fn containers_ready(state: &State, phase: Phase) -> Verdict {
    match phase {
        Phase::Succeeded => return Err(("PodCompleted", None)),
        Phase::Failed => return Err(("PodFailed", None)),
        Phase::Pending | Phase::Running => {}
    }
    let unready: Vec<&str> = state
        .containers()
        .filter(|(_, wanted, slot)| wanted.role != Role::Init && !slot.is_ready())
        .map(|(_, wanted, _)| &*wanted.name)
        .collect();
    if unready.is_empty() {
        return Ok(());
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    Err(("ContainersNotReady", Some(message)))
}

/// Readiness gates whose condition is not True.
fn unmet_gates(pod: &Pod) -> Option<String> {
    let set = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let holds = |kind: &str| {
        set.is_some_and(|set| {
            set.iter().any(|condition| condition.type_ == kind && condition.status == "True")
        })
    };
    let gates = pod.spec.as_ref().and_then(|spec| spec.readiness_gates.as_ref());
    let unmet: Vec<String> = gates
        .into_iter()
        .flatten()
        .filter(|gate| !holds(&gate.condition_type))
        .map(|gate| {
            format!("the status of pod readiness gate \"{}\" is not \"True\"", gate.condition_type)
        })
        .collect();
    (!unmet.is_empty()).then(|| unmet.join(", "))
}
