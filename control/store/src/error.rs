//! What can go wrong, and what the caller can do about it.

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
    /// No space for writes; reads go on, and writes will once there is space again.
    #[error("the store is out of space, only reads are served")]
    Full,
    /// The log could not be written: the process must end, and the next start reads what is durable.
    #[error("the store has failed for good: {reason}")]
    Failed {
        /// What happened.
        reason: String,
    },
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}
