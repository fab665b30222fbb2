//! System calls behind small safe functions, and a trait with a real and a fake for what deciding code asks the host.
//!
//! In: paths, pids, flags. Out: descriptors, numbers, `io::Error` wrapped in [`SysError`] that names the call and its object.
//! Refuses: policy of any kind. Nothing here decides, retries or remembers; each function is one step a caller chose.
//!
//! ```no_run
//! # fn main() -> Result<(), beeline_sys::SysError> {
//! let cgroup_root = beeline_sys::cgroup::find_v2_mount()?;
//! let mine = beeline_sys::netns::cookie_of_self()?;
//! # let _ = (cgroup_root, mine);
//! # Ok(())
//! # }
//! ```

pub mod boot;
pub mod bpf;
pub mod cgroup;
pub mod fs;
pub mod host;
pub mod link;
pub mod netns;
pub mod process;
pub mod signal;
pub mod sock_diag;

use std::io;

/// A system call, or the few that make one step, did not succeed.
#[derive(Debug, thiserror::Error)]
#[error("{attempt}: {source}")]
pub struct SysError {
    /// What was tried and on which object, such as `enter network namespace /run/netns/a`.
    pub attempt: String,
    /// What the kernel said.
    #[source]
    pub source: io::Error,
}

impl SysError {
    /// Names an attempt that failed.
    pub fn new(attempt: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self { attempt: attempt.into(), source: source.into() }
    }

    /// The kind of the kernel's answer, for callers that treat "not found" or "permission denied" specially.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, SysError>;

/// Adds the attempt to an error on its way up.
pub(crate) trait Attempt<T> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<io::Error>> Attempt<T> for std::result::Result<T, E> {
    fn attempt(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|source| SysError::new(what(), source))
    }
}
