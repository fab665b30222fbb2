//! The state of a Pod that an earlier agent left running, or that lost its sandbox while nobody looked.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use beeline_container::runtime::{ContainerId, ContainerState, Exit};

use super::{Action, Ended, Image, Moment, Run, Sandbox, Slot, Stage, State};
use crate::wanted::{Role, Wanted, WantedContainer};

/// A sandbox that was found running.
#[derive(Clone, Debug)]
pub struct Found {
    /// The process that holds it.
    pub pid: u32,
    /// What is in it.
    pub containers: Vec<FoundContainer>,
}

/// A container that was found.
#[derive(Clone, Debug)]
pub struct FoundContainer {
    /// Its name.
    pub name: String,
    /// Which attempt it is.
    pub attempt: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its image's id.
    pub image_id: String,
    /// Where it is in its life.
    pub state: ContainerState,
}

/// What control knows of the Pod from before.
#[derive(Clone, Debug, Default)]
pub struct Prior {
    /// It has done its work.
    pub over: bool,
    /// When a node first saw it.
    pub since: Option<SystemTime>,
    /// Its containers, by name.
    pub containers: BTreeMap<String, PriorContainer>,
}

/// What control knows of a container from before.
#[derive(Clone, Debug)]
pub struct PriorContainer {
    /// How often it was started again.
    pub restarts: u32,
    /// It was ready: it stays so until a probe says otherwise, or traffic would stop because an agent came back.
    pub ready: bool,
    /// It had passed its startup probe.
    pub started: bool,
    /// It ran, or it ended: how.
    pub ran: Option<PriorRun>,
}

/// How a container was last seen by control.
#[derive(Clone, Debug)]
pub struct PriorRun {
    /// When it started.
    pub started_at: Option<SystemTime>,
    /// How it ended; `None` if it was running.
    pub exit: Option<(i32, String)>,
}

/// Build the state from what was found and what is known, and continue from there. Volumes are prepared again, which
/// changes nothing where they stand.
#[must_use]
pub fn adopt(
    wanted: Arc<Wanted>,
    found: Option<Found>,
    prior: &Prior,
    now: Moment,
) -> (State, Vec<Action>) {
    let mut state = State::new(wanted, now);
    state.since = prior.since.unwrap_or(now.wall);
    match found {
        Some(found) => {
            let pid = found.pid;
            adopt_found(&mut state, found, prior, now);
            state.sandbox = Sandbox::Connecting { pid };
            (state, vec![Action::Connect { pid }])
        }
        None if prior.over => {
            state.stage = Stage::Over { restored: true };
            (state, Vec::new())
        }
        None => {
            for (wanted, slot) in state.wanted.containers.iter().zip(&mut state.slots) {
                if let Some(prior) = prior.containers.get(&*wanted.name) {
                    *slot = lost(prior, now);
                }
            }
            (state, Vec::new())
        }
    }
}

fn adopt_found(state: &mut State, found: Found, prior: &Prior, now: Moment) {
    let mut newest: BTreeMap<String, FoundContainer> = BTreeMap::new();
    for container in found.containers {
        let known = newest.get(&container.name).map(|known| known.attempt);
        if known.is_none_or(|known| known < container.attempt) {
            newest.insert(container.name.clone(), container);
        }
    }
    let begun = |role: Role| {
        let of_role = state.wanted.containers.iter().filter(|wanted| wanted.role == role);
        of_role.clone().any(|wanted| newest.contains_key(&*wanted.name))
    };
    let mains_begun = begun(Role::Main);
    for (wanted, slot) in state.wanted.containers.iter().zip(&mut state.slots) {
        let known = prior.containers.get(&*wanted.name);
        let restarts = known.map_or(0, |known| known.restarts);
        match newest.remove(&*wanted.name) {
            Some(container) => adopt_container(slot, wanted, container, known, now),
            // Its record was removed, but it must have ended well: others came after it.
            None if wanted.role == Role::Init && mains_begun => {
                slot.attempt = restarts;
                slot.run = Run::Ended(ended(None, 0, "Completed", now));
            }
            None => slot.attempt = restarts,
        }
    }
}

fn adopt_container(
    slot: &mut Slot,
    wanted: &WantedContainer,
    container: FoundContainer,
    known: Option<&PriorContainer>,
    now: Moment,
) {
    let before = known.filter(|known| known.restarts == container.attempt);
    slot.attempt = container.attempt;
    slot.image = Image::Present { id: container.image_id };
    slot.run = match container.state {
        // Whoever made it died before starting it: made again, under the next number.
        ContainerState::Created => Run::Ended(ended(Some(container.id), 137, "Error", now)),
        ContainerState::Running { started_at, .. } => Run::Running {
            id: container.id,
            at: started_at,
            started: !wanted.startup_probe || before.is_some_and(|before| before.started),
            ready: !wanted.readiness_probe || before.is_some_and(|before| before.ready),
            signalled: None,
            kill_at: None,
        },
        ContainerState::Exited(exit) => Run::Ended(Ended::of(container.id, exit, now)),
    };
}

/// A container whose sandbox is no more: the node was restarted, or somebody removed it.
fn lost(prior: &PriorContainer, now: Moment) -> Slot {
    let mut slot = Slot::new();
    slot.attempt = prior.restarts;
    if let Some(ran) = &prior.ran {
        let mut end = match &ran.exit {
            Some((code, reason)) => ended(None, *code, reason, now),
            None => ended(None, 137, "ContainerStatusUnknown", now),
        };
        end.started_at = ran.started_at;
        if ran.exit.is_none() {
            end.message =
                Some("The container could not be located when the pod was terminated".to_owned());
        }
        slot.run = Run::Ended(end);
    }
    slot
}

fn ended(id: Option<ContainerId>, code: i32, reason: &str, now: Moment) -> Ended {
    Ended {
        id,
        code,
        signal: None,
        reason: reason.to_owned(),
        message: None,
        started_at: None,
        finished_at: now.wall,
        seen: now.mono,
    }
}

// === impl Ended ===

impl Ended {
    /// What the runtime reports, as this crate keeps it.
    #[must_use]
    pub fn of(id: ContainerId, exit: Exit, now: Moment) -> Self {
        Self {
            id: Some(id),
            code: exit.code,
            signal: exit.signal,
            reason: exit.reason().to_owned(),
            message: exit.message,
            started_at: exit.started_at,
            finished_at: exit.finished_at,
            seen: now.mono,
        }
    }
}
