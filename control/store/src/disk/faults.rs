//! Steps that fail on purpose.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::io::Errno;

/// Counts steps and fails some.
#[derive(Debug)]
pub(crate) struct Faults {
    steps: AtomicU64,
    /// The first step that fails.
    at: u64,
    /// How many fail from there on.
    lasting: u64,
    error: Errno,
}

impl Faults {
    pub(crate) fn new(at: u64, lasting: u64, error: Errno) -> Self {
        Self { steps: AtomicU64::new(0), at, lasting, error }
    }

    /// Only counts.
    pub(crate) fn none() -> Self {
        Self::new(u64::MAX, 0, Errno::IO)
    }

    /// How many steps there were.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    pub(crate) fn step(&self) -> io::Result<()> {
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        match step.checked_sub(self.at) {
            Some(since) if since < self.lasting => Err(self.error.into()),
            _ => Ok(()),
        }
    }
}
