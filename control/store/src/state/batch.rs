//! Writes on their way to the disk.

use std::collections::HashMap;

use super::{Op, Record, State, entry_bytes, live_bytes};
use crate::StoreError;
use crate::types::{Entry, Key, Revision};

/// Writes accepted one after the other, each seeing the ones before, none of them durable yet.
#[derive(Debug)]
pub(crate) struct Batch {
    first: Revision,
    records: Vec<Record>,
    pending: HashMap<Key, Option<Pending>>,
    /// What the live keys take once this is in, and what they may take.
    live_bytes: u64,
    live_bytes_max: u64,
}

/// A key as a batch leaves it.
#[derive(Debug, Clone, Copy)]
struct Pending {
    revision: Revision,
    bytes: u64,
}

// === impl Batch ===

impl Batch {
    /// Live keys may not grow beyond `live_bytes_max`.
    pub(crate) fn after(state: &State, live_bytes_max: u64) -> Self {
        Self {
            first: state.revision().next(),
            records: Vec::new(),
            pending: HashMap::new(),
            live_bytes: state.live_bytes(),
            live_bytes_max,
        }
    }

    /// Takes `op` in and says which revision it will have, or why not.
    pub(crate) fn admit(&mut self, state: &State, op: Op) -> Result<Revision, StoreError> {
        op.check_size()?;
        let key = op.key().clone();
        let current = match self.pending.get(&key) {
            Some(pending) => *pending,
            None => state.live().get(&key).map(Pending::of),
        };
        op.check(current.map(|current| current.revision))?;
        let revision = Revision(self.first.0 + self.records.len() as u64);
        let record = Record::from(op);
        let after = match &record {
            Record::Put { key, value } => Some(Pending { revision, bytes: live_bytes(key, value) }),
            Record::Delete { .. } => None,
        };
        self.charge(current, after)?;
        self.pending.insert(key, after);
        self.records.push(record);
        Ok(revision)
    }

    /// What makes the live keys smaller is always taken.
    fn charge(
        &mut self,
        before: Option<Pending>,
        after: Option<Pending>,
    ) -> Result<(), StoreError> {
        let bytes = |of: Option<Pending>| of.map_or(0, |of| of.bytes);
        let total = self.live_bytes + bytes(after) - bytes(before);
        if bytes(after) > bytes(before) && total > self.live_bytes_max {
            return Err(StoreError::OverLimit { limit: self.live_bytes_max });
        }
        self.live_bytes = total;
        Ok(())
    }

    /// Whether what is said of a key rests on a write that is not durable yet.
    pub(crate) fn touches(&self, key: &str) -> bool {
        self.pending.contains_key(key)
    }

    pub(crate) fn first(&self) -> Revision {
        self.first
    }

    pub(crate) fn records(&self) -> &[Record] {
        &self.records
    }

    pub(crate) fn into_records(self) -> Vec<Record> {
        self.records
    }
}

// === impl Pending ===

impl Pending {
    fn of(entry: &Entry) -> Self {
        Self { revision: entry.mod_revision, bytes: entry_bytes(entry) }
    }
}
