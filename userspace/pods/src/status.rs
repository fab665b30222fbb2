//! The status of a Pod as users see it, in upstream's words.
//!
//! In: the state machine's state, facts of the node, the status before, `now`. Out: a Kubernetes `PodStatus`.
//! Pure: the same input gives the same status, so an unchanged one need not be sent.

mod conditions;
mod phase;
mod qos;
#[cfg(test)]
mod tests;

use std::{net::IpAddr, time::SystemTime};

use beeline_api::time::from_system;
use beeline_netdev::AddressPair;
use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, HostIP, Pod, PodIP, PodStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

pub use phase::Phase;

use crate::{
    lifecycle::{Ended, Image, Run, Sandbox, Slot, Stage, State},
    wanted::{PullPolicy, Role, WantedContainer},
    words,
};

/// What a status says besides the state of the Pod.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The node's addresses.
    pub host_ips: AddressPair,
    /// For transitions that happen now.
    pub now: SystemTime,
}

/// The status of `pod` in `state`. `before` is the one reported last, or the API server's.
#[must_use]
pub fn pod_status(state: &State, pod: &Pod, before: Option<&PodStatus>, facts: Facts) -> PodStatus {
    let of = |role_is_main: bool| {
        let statuses: Vec<ContainerStatus> = state
            .containers()
            .filter(|(_, wanted, _)| (wanted.role == Role::Main) == role_is_main)
            .map(|(at, wanted, slot)| container_status(state, at, wanted, slot))
            .collect();
        (!statuses.is_empty()).then_some(statuses)
    };
    let phase = phase::of(state);
    let addresses = addresses(state, before, facts);
    PodStatus {
        conditions: Some(conditions::of(state, phase, pod, before, facts)),
        container_statuses: of(true),
        host_ips: Some(facts.host_ips.all().map(|ip| HostIP { ip: ip.to_string() }).collect()),
        host_ip: Some(facts.host_ips.v4.to_string()),
        init_container_statuses: of(false),
        observed_generation: pod.metadata.generation,
        phase: Some(phase.as_str().to_owned()),
        pod_ips: addresses.map(|all| all.all().map(|ip| PodIP { ip: ip.to_string() }).collect()),
        pod_ip: addresses.map(|all| all.v4.to_string()),
        qos_class: Some(qos::class(pod).to_owned()),
        start_time: Some(time(state.since)),
        ..PodStatus::default()
    }
}

/// A Pod on its way down keeps showing the addresses it had.
fn addresses(state: &State, before: Option<&PodStatus>, facts: Facts) -> Option<AddressPair> {
    if state.wanted.host_network {
        return Some(facts.host_ips);
    }
    let kept = match (&state.stage, &state.sandbox) {
        (Stage::Starting, Sandbox::Absent | Sandbox::Creating | Sandbox::Failed { .. }) => None,
        _ => before.and_then(addresses_in),
    };
    state.addresses().or(kept)
}

fn addresses_in(before: &PodStatus) -> Option<AddressPair> {
    let v4 = before.pod_ip.as_deref()?.parse().ok()?;
    let mut all = before.pod_ips.iter().flatten().filter_map(|ip| ip.ip.parse().ok());
    let v6 = all.find_map(|ip| match ip {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    });
    Some(AddressPair { v4, v6 })
}

fn container_status(
    state: &State,
    at: usize,
    wanted: &WantedContainer,
    slot: &Slot,
) -> ContainerStatus {
    let (id, image_id) = (container_id(slot), image_id(slot));
    let last = last(state, at, slot).map(|ended| ContainerState {
        terminated: Some(terminated(ended)),
        ..ContainerState::default()
    });
    let ready = match wanted.role {
        Role::Init => slot.has_succeeded(),
        Role::Sidecar | Role::Main => slot.is_ready(),
    };
    ContainerStatus {
        container_id: id,
        image: wanted.image.to_string(),
        image_id,
        last_state: Some(last.unwrap_or_default()),
        name: wanted.name.to_string(),
        ready,
        restart_count: i32::try_from(slot.attempt).unwrap_or(i32::MAX),
        started: Some(slot.is_started()),
        state: Some(container_state(state, at, wanted, slot)),
        ..ContainerStatus::default()
    }
}

fn container_id(slot: &Slot) -> Option<String> {
    let id = match &slot.run {
        Run::Starting { id } | Run::Running { id, .. } => Some(id),
        Run::Ended(ended) => ended.id.as_ref(),
        Run::Idle | Run::Creating | Run::Failed { .. } => {
            slot.last.as_ref().and_then(|last| last.id.as_ref())
        }
    };
    id.map(|id| format!("beeline://{id}"))
}

