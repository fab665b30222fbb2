//! An event becomes part of the state. Nothing is decided here beyond what the event itself says.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Action, Ended, Event, Image, Moment, Note, ProbeKind, Report, Run, Sandbox, Signalled, Slot,
    Stage, State, StopStep, Stopping, Volumes, Why,
};
use crate::wanted::{PullPolicy, Wanted, WantedContainer};

/// Waits between attempts at volumes, doubling from the first to the second.
const VOLUME_RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(120));
/// Waits between attempts at a sandbox.
const SANDBOX_RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Waits between looks for an image.
const IMAGE_RETRY: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(300));
/// Between attempts at making a container.
const CREATE_RETRY: Duration = Duration::from_secs(10);
/// Between attempts at removing a sandbox.
const TEAR_DOWN_RETRY: Duration = Duration::from_secs(2);
/// The longest wait for Services to forget the Pod.
const DRAIN_MAX: Duration = Duration::from_secs(2);

pub(super) fn event(state: &mut State, event: Event, now: Moment, actions: &mut Vec<Action>) {
    match event {
        Event::Update(wanted) => update(state, wanted, now, actions),
        Event::Delete { grace } => delete(state, grace, now, actions),
        Event::VolumesReady => state.volumes = Volumes::Ready,
        Event::VolumesFailed(message) => volumes_failed(state, message, now, actions),
        Event::SandboxReady { pid } if state.stage == Stage::Starting => {
            state.sandbox = Sandbox::Connecting { pid };
            actions.push(Action::Connect { pid });
        }
        // Deleted meanwhile: it is only to be removed.
        Event::SandboxReady { pid } => {
            state.sandbox = Sandbox::Unconnected { pid, retry_at: now.mono }
        }
        Event::SandboxFailed(message) => {
            state.sandbox = Sandbox::Failed { retry_at: sandbox_retry(state, now.mono) };
            actions.push(sandbox_note(&message));
        }
        Event::Connected { addresses } => {
            if let Sandbox::Connecting { pid } = state.sandbox {
                state.sandbox_failures = 0;
                state.sandbox = Sandbox::Ready { pid, addresses };
            }
        }
        Event::ConnectFailed(message) => {
            if let Sandbox::Connecting { pid } = state.sandbox {
                state.sandbox =
                    Sandbox::Unconnected { pid, retry_at: sandbox_retry(state, now.mono) };
            }
            actions.push(sandbox_note(&message));
        }
        Event::SandboxDied => sandbox_died(state, now, actions),
        Event::Image { slot, found } => image(state, slot, found, now.mono, actions),
        Event::Container { slot, attempt, report } => {
            let Some(wanted) = state.wanted.containers.get(slot).cloned() else { return };
            if let Some(found) = state.slots.get_mut(slot).filter(|found| found.attempt == attempt)
            {
                container(found, slot, &wanted, report, now, actions);
            }
        }
        Event::Drained => drained(state, now.mono),
        Event::TornDown => torn_down(state, now),
        Event::TearDownFailed(message) => {
            if let Stage::Stopping(stopping) = &mut state.stage {
                stopping.step = StopStep::TearDownFailed { retry_at: now.mono + TEAR_DOWN_RETRY };
            }
            actions.push(Note::of(
                None,
                true,
                "FailedKillPod",
                format!("error killing pod: {message}"),
            ));
        }
        Event::InputsChanged => inputs_changed(state, now.mono),
        Event::Tick => {}
    }
}

fn torn_down(state: &mut State, now: Moment) {
    state.sandbox = Sandbox::Absent;
    for slot in &mut state.slots {
        end_with_sandbox(slot, now);
    }
    if let Stage::Stopping(stopping) = &mut state.stage {
        stopping.step = StopStep::TornDown;
    }
}

fn update(state: &mut State, wanted: Arc<Wanted>, now: Moment, actions: &mut Vec<Action>) {
    if state.stage != Stage::Starting {
        return;
    }
    for ((old, new), slot) in
        state.wanted.containers.iter().zip(&wanted.containers).zip(&mut state.slots)
    {
        if old.image == new.image {
            continue;
        }
        slot.image = Image::Unknown;
        slot.replace = true;
        if let Run::Running { id, signalled: signalled @ None, kill_at, .. } = &mut slot.run {
            *signalled = Some(Signalled::Stop);
            *kill_at = Some(now.mono + wanted.grace);
            let message = format!("Container {} definition changed, will be restarted", new.name);
            actions.push(Note::of(Some(new), false, "Killing", message));
            let at = wanted
                .containers
                .iter()
                .position(|container| container.name == new.name)
                .unwrap_or(0);
            actions.push(Action::Signal { slot: at, id: id.clone(), how: Signalled::Stop });
        }
    }
    state.wanted = wanted;
}

