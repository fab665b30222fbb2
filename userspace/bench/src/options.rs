//! What a run does.

use std::time::Duration;

use crate::{mode::ModeName, worker::Launcher};

/// How thorough.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The spread is over these.
    pub rounds: usize,
    /// Loads of everything, as long as they take no longer than [`Profile::load_limit`].
    pub loads: usize,
    /// After this much time of loading no further load begins.
    pub load_limit: Duration,
    /// Connections in a round.
    pub connects: usize,
    /// Round trips in a round.
    pub round_trips: usize,
    /// For rates and throughput, in a round.
    pub duration: Duration,
    /// After this much time with one size no further round begins.
    pub size_limit: Duration,
    /// CPU time of forwarding, in a round, for each kind of flows.
    pub forward_budget: Duration,
}

impl Profile {
    /// For a first look: a minute, on a busy host not more than two.
    #[must_use]
    pub fn quick() -> Self {
        Self {
            rounds: 3,
            loads: 3,
            load_limit: Duration::from_secs(3),
            connects: 500,
            round_trips: 1000,
            duration: Duration::from_millis(150),
            size_limit: Duration::from_secs(40),
            forward_budget: Duration::from_millis(100),
        }
    }

    /// For figures to quote.
    #[must_use]
    pub fn full() -> Self {
        Self {
            rounds: 7,
            loads: 5,
            load_limit: Duration::from_secs(20),
            connects: 3000,
            round_trips: 5000,
            duration: Duration::from_millis(500),
            size_limit: Duration::from_secs(3600),
            forward_budget: Duration::from_millis(300),
        }
    }

    /// To see that everything works.
    #[must_use]
    pub fn tiny() -> Self {
        Self {
            rounds: 1,
            loads: 1,
            load_limit: Duration::from_secs(1),
            connects: 50,
            round_trips: 50,
            duration: Duration::from_millis(20),
            size_limit: Duration::from_secs(60),
            forward_budget: Duration::from_millis(10),
        }
    }
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many Services, one size after the other.
    pub services: Vec<usize>,
    /// Which modes.
    pub modes: Vec<ModeName>,
    /// How thorough.
    pub profile: Profile,
    /// How workers are started.
    pub launcher: Launcher,
}

/// Endpoints of every Service.
pub const ENDPOINTS: usize = 4;

impl Options {
    /// The Services of a thorough run; more are measured on request, since nft needs minutes to load 30,000.
    pub const SERVICES: [usize; 3] = [1, 1000, 10_000];
    /// The Services of a quick run.
    pub const SERVICES_QUICK: [usize; 2] = [1, 1000];

    /// Steps of the progress bar.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.services.len() * self.modes.len() * (1 + self.profile.rounds)
    }
}
