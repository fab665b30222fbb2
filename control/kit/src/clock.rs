//! Time as an argument.
//!
//! In: nothing. Out: wall time for what users read, monotonic time for what must not jump.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Where drivers read the time; pure code gets it as an argument instead.
pub trait Clock: Send + Sync {
    /// Wall clock, for timestamps; may jump.
    fn now(&self) -> SystemTime;
    /// Monotonic time, for deadlines; never goes back.
    fn monotonic(&self) -> Instant;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

/// A clock that moves only when told to.
#[derive(Debug)]
pub struct FakeClock {
    time: Mutex<(SystemTime, Instant)>,
}

// === impl SystemClock ===

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}

// === impl FakeClock ===

impl FakeClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: SystemTime) -> Self {
        Self { time: Mutex::new((now, Instant::now())) }
    }

    /// Moves both clocks forward.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time.lock().unwrap_or_else(PoisonError::into_inner);
        time.0 += by;
        time.1 += by;
    }

    /// Makes the wall clock jump; monotonic time stays.
    pub fn set_now(&self, now: SystemTime) {
        self.time.lock().unwrap_or_else(PoisonError::into_inner).0 = now;
    }
}

impl Default for FakeClock {
    /// Stands at the Unix epoch plus one day.
    fn default() -> Self {
        Self::new(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400))
    }
}

impl Clock for FakeClock {
    fn now(&self) -> SystemTime {
        self.time.lock().unwrap_or_else(PoisonError::into_inner).0
    }

    fn monotonic(&self) -> Instant {
        self.time.lock().unwrap_or_else(PoisonError::into_inner).1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fake_time_moves_only_when_told() {
        let clock = FakeClock::default();
        let (wall, mono) = (clock.now(), clock.monotonic());
        assert_eq!((clock.now(), clock.monotonic()), (wall, mono));
        clock.advance(Duration::from_secs(5));
        assert_eq!(clock.now().duration_since(wall).unwrap(), Duration::from_secs(5));
        assert_eq!(clock.monotonic() - mono, Duration::from_secs(5));
        clock.set_now(SystemTime::UNIX_EPOCH);
        assert_eq!(clock.monotonic() - mono, Duration::from_secs(5));
    }
}
