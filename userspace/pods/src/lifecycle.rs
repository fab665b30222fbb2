//! One Pod on one node, from wanted to gone.
//!
//! In: intent and reports. Out: actions for the driver, whose results come back as events. Never touches kernel, disk,
//! network or clock: `now` is an argument.
//!
//! ```text
//!  Starting ── volumes, sandbox, network, init containers, containers ──> (still Starting: it keeps things running)
//!     │  containers done, and the policy starts none of them again            │ Delete
//!     ▼                                                                        ▼
//!  Stopping(Completed) ── sidecars end, sandbox removed ──> Over ──Delete──> Gone
//!     │ Delete                                                                 ▲
//!     ▼                                                                        │
//!  Stopping(Deleted) ── drain, preStop, signal, kill, sandbox removed ─────────┘
//! ```
//!
//! A step records the event in the state, then looks at the state alone and emits what is due and not already under way.
//! So the order of reports does not matter, and a state rebuilt after a restart continues like any other.

mod adopt;
mod record;
mod run;
mod slot;
mod stop;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use beeline_container::runtime::ContainerId;
use beeline_netdev::AddressPair;

pub use adopt::{Found, FoundContainer, Prior, PriorContainer, PriorRun, adopt};
pub(crate) use run::restarts;
pub use slot::{Backoff, Ended, Image, Run, Signalled, Slot};

use crate::wanted::{Wanted, WantedContainer};

/// A point in time: wall clock for what users read, monotonic for what must not jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For timestamps.
    pub wall: SystemTime,
    /// For deadlines.
    pub mono: Instant,
}

/// Everything known of one Pod on this node.
#[derive(Clone, Debug)]
pub struct State {
    /// What is wanted.
    pub wanted: Arc<Wanted>,
    /// Where it is in its life.
    pub stage: Stage,
    /// Its volumes.
    pub volumes: Volumes,
    /// Its sandbox.
    pub sandbox: Sandbox,
    /// Its containers, in the order of [`Wanted::containers`].
    pub slots: Vec<Slot>,
    /// When this node first saw it.
    pub since: SystemTime,
    /// Sandboxes that could not be made, since the last that could.
    pub sandbox_failures: u32,
}

/// Where a Pod is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stage {
    /// To be brought up and kept up.
    Starting,
    /// On its way down.
    Stopping(Stopping),
    /// All has run, nothing is left but the record.
    Over {
        /// Known from the API server alone: what it says stays as it is.
        restored: bool,
    },
    /// Nothing is left.
    Gone,
}

/// How a Pod goes down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopping {
    /// Why it does.
    pub why: Why,
    /// When patience ends.
    pub kill_at: Instant,
    /// How far it is.
    pub step: StopStep,
}

/// Why a Pod goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It was deleted.
    Deleted,
    /// It has done its work.
    Completed,
}

/// The steps down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopStep {
    /// Until Services send it nothing new.
    Draining {
        /// No longer than this.
        until: Instant,
    },
    /// The preStop hook sleeps.
    PreStop {
        /// Until then.
        until: Instant,
    },
    /// Containers are asked to end, main ones first.
    Signalling,
    /// Containers are ended.
    Killing {
        /// After this the sandbox is removed whatever they say.
        until: Instant,
    },
    /// The sandbox is being removed.
    TearingDown,
    /// Removing it failed.
    TearDownFailed {
        /// When to try again.
        retry_at: Instant,
    },
    /// It is removed.
    TornDown,
}

/// The volumes of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Volumes {
    /// Not begun.
    Todo,
    /// Under way.
    Preparing {
        /// The wait after the failure before this, if there was one.
        delay: Option<Duration>,
    },
    /// Something they need is missing.
    Failed {
        /// When to try again.
        retry_at: Instant,
        /// How long that wait is.
        delay: Duration,
    },
    /// In place.
    Ready,
}

/// The sandbox of a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// There is none.
    Absent,
    /// Under way.
    Creating,
    /// Could not be made.
    Failed {
        /// When to try again.
        retry_at: Instant,
    },
    /// Made; getting its network.
    Connecting {
        /// The process that holds it.
        pid: u32,
    },
    /// Made, without a network.
    Unconnected {
        /// The process that holds it.
        pid: u32,
        /// When to try again.
        retry_at: Instant,
    },
    /// Made and connected.
    Ready {
        /// The process that holds it.
        pid: u32,
        /// Its addresses.
        addresses: AddressPair,
    },
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The Pod's object changed.
    Update(Arc<Wanted>),
    /// The Pod was deleted, or is no longer wanted here; again with less time.
    Delete {
        /// Time to end in.
        grace: Duration,
    },
    /// Volumes are in place.
    VolumesReady,
    /// Volumes cannot be made yet.
    VolumesFailed(String),
    /// The sandbox lives.
    SandboxReady {
        /// The process that holds it.
        pid: u32,
    },
    /// The sandbox could not be made.
    SandboxFailed(String),
    /// The Pod has its addresses.
    Connected {
        /// They.
        addresses: AddressPair,
    },
    /// The network could not be made.
    ConnectFailed(String),
    /// The sandbox ended by itself, and all in it.
    SandboxDied,
    /// An image was looked for.
    Image {
        /// For which container.
        slot: usize,
        /// Its id, if it is here.
        found: Option<String>,
    },
    /// Something about one attempt at one container.
    Container {
        /// Which container.
        slot: usize,
        /// Which attempt.
        attempt: u32,
        /// What.
        report: Report,
    },
    /// Services send it nothing new.
    Drained,
    /// The sandbox and its network are removed.
    TornDown,
    /// They could not be.
    TearDownFailed(String),
    /// Images or configuration changed: what waits for them looks again.
    InputsChanged,
    /// Time has passed.
    Tick,
}

