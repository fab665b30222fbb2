//! The one word for where a Pod is.

use crate::{
    lifecycle::{Run, Stage, State},
    wanted::{RestartPolicy, Role},
};

/// Upstream's phases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Something has still to be started for the first time.
    Pending,
    /// At least one container runs or will be started again.
    Running,
    /// All have ended well.
    Succeeded,
    /// All have ended, one of them badly.
    Failed,
}

impl Phase {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// Nothing will be started any more.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

pub(super) fn of(state: &State) -> Phase {
    let policy = state.wanted.restart;
    let (mut waiting, mut running, mut ended, mut well, mut restarting) = (0, 0, 0, 0, 0);
    for (_, wanted, slot) in state.containers() {
        match (wanted.role, &slot.run) {
            (Role::Init, Run::Ended(end)) if end.code != 0 && policy == RestartPolicy::Never => {
                return Phase::Failed;
            }
            (Role::Init, _) if !slot.has_succeeded() => return Phase::Pending,
            (Role::Sidecar, _) if !slot.is_started() && !has_begun(state) => return Phase::Pending,
            (Role::Init | Role::Sidecar, _) => {}
            (Role::Main, Run::Running { .. }) => running += 1,
            (Role::Main, Run::Ended(end)) => {
                ended += 1;
                well += usize::from(end.code == 0);
                restarting += usize::from(crate::lifecycle::restarts(policy, wanted.role, slot));
            }
            (Role::Main, Run::Idle | Run::Creating | Run::Failed { .. } | Run::Starting { .. }) => {
                // One that ran before counts as being restarted.
                if slot.last.is_some() { restarting += 1 } else { waiting += 1 }
            }
        }
    }
    if waiting > 0 {
        return Phase::Pending;
    }
    let over = state.stage != Stage::Starting;
    if running > 0 || (restarting > 0 && !over) {
        return Phase::Running;
    }
    match policy {
        // A deleted Pod whose containers ended keeps its phase until the object goes.
        RestartPolicy::Always => Phase::Running,
        RestartPolicy::OnFailure | RestartPolicy::Never if ended > 0 && well == ended => {
            Phase::Succeeded
        }
        RestartPolicy::Never => Phase::Failed,
        RestartPolicy::OnFailure => Phase::Running,
    }
}

/// A main container has run.
fn has_begun(state: &State) -> bool {
    state.containers().any(|(_, wanted, slot)| {
        wanted.role == Role::Main
            && (slot.last.is_some() || matches!(slot.run, Run::Running { .. } | Run::Ended(_)))
    })
}