fn image_id(slot: &Slot) -> String {
    match &slot.image {
        Image::Present { id } => id.clone(),
        Image::Unknown | Image::Resolving { .. } | Image::Missing { .. } => String::new(),
    }
}

/// Waits to be started again, with the end before this still in the slot.
fn is_backing_off(state: &State, at: usize, slot: &Slot) -> bool {
    let Some(wanted) = state.wanted.containers.get(at) else { return false };
    let restarts = crate::lifecycle::restarts(state.wanted.restart, wanted.role, slot);
    let waits = slot.told && state.stage == Stage::Starting;
    waits && restarts
}

fn last<'a>(state: &State, at: usize, slot: &'a Slot) -> Option<&'a Ended> {
    match &slot.run {
        Run::Ended(ended) if is_backing_off(state, at, slot) => Some(ended),
        _ => slot.last.as_ref(),
    }
}

fn container_state(
    state: &State,
    at: usize,
    wanted: &WantedContainer,
    slot: &Slot,
) -> ContainerState {
    match &slot.run {
        Run::Running { at, .. } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(time(*at)) }),
            ..ContainerState::default()
        },
        Run::Ended(ended) if is_backing_off(state, at, slot) => {
            let seconds = slot.backoff.map_or(0, |backoff| backoff.delay.as_secs());
            let delay = human_delay(seconds);
            let pod = &state.wanted;
            let message = format!(
                "back-off {delay} restarting failed container={} pod={}_{}({})",
                wanted.name, pod.name, pod.namespace, pod.uid
            );
            let reason = if ended.reason == "StartError" && slot.backoff.is_none() {
                "RunContainerError"
            } else {
                "CrashLoopBackOff"
            };
            waiting(reason, Some(message))
        }
        Run::Ended(ended) => {
            ContainerState { terminated: Some(terminated(ended)), ..ContainerState::default() }
        }
        Run::Failed { reason, message, .. } => waiting(reason, Some(message.clone())),
        Run::Idle | Run::Creating | Run::Starting { .. } => not_begun(state, wanted, slot),
    }
}

fn not_begun(state: &State, wanted: &WantedContainer, slot: &Slot) -> ContainerState {
    if let Image::Missing { backing_off, .. } = slot.image {
        if let Some(message) = words::bad_name(&wanted.image) {
            return waiting("InvalidImageName", Some(message));
        }
        return match (wanted.pull, backing_off) {
            (PullPolicy::Never, _) => {
                waiting("ErrImageNeverPull", Some(words::never_pull(&wanted.image)))
            }
            (_, false) => waiting("ErrImagePull", Some(words::not_here(&wanted.image))),
            (_, true) => waiting("ImagePullBackOff", Some(words::pull_back_off(&wanted.image))),
        };
    }
    // Between two attempts users see how the one before ended, until the next one runs. An init container that has ended
    // well and is run again in a new sandbox must not look as if it were done.
    let shown = |ended: &&Ended| wanted.role != Role::Init || ended.code != 0;
    if let Some(ended) = slot.last.as_ref().filter(shown) {
        return ContainerState { terminated: Some(terminated(ended)), ..ContainerState::default() };
    }
    // Upstream says so of every container of a Pod with init containers, until each runs.
    let has_inits = state.wanted.containers.iter().any(|other| other.role != Role::Main);
    let word = if has_inits { "PodInitializing" } else { "ContainerCreating" };
    waiting(word, None)
}

fn waiting(reason: &str, message: Option<String>) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting { message, reason: Some(reason.to_owned()) }),
        ..ContainerState::default()
    }
}

fn terminated(ended: &Ended) -> ContainerStateTerminated {
    ContainerStateTerminated {
        container_id: ended.id.as_ref().map(|id| format!("beeline://{id}")),
        exit_code: ended.code,
        finished_at: Some(time(ended.finished_at)),
        message: ended.message.clone(),
        reason: Some(ended.reason.clone()),
        signal: ended.signal,
        started_at: ended.started_at.map(time),
    }
}

/// As Go prints a duration of whole seconds.
fn human_delay(seconds: u64) -> String {
    match (seconds / 60, seconds % 60) {
        (0, seconds) => format!("{seconds}s"),
        (minutes, seconds) => format!("{minutes}m{seconds}s"),
    }
}

/// Whole seconds, as the API keeps them: a status that comes back must equal the one that was sent.
pub(crate) fn time(time: SystemTime) -> Time {
    let exact = from_system(time);
    Time(k8s_openapi::jiff::Timestamp::from_second(exact.as_second()).unwrap_or(exact))
}