fn delete(state: &mut State, grace: Duration, now: Moment, actions: &mut Vec<Action>) {
    let kill_at = now.mono + grace;
    match &mut state.stage {
        Stage::Starting => {
            let running = state.slots.iter().any(Slot::is_running);
            let drains = running && !grace.is_zero() && state.addresses().is_some();
            let step = if drains {
                actions.push(Action::Drain);
                StopStep::Draining { until: now.mono + DRAIN_MAX.min(grace / 2) }
            } else {
                pre_stop(state, now.mono)
            };
            state.stage = Stage::Stopping(Stopping { why: Why::Deleted, kill_at, step });
        }
        Stage::Stopping(stopping) => {
            stopping.why = Why::Deleted;
            stopping.kill_at = stopping.kill_at.min(kill_at);
        }
        Stage::Over { .. } => {
            state.stage = Stage::Gone;
            actions.push(Action::ReportGone);
        }
        Stage::Gone => {}
    }
}

fn drained(state: &mut State, now: Instant) {
    let next = pre_stop(state, now);
    if let Stage::Stopping(stopping) = &mut state.stage
        && matches!(stopping.step, StopStep::Draining { .. })
    {
        stopping.step = next;
    }
}

/// The step after draining: the longest sleep that a running container's hook asks for.
pub(super) fn pre_stop(state: &State, now: Instant) -> StopStep {
    let sleep = state
        .containers()
        .filter(|(_, _, slot)| slot.is_running())
        .map(|(_, wanted, _)| wanted.pre_stop_sleep)
        .max()
        .unwrap_or_default();
    if sleep.is_zero() { StopStep::Signalling } else { StopStep::PreStop { until: now + sleep } }
}

fn volumes_failed(state: &mut State, message: String, now: Moment, actions: &mut Vec<Action>) {
    let delay = match state.volumes {
        Volumes::Preparing { delay: Some(before) } => (before * 2).min(VOLUME_RETRY.1),
        Volumes::Preparing { delay: None }
        | Volumes::Todo
        | Volumes::Failed { .. }
        | Volumes::Ready => VOLUME_RETRY.0,
    };
    state.volumes = Volumes::Failed { retry_at: now.mono + delay, delay };
    actions.push(Note::of(None, true, "FailedMount", message));
}

fn sandbox_retry(state: &mut State, now: Instant) -> Instant {
    let delay = SANDBOX_RETRY.0 * 2_u32.pow(state.sandbox_failures.min(8));
    state.sandbox_failures = state.sandbox_failures.saturating_add(1);
    now + delay.min(SANDBOX_RETRY.1)
}

fn sandbox_note(message: &str) -> Action {
    Note::of(
        None,
        true,
        "FailedCreatePodSandBox",
        format!("Failed to create pod sandbox: {message}"),
    )
}

fn sandbox_died(state: &mut State, now: Moment, actions: &mut Vec<Action>) {
    for slot in &mut state.slots {
        end_with_sandbox(slot, now);
    }
    // On the way down its remains are removed like a live one.
    if state.stage != Stage::Starting {
        return;
    }
    state.sandbox = Sandbox::Absent;
    let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
    actions.push(Note::of(None, false, "SandboxChanged", message));
}

/// What lived in a sandbox that is gone has ended; what was under way in it has not begun.
fn end_with_sandbox(slot: &mut Slot, now: Moment) {
    match &slot.run {
        Run::Running { id, at, .. } => {
            slot.run = Run::Ended(Ended {
                id: Some(id.clone()),
                code: 137,
                signal: Some(9),
                reason: "Error".to_owned(),
                message: None,
                started_at: Some(*at),
                finished_at: now.wall,
                seen: now.mono,
            });
        }
        Run::Creating | Run::Starting { .. } | Run::Failed { .. } => slot.run = Run::Idle,
        Run::Idle | Run::Ended(_) => {}
    }
}

fn image(
    state: &mut State,
    at: usize,
    found: Option<String>,
    now: Instant,
    actions: &mut Vec<Action>,
) {
    let (Some(wanted), Some(slot)) = (state.wanted.containers.get(at), state.slots.get_mut(at))
    else {
        return;
    };
    let Image::Resolving { delay: before } = slot.image else { return };
    if let Some(id) = found {
        let message = format!("Container image \"{}\" already present on machine", wanted.image);
        actions.push(Note::of(Some(wanted), false, "Pulled", message));
        slot.image = Image::Present { id };
        return;
    }
    let delay = before.map_or(IMAGE_RETRY.0, |before| (before * 2).min(IMAGE_RETRY.1));
    slot.image = Image::Missing { at: now, delay, backing_off: false };
    actions.extend(image_notes(wanted));
}

