//! Waiting longer after each failure.
//!
//! In: a base, a ceiling and a factor. Out: the next wait, with jitter so that many nodes do not retry in step.
//! Never sleeps by itself.

use std::time::Duration;

use rand::Rng as _;

/// Exponential back-off with jitter of up to a quarter of the wait.
#[derive(Debug, Clone, PartialEq)]
pub struct Backoff {
    /// The first wait.
    pub base: Duration,
    /// No wait is longer than this, jitter included.
    pub max: Duration,
    /// How much longer each wait is than the one before.
    pub factor: f64,
    attempts: i32,
}

impl Backoff {
    /// Waits `base`, then `base * 2` and so on up to `max`.
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        Self::with_factor(base, max, 2.0)
    }

    /// As `new`, with a factor other than two.
    #[must_use]
    pub fn with_factor(base: Duration, max: Duration, factor: f64) -> Self {
        Self { base, max, factor: factor.max(1.0), attempts: 0 }
    }

    /// How long to wait now; the next answer will be longer.
    #[expect(clippy::should_implement_trait, reason = "it never ends, so it is no iterator")]
    pub fn next(&mut self) -> Duration {
        let ceiling = self.max.as_secs_f64();
        let plain = (self.base.as_secs_f64() * self.factor.powi(self.attempts)).min(ceiling);
        if plain < ceiling {
            self.attempts = self.attempts.saturating_add(1);
        }
        let jitter = rand::rng().random_range(0.75..=1.0);
        Duration::from_secs_f64(plain * jitter)
    }

    /// Starts again at `base`, after a success.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

impl Default for Backoff {
    /// From 100 ms to 30 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(30))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_ceiling_and_starts_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let waits: Vec<Duration> = (0..8).map(|_| backoff.next()).collect();
        assert!(waits[0] >= Duration::from_millis(75) && waits[0] <= Duration::from_millis(100));
        assert!(waits[2] >= Duration::from_millis(300) && waits[2] <= Duration::from_millis(400));
        assert!(waits[7] >= Duration::from_millis(750) && waits[7] <= Duration::from_secs(1));
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }

    #[test]
    fn an_endless_outage_does_not_overflow() {
        let mut backoff =
            Backoff::with_factor(Duration::from_millis(1), Duration::from_secs(5), 10.0);
        for _ in 0..10_000 {
            assert!(backoff.next() <= Duration::from_secs(5));
        }
    }
}
