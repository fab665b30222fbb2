//! What is due while a Pod goes down.

use std::time::{Duration, Instant};

use super::{
    Action, Moment, Note, Run, Sandbox, Signalled, Slot, Stage, State, StopStep, Stopping, Why,
    record,
};
use crate::wanted::Role;

/// However long the hook slept, containers get this long between signal and kill.
const SIGNAL_MIN: Duration = Duration::from_secs(2);
/// A killed container that does not report its end goes with its sandbox.
const KILL_MAX: Duration = Duration::from_secs(5);

pub(super) fn advance(state: &mut State, now: Moment, actions: &mut Vec<Action>) {
    let Stage::Stopping(Stopping { why, kill_at, step }) = state.stage.clone() else { return };
    let next = match step {
        // Something under way may still make a container or a sandbox: its report comes first.
        _ if state.sandbox == Sandbox::Creating => step,
        StopStep::TornDown => return finish(state, why, actions),
        StopStep::TearDownFailed { retry_at } if retry_at <= now.mono => tear_down(actions),
        StopStep::TearingDown | StopStep::TearDownFailed { .. } => step,
        // Also without a sandbox: one that died may have left something, and volumes go too.
        _ if is_quiet(state) => tear_down(actions),
        StopStep::Killing { until } if until <= now.mono => tear_down(actions),
        StopStep::Killing { .. } => {
            signal(state, Signalled::Kill, actions);
            step
        }
        _ if kill_at <= now.mono => {
            signal(state, Signalled::Kill, actions);
            StopStep::Killing { until: now.mono + KILL_MAX }
        }
        StopStep::Draining { until } if until <= now.mono => {
            begin(state, why, kill_at, now, actions)
        }
        StopStep::PreStop { until } if until <= now.mono => {
            let kill_at = kill_at.max(now.mono + SIGNAL_MIN);
            state.stage = Stage::Stopping(Stopping { why, kill_at, step: StopStep::Signalling });
            signal(state, Signalled::Stop, actions);
            return;
        }
        StopStep::Draining { .. } | StopStep::PreStop { .. } => step,
        StopStep::Signalling => {
            signal(state, Signalled::Stop, actions);
            step
        }
    };
    let kill_at = match &state.stage {
        Stage::Stopping(stopping) => stopping.kill_at,
        Stage::Starting | Stage::Over { .. } | Stage::Gone => kill_at,
    };
    state.stage = Stage::Stopping(Stopping { why, kill_at, step: next });
}

/// After draining: the hook, or at once the signal.
fn begin(
    state: &mut State,
    why: Why,
    kill_at: Instant,
    now: Moment,
    actions: &mut Vec<Action>,
) -> StopStep {
    let step = record::pre_stop(state, now.mono);
    if step == StopStep::Signalling {
        state.stage = Stage::Stopping(Stopping { why, kill_at, step });
        signal(state, Signalled::Stop, actions);
    }
    step
}

fn tear_down(actions: &mut Vec<Action>) -> StopStep {
    actions.push(Action::TearDown);
    StopStep::TearingDown
}

fn finish(state: &mut State, why: Why, actions: &mut Vec<Action>) {
    state.stage = match why {
        Why::Completed => Stage::Over { restored: false },
        Why::Deleted => {
            actions.push(Action::ReportGone);
            Stage::Gone
        }
    };
}

/// Nothing runs and nothing is about to.
fn is_quiet(state: &State) -> bool {
    let connecting = matches!(state.sandbox, Sandbox::Connecting { .. });
    !connecting && !state.slots.iter().any(Slot::is_live)
}

/// Signal every running container that has not had this signal: sidecars once the others have ended.
fn signal(state: &mut State, how: Signalled, actions: &mut Vec<Action>) {
    let others_run =
        state.containers().any(|(_, wanted, slot)| wanted.role != Role::Sidecar && slot.is_live());
    let wanted = std::sync::Arc::clone(&state.wanted);
    for (at, (wanted, slot)) in wanted.containers.iter().zip(&mut state.slots).enumerate() {
        let waits = wanted.role == Role::Sidecar && others_run && how == Signalled::Stop;
        let Run::Running { id, signalled, .. } = &mut slot.run else { continue };
        if waits || *signalled == Some(how) || *signalled == Some(Signalled::Kill) {
            continue;
        }
        if signalled.is_none() {
            let message = format!("Stopping container {}", wanted.name);
            actions.push(Note::of(Some(wanted), false, "Killing", message));
        }
        *signalled = Some(how);
        actions.push(Action::Signal { slot: at, id: id.clone(), how });
    }
}

// === impl Stopping ===

impl Stopping {
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.step {
            StopStep::Draining { until } | StopStep::PreStop { until } => {
                Some(until.min(self.kill_at))
            }
            StopStep::Signalling => Some(self.kill_at),
            StopStep::Killing { until } => Some(until),
            StopStep::TearDownFailed { retry_at } => Some(retry_at),
            StopStep::TearingDown | StopStep::TornDown => None,
        }
    }
}