/// What happened to a container.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// It can be started.
    Created(ContainerId),
    /// It cannot be made.
    CreateFailed {
        /// Upstream's word.
        reason: &'static str,
        /// What failed.
        message: String,
    },
    /// Its program runs.
    Started {
        /// Since when.
        at: SystemTime,
    },
    /// Its program could not be executed.
    StartFailed {
        /// What failed.
        message: String,
    },
    /// Its program ended.
    Exited(Ended),
    /// A probe came to a conclusion.
    Probe {
        /// Which one.
        kind: ProbeKind,
        /// Why not, if the conclusion is bad.
        failure: Option<String>,
    },
}

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Has it come up?
    Startup,
    /// May it be sent traffic?
    Readiness,
    /// Is it stuck?
    Liveness,
}

/// What the driver is to do. Results come back as events, except where noted.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the volumes.
    PrepareVolumes,
    /// Make the sandbox.
    CreateSandbox,
    /// Give the sandbox its network and the dataplane its endpoint.
    Connect {
        /// The process that holds it.
        pid: u32,
    },
    /// Look for an image.
    ResolveImage {
        /// For which container.
        slot: usize,
    },
    /// Make a container.
    Create {
        /// Which.
        slot: usize,
        /// Which attempt.
        attempt: u32,
    },
    /// Start its program.
    Start {
        /// Which.
        slot: usize,
        /// Which attempt.
        attempt: u32,
        /// Its id.
        id: ContainerId,
    },
    /// Signal its program; the answer is its end.
    Signal {
        /// Which.
        slot: usize,
        /// Its id.
        id: ContainerId,
        /// How.
        how: Signalled,
    },
    /// Remove what is left of an ended attempt. No answer.
    Remove {
        /// Its id.
        id: ContainerId,
    },
    /// Say when Services send the Pod nothing new.
    Drain,
    /// Remove the sandbox, its network and its endpoint.
    TearDown,
    /// Tell control that the Pod is gone. No answer.
    ReportGone,
    /// Tell users. No answer.
    Note(Note),
}

/// An event for users, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// Something is wrong.
    pub warning: bool,
    /// Upstream's word.
    pub reason: &'static str,
    /// The sentence.
    pub message: String,
    /// The container it is about.
    pub container: Option<Arc<str>>,
}

/// One step: what `event` makes of `state` at `now`, and what is to be done.
#[must_use]
pub fn step(mut state: State, event: Event, now: Moment) -> (State, Vec<Action>) {
    let mut actions = Vec::new();
    record::event(&mut state, event, now, &mut actions);
    if state.stage == Stage::Starting {
        run::advance(&mut state, now, &mut actions);
    }
    if matches!(state.stage, Stage::Stopping(_)) {
        stop::advance(&mut state, now, &mut actions);
    }
    (state, actions)
}

// === impl State ===

impl State {
    /// A Pod that this node has just been given.
    #[must_use]
    pub fn new(wanted: Arc<Wanted>, now: Moment) -> Self {
        let slots = wanted.containers.iter().map(|_| Slot::new()).collect();
        Self {
            wanted,
            stage: Stage::Starting,
            volumes: Volumes::Todo,
            sandbox: Sandbox::Absent,
            slots,
            since: now.wall,
            sandbox_failures: 0,
        }
    }

    /// The Pod's addresses, while it has them.
    #[must_use]
    pub fn addresses(&self) -> Option<AddressPair> {
        match self.sandbox {
            Sandbox::Ready { addresses, .. } => Some(addresses),
            Sandbox::Absent
            | Sandbox::Creating
            | Sandbox::Failed { .. }
            | Sandbox::Connecting { .. }
            | Sandbox::Unconnected { .. } => None,
        }
    }

    /// Containers with what is wanted of them.
    pub fn containers(&self) -> impl Iterator<Item = (usize, &WantedContainer, &Slot)> {
        self.wanted
            .containers
            .iter()
            .zip(&self.slots)
            .enumerate()
            .map(|(at, (wanted, slot))| (at, wanted, slot))
    }

    /// When a [`Event::Tick`] is due, if nothing happens before. `now` must be that of the last step: what came due
    /// since would otherwise be taken for something that waits.
    #[must_use]
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        let stage = match &self.stage {
            Stage::Stopping(stopping) => stopping.deadline(),
            Stage::Starting | Stage::Over { .. } | Stage::Gone => None,
        };
        let volumes = match self.volumes {
            Volumes::Failed { retry_at, .. } => Some(retry_at),
            Volumes::Todo | Volumes::Preparing { .. } | Volumes::Ready => None,
        };
        let sandbox = match self.sandbox {
            Sandbox::Failed { retry_at } | Sandbox::Unconnected { retry_at, .. } => Some(retry_at),
            Sandbox::Absent
            | Sandbox::Creating
            | Sandbox::Connecting { .. }
            | Sandbox::Ready { .. } => None,
        };
        let starting = self.stage == Stage::Starting;
        let slots = self.slots.iter().filter_map(|slot| slot.deadline());
        let waiting = [volumes, sandbox].into_iter().flatten().chain(slots).filter(|_| starting);
        // What is long due but waits for something else must not become a busy loop.
        stage.into_iter().chain(waiting).filter(|at| *at > now).min()
    }
}

// === impl Note ===

impl Note {
    fn of(
        container: Option<&WantedContainer>,
        warning: bool,
        reason: &'static str,
        message: String,
    ) -> Action {
        let container = container.map(|container| Arc::clone(&container.name));
        Action::Note(Self { warning, reason, message, container })
    }
}
