//! One container of a Pod: its image, its current attempt, its last end.

use std::time::{Duration, Instant, SystemTime};

use beeline_container::runtime::ContainerId;

/// The first wait before a container is started again, after the immediate first time.
const RESTART_DELAY_FIRST: Duration = Duration::from_secs(10);
/// No wait is longer.
const RESTART_DELAY_MAX: Duration = Duration::from_secs(300);
/// A container that ran this long since its last start starts with a clean record.
const RESTART_FORGET: Duration = Duration::from_secs(600);

/// What is known of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// Its image.
    pub image: Image,
    /// The number of the current attempt; also how often it was started again.
    pub attempt: u32,
    /// The current attempt.
    pub run: Run,
    /// How the attempt before ended.
    pub last: Option<Ended>,
    /// How long starts are put off.
    pub backoff: Option<Backoff>,
    /// To be started again whatever the policy says: its definition changed.
    pub replace: bool,
    /// Users were told that the current wait has begun.
    pub told: bool,
}

/// An image on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Image {
    /// Not looked for yet.
    Unknown,
    /// Being looked for.
    Resolving {
        /// The wait after the failure before this, if there was one.
        delay: Option<Duration>,
    },
    /// Here.
    Present {
        /// `sha256:…`
        id: String,
    },
    /// Not here.
    Missing {
        /// When that was found.
        at: Instant,
        /// How long until it is looked for again.
        delay: Duration,
        /// Users were told that it waits.
        backing_off: bool,
    },
}

/// One attempt at a container.
#[derive(Clone, Debug, PartialEq)]
pub enum Run {
    /// Not begun.
    Idle,
    /// Being made.
    Creating,
    /// Could not be made.
    Failed {
        /// Upstream's word.
        reason: &'static str,
        /// What failed.
        message: String,
        /// When to try again.
        retry_at: Instant,
    },
    /// Made, being started.
    Starting {
        /// Its id.
        id: ContainerId,
    },
    /// Its program runs.
    Running {
        /// Its id.
        id: ContainerId,
        /// Since when.
        at: SystemTime,
        /// Its startup probe has passed, or it has none.
        started: bool,
        /// Its readiness probe passes, or it has none.
        ready: bool,
        /// What it was told.
        signalled: Option<Signalled>,
        /// When it is killed if it has not ended by then.
        kill_at: Option<Instant>,
    },
    /// Its program has ended.
    Ended(Ended),
}

/// How a program was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// Asked, by its stop signal.
    Stop,
    /// Killed.
    Kill,
}

/// The end of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The id of what ran, if it came to that.
    pub id: Option<ContainerId>,
    /// The code as Kubernetes shows it.
    pub code: i32,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Upstream's word.
    pub reason: String,
    /// Its last words.
    pub message: Option<String>,
    /// When its program started.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub finished_at: SystemTime,
    /// The same, for deadlines.
    pub seen: Instant,
}

/// How long the next start is put off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the end of the current attempt.
    pub delay: Duration,
    /// When the current attempt was decided on.
    pub since: Instant,
}

// === impl Slot ===

impl Slot {
    pub(super) fn new() -> Self {
        Self {
            image: Image::Unknown,
            attempt: 0,
            run: Run::Idle,
            last: None,
            backoff: None,
            replace: false,
            told: false,
        }
    }

    /// Its program runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.run, Run::Running { .. })
    }

    /// Something was made or is being made that only the runtime can end.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self.run, Run::Creating | Run::Starting { .. } | Run::Running { .. })
    }

    /// It runs and has passed its startup probe.
    #[must_use]
    pub fn is_started(&self) -> bool {
        matches!(self.run, Run::Running { started: true, .. })
    }

    /// It runs and may be sent traffic.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.run, Run::Running { started: true, ready: true, .. })
    }

    /// It has ended well.
    #[must_use]
    pub fn has_succeeded(&self) -> bool {
        matches!(&self.run, Run::Ended(ended) if ended.code == 0)
    }

    /// When the ended container may be started again; `None` unless it has ended.
    #[must_use]
    pub fn restart_at(&self) -> Option<Instant> {
        let Run::Ended(ended) = &self.run else { return None };
        match self.backoff {
            Some(backoff) if !backoff.is_forgotten(ended.seen) => Some(ended.seen + backoff.delay),
            Some(_) | None => Some(ended.seen),
        }
    }

    /// What the next start is put off by, once this one is decided on.
    pub(super) fn next_backoff(&self, now: Instant) -> Backoff {
        let delay = match (self.backoff, &self.run) {
            (Some(before), Run::Ended(ended)) if !before.is_forgotten(ended.seen) => {
                (before.delay * 2).min(RESTART_DELAY_MAX)
            }
            _ => RESTART_DELAY_FIRST,
        };
        Backoff { delay, since: now }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let image = match self.image {
            // Shown as a failure for a moment, then as waiting.
            Image::Missing { at, backing_off: false, .. } => Some(at + super::run::ERROR_SHOWN),
            Image::Missing { at, delay, backing_off: true } => Some(at + delay),
            Image::Unknown | Image::Resolving { .. } | Image::Present { .. } => None,
        };
        let run = match &self.run {
            Run::Failed { retry_at, .. } => Some(*retry_at),
            Run::Running { kill_at, .. } => *kill_at,
            Run::Ended(_) => self.restart_at(),
            Run::Idle | Run::Creating | Run::Starting { .. } => None,
        };
        image.into_iter().chain(run).min()
    }
}

// === impl Backoff ===

impl Backoff {
    fn is_forgotten(&self, ended: Instant) -> bool {
        ended.saturating_duration_since(self.since) > RESTART_FORGET
    }
}
