//! What can go wrong, and what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::snapshot::Problem;
use crate::types::Revision;

/// Why an operation was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The caller's: the key to create is there.
    #[error("key {key} exists")]
    Exists {
        /// Which.
        key: String,
    },
    /// The caller's: someone was faster. Read again and decide again.
    #[error("key {key} is not at revision {expected} any more")]
    Conflict {
        /// Which.
        key: String,
        /// What the caller had read.
        expected: Revision,
        /// Where it is now, if the backend can tell.
        current: Option<Revision>,
    },
    /// The caller's: nothing there to update or delete.
    #[error("key {key} does not exist")]
    NotFound {
        /// Which.
        key: String,
    },
    /// The caller's: history before `at` is gone. List again.
    #[error("history up to revision {at} has been compacted")]
    Compacted {
        /// The newest forgotten revision.
        at: Revision,
    },
    /// The caller's: larger than `VALUE_BYTES_MAX` or `KEY_BYTES_MAX`.
    #[error("{what} of {key} has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Whose.
        key: String,
        /// The key or the value.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// How large it may be.
        limit: usize,
    },
    /// All live keys together would be larger than they may be. Deletions are still taken.
    #[error(
        "the store holds as much as it may, {limit} bytes: delete what is not needed, or raise the limit"
    )]
    OverLimit {
        /// How much that is.
        limit: u64,
    },
    /// No space for writes; reads go on, and writes will once there is space again.
    #[error("the store is out of space, only reads are served")]
    Full,
    /// The log could not be written: the process must end, and the next start reads what is durable.
    #[error("the store has failed for good: {reason}")]
    Failed {
        /// What happened.
        reason: String,
    },
    /// The store cannot be reached, or did not answer in time. A write may have been done or not: read, and decide again.
    #[error("the store cannot be reached: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

/// Why a data directory was not opened. It has not been changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The machine's: a file or directory cannot be used.
    #[error("{what} {path}")]
    File {
        /// The attempt.
        what: &'static str,
        /// The object.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The user's: it is in use.
    #[error("{path} is in use by {holder}: stop it, or choose another data directory")]
    Locked {
        /// Which.
        path: PathBuf,
        /// `process 123` or `another process`.
        holder: String,
    },
    /// Stored data is not what was written.
    #[error(
        "the log is damaged: {segment} at offset {offset}: {reason}. Nothing has been changed. \
         Restore the data directory from a backup; or give up all that was written from there on: \
         `truncate -s {offset} {segment}` (remove it if the offset is 0), then remove the segments after it, `index` and `clean`"
    )]
    Corrupt {
        /// The file.
        segment: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// No snapshot that the log could begin with is sound, or one that was given is not.
    #[error(
        "the snapshot {path} is damaged at offset {offset}: {reason}. Nothing has been changed. \
         Restore from another one: `beeline snapshot restore`"
    )]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// The log ends before writes that were acknowledged.
    #[error(
        "the log {log} ends at revision {end}, but {witness} knows of revision {known}: acknowledged writes are missing. \
         Nothing has been changed. Restore the data directory from a backup; or accept the loss: remove `index` and `clean`"
    )]
    Short {
        /// The directory of segments.
        log: PathBuf,
        /// Its newest revision.
        end: Revision,
        /// Who knows of more.
        witness: &'static str,
        /// How much more.
        known: Revision,
    },
    /// etcd cannot be used.
    #[error("use etcd at {endpoints}: {reason}")]
    Etcd {
        /// Where it should be.
        endpoints: String,
        /// Why not.
        reason: String,
    },
    /// A thread could not be started or has gone.
    #[error("start the store's writer: {0}")]
    Thread(String),
}

impl From<Problem> for OpenError {
    fn from(problem: Problem) -> Self {
        match problem {
            Problem::File { what, path, source } => Self::File { what, path, source },
            Problem::Damaged { path, offset, reason } => Self::Snapshot { path, offset, reason },
        }
    }
}

impl OpenError {
    pub(crate) fn corrupt(segment: &Path, offset: u64, reason: String) -> Self {
        Self::Corrupt { segment: segment.to_owned(), offset, reason }
    }
}