fn image_notes(wanted: &WantedContainer) -> Vec<Action> {
    let note = |reason, message| Note::of(Some(wanted), true, reason, message);
    if let Some(message) = crate::words::bad_name(&wanted.image) {
        return vec![
            note("InspectFailed", message),
            note("Failed", "Error: InvalidImageName".to_owned()),
        ];
    }
    match wanted.pull {
        PullPolicy::Never => vec![
            note("ErrImageNeverPull", crate::words::never_pull(&wanted.image)),
            note("Failed", "Error: ErrImageNeverPull".to_owned()),
        ],
        PullPolicy::Always | PullPolicy::IfNotPresent => vec![
            Note::of(Some(wanted), false, "Pulling", format!("Pulling image \"{}\"", wanted.image)),
            note("Failed", crate::words::pull_failed(&wanted.image)),
            note("Failed", "Error: ErrImagePull".to_owned()),
        ],
    }
}

fn container(
    slot: &mut Slot,
    at: usize,
    wanted: &WantedContainer,
    report: Report,
    now: Moment,
    actions: &mut Vec<Action>,
) {
    match (report, &mut slot.run) {
        (Report::Created(id), Run::Creating) => {
            let message = format!("Created container: {}", wanted.name);
            actions.push(Note::of(Some(wanted), false, "Created", message));
            slot.run = Run::Starting { id: id.clone() };
            actions.push(Action::Start { slot: at, attempt: slot.attempt, id });
        }
        (Report::CreateFailed { reason, message }, Run::Creating) => {
            actions.push(Note::of(Some(wanted), true, "Failed", format!("Error: {message}")));
            slot.run = Run::Failed { reason, message, retry_at: now.mono + CREATE_RETRY };
        }
        (Report::Started { at }, Run::Starting { id }) => {
            let message = format!("Started container {}", wanted.name);
            actions.push(Note::of(Some(wanted), false, "Started", message));
            slot.run = Run::Running {
                id: id.clone(),
                at,
                started: !wanted.startup_probe,
                ready: !wanted.readiness_probe,
                signalled: None,
                kill_at: None,
            };
        }
        (Report::StartFailed { message }, Run::Starting { id }) => {
            actions.push(Note::of(Some(wanted), true, "Failed", format!("Error: {message}")));
            let ended = start_failed(id.clone(), message, now);
            slot.run = Run::Ended(ended);
            slot.told = false;
        }
        // An end may overtake the report of the start.
        (Report::Exited(ended), Run::Starting { .. } | Run::Running { .. }) => {
            slot.run = Run::Ended(ended);
            slot.told = false;
        }
        (Report::Probe { kind, failure }, Run::Running { .. }) => {
            probe(slot, at, wanted, kind, failure, now, actions);
        }
        // A report of something that has been overtaken.
        _ => {}
    }
}

fn start_failed(
    id: beeline_container::runtime::ContainerId,
    message: String,
    now: Moment,
) -> Ended {
    Ended {
        id: Some(id),
        code: 128,
        signal: None,
        reason: "StartError".to_owned(),
        message: Some(message),
        started_at: None,
        finished_at: now.wall,
        seen: now.mono,
    }
}

fn probe(
    slot: &mut Slot,
    at: usize,
    wanted: &WantedContainer,
    kind: ProbeKind,
    failure: Option<String>,
    now: Moment,
    actions: &mut Vec<Action>,
) {
    let Run::Running { id, started, ready, signalled, kill_at, .. } = &mut slot.run else { return };
    let word = crate::words::probe(kind);
    let failed = failure.is_some();
    if let Some(failure) = failure {
        actions.push(Note::of(
            Some(wanted),
            true,
            "Unhealthy",
            format!("{word} probe failed: {failure}"),
        ));
    }
    match kind {
        ProbeKind::Readiness => *ready = !failed,
        ProbeKind::Startup if !failed => *started = true,
        ProbeKind::Liveness if !failed => {}
        ProbeKind::Startup | ProbeKind::Liveness => {
            if signalled.is_none() {
                *signalled = Some(Signalled::Stop);
                *kill_at = Some(now.mono + crate::words::PROBE_GRACE);
                let verb = word.to_lowercase();
                let message =
                    format!("Container {} failed {verb} probe, will be restarted", wanted.name);
                actions.push(Note::of(Some(wanted), false, "Killing", message));
                actions.push(Action::Signal { slot: at, id: id.clone(), how: Signalled::Stop });
            }
        }
    }
}

fn inputs_changed(state: &mut State, now: Instant) {
    if let Volumes::Failed { retry_at, .. } = &mut state.volumes {
        *retry_at = now;
    }
    for slot in &mut state.slots {
        if let Image::Missing { .. } = slot.image {
            slot.image = Image::Unknown;
        }
        if let Run::Failed { reason: "CreateContainerConfigError", retry_at, .. } = &mut slot.run {
            *retry_at = now;
        }
    }
}
