//! What the log means: live keys, recent history and the hash of it all.
//!
//! In: requested operations, and records that are durable. Out: decisions and changes.
//! Never touches disk, network or clock; the same code serves requests and replays the log.

use std::collections::VecDeque;
use std::ops::Bound;

use bytes::Bytes;
use imbl::OrdMap;

use crate::types::{Change, Entry, Key, Revision};
use crate::{KEY_BYTES_MAX, StoreError, VALUE_BYTES_MAX};

mod batch;

pub(crate) use batch::Batch;

/// How much history is remembered: the watches that can be resumed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HistoryLimits {
    pub(crate) changes: usize,
    pub(crate) bytes: usize,
}

/// A requested write.
#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create { key: Key, value: Bytes },
    Update { key: Key, value: Bytes, expected: Revision },
    Delete { key: Key, expected: Revision },
}

/// An accepted write; takes one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Put { key: Key, value: Bytes },
    Delete { key: Key },
}

/// Everything that is durable.
#[derive(Debug)]
pub(crate) struct State {
    /// A snapshot takes a clone of it, which costs nothing.
    live: OrdMap<Key, Entry>,
    live_bytes: u64,
    history: VecDeque<Change>,
    history_bytes: usize,
    limits: HistoryLimits,
    compacted: Revision,
    revision: Revision,
    hash: u64,
}

// === impl Op ===

impl Op {
    pub(crate) fn key(&self) -> &Key {
        match self {
            Self::Create { key, .. } | Self::Update { key, .. } | Self::Delete { key, .. } => key,
        }
    }

    pub(crate) fn weight(&self) -> usize {
        self.key().len()
            + match self {
                Self::Create { value, .. } | Self::Update { value, .. } => value.len(),
                Self::Delete { .. } => 0,
            }
    }

    fn check_size(&self) -> Result<(), StoreError> {
        let key_bytes = self.key().len();
        let value_bytes = self.weight() - key_bytes;
        for (what, size, limit) in
            [("the key", key_bytes, KEY_BYTES_MAX), ("the value", value_bytes, VALUE_BYTES_MAX)]
        {
            if size > limit {
                return Err(StoreError::TooLarge {
                    key: self.key().to_string(),
                    what,
                    size,
                    limit,
                });
            }
        }
        Ok(())
    }

    /// Whether it may happen to a key that is at `current`.
    fn check(&self, current: Option<Revision>) -> Result<(), StoreError> {
        let key = || self.key().to_string();
        match (self, current) {
            (Self::Create { .. }, None) => Ok(()),
            (Self::Create { .. }, Some(_)) => Err(StoreError::Exists { key: key() }),
            (Self::Update { .. } | Self::Delete { .. }, None) => {
                Err(StoreError::NotFound { key: key() })
            }
            (Self::Update { expected, .. } | Self::Delete { expected, .. }, Some(found)) => {
                if *expected == found {
                    return Ok(());
                }
                Err(StoreError::Conflict { key: key(), expected: *expected, current })
            }
        }
    }
}

impl From<Op> for Record {
    fn from(op: Op) -> Self {
        match op {
            Op::Create { key, value } | Op::Update { key, value, .. } => Self::Put { key, value },
            Op::Delete { key, .. } => Self::Delete { key },
        }
    }
}

/// What a live key takes in a snapshot.
fn live_bytes(key: &Key, value: &Bytes) -> u64 {
    (key.len() + value.len()) as u64 + 24
}

fn entry_bytes(entry: &Entry) -> u64 {
    live_bytes(&entry.key, &entry.value)
}

// === impl State ===

impl State {
    pub(crate) fn new(limits: HistoryLimits) -> Self {
        Self {
            live: OrdMap::new(),
            live_bytes: 0,
            history: VecDeque::new(),
            history_bytes: 0,
            limits,
            compacted: Revision(0),
            revision: Revision(0),
            hash: 0,
        }
    }

    /// Starts from live entries as of `revision`, with no history before it.
    pub(crate) fn resume(
        limits: HistoryLimits,
        live: OrdMap<Key, Entry>,
        revision: Revision,
        hash: u64,
    ) -> Self {
        let live_bytes = live.values().map(entry_bytes).sum();
        Self { live, live_bytes, compacted: revision, revision, hash, ..Self::new(limits) }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn compacted(&self) -> Revision {
        self.compacted
    }

    /// The sum of the fingerprints of all live entries: the same state has the same hash, however it came about.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn live(&self) -> &OrdMap<Key, Entry> {
        &self.live
    }

    /// About the size of a snapshot of it.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Makes a durable record part of the state, at the next revision.
    /// `None` when it removes what is not there: no log of ours holds that.
    pub(crate) fn apply(&mut self, record: Record) -> Option<Change> {
        let revision = self.revision.next();
        let change = match record {
            Record::Put { key, value } => Change::Put(self.put(key, value, revision)),
            Record::Delete { key } => {
                let previous = self.live.remove(&key)?;
                self.hash = self.hash.wrapping_sub(previous.fingerprint());
                self.live_bytes -= entry_bytes(&previous);
                Change::Delete { key, revision, previous }
            }
        };
        self.revision = revision;
        self.remember(change.clone());
        Some(change)
    }

    fn put(&mut self, key: Key, value: Bytes, revision: Revision) -> Entry {
        let old = self.live.get(&key);
        let (key, create_revision) =
            old.map_or((key, revision), |old| (old.key.clone(), old.create_revision));
        let removed = old.map_or(0, Entry::fingerprint);
        self.live_bytes -= old.map_or(0, entry_bytes);
        self.live_bytes += live_bytes(&key, &value);
        let entry = Entry { key: key.clone(), value, create_revision, mod_revision: revision };
        self.hash = self.hash.wrapping_sub(removed).wrapping_add(entry.fingerprint());
        self.live.insert(key, entry.clone());
        entry
    }

    fn remember(&mut self, change: Change) {
        self.history_bytes += change.weight();
        self.history.push_back(change);
        while self.history.len() > self.limits.changes || self.history_bytes > self.limits.bytes {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.history.pop_front() {
            self.history_bytes -= oldest.weight();
            self.compacted = oldest.revision();
        }
    }

    /// Forgets history up to and including `to`.
    pub(crate) fn compact(&mut self, to: Revision) {
        while self.history.front().is_some_and(|change| change.revision() <= to) {
            self.forget_oldest();
        }
        self.compacted = self.compacted.max(to.min(self.revision));
    }

    pub(crate) fn get(&self, key: &str) -> Option<Entry> {
        self.live.get(key).cloned()
    }

    pub(crate) fn range(&self, prefix: &str) -> Vec<Entry> {
        self.live
            .range::<_, str>((Bound::Included(prefix), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// The remembered changes under `prefix` after `after`, or the revision up to which they are forgotten.
    pub(crate) fn since(&self, prefix: &str, after: Revision) -> Result<Vec<Change>, StoreError> {
        if after < self.compacted {
            return Err(StoreError::Compacted { at: self.compacted });
        }
        // Revisions have no gaps, so the position follows from the difference.
        let skip = usize::try_from(after.0 - self.compacted.0).unwrap_or(usize::MAX);
        let wanted =
            self.history.iter().skip(skip).filter(|change| change.key().starts_with(prefix));
        Ok(wanted.cloned().collect())
    }
}
