//! From frames to state.
//!
//! In: frames in order. Out: the state after them, and what witnesses of it are worth. Refuses: a frame that cannot be right.

use std::collections::HashSet;

use crate::log::frame::{Frame, Item};
use crate::state::{Record, State};
use crate::types::{Key, Revision};

/// Rebuilds the state frame by frame.
pub(crate) struct Replay {
    pub(crate) state: State,
    /// Frames up to here are in the state already.
    skip: Revision,
    /// The index's revision, the hash found there, and what changed since.
    index_at: Option<Revision>,
    pub(crate) hash_there: Option<u64>,
    pub(crate) changed: HashSet<Key>,
    /// What snapshots say of the state at their revisions.
    witnesses: Vec<(Revision, u64)>,
}

// === impl Replay ===

impl Replay {
    pub(crate) fn new(
        state: State,
        index_at: Option<Revision>,
        witnesses: Vec<(Revision, u64)>,
    ) -> Self {
        let skip = state.revision();
        let mut replay =
            Self { state, skip, index_at, hash_there: None, changed: HashSet::new(), witnesses };
        replay.note_hash();
        replay
    }

    /// Takes in a frame, or says why it cannot be right.
    pub(crate) fn frame(&mut self, frame: &Frame<'_>) -> Result<(), String> {
        if frame.first <= self.skip.0 {
            let last = frame.first + u64::from(frame.count) - 1;
            return if last <= self.skip.0 {
                Ok(())
            } else {
                Err("the snapshot ends within a frame".into())
            };
        }
        let items = frame.items().ok_or("a frame that this beeline does not understand")?;
        for item in items {
            match item {
                Item::Mark(hash) if hash != self.state.hash() => {
                    return Err("the state is not what it was when this was written".into());
                }
                Item::Mark(_) => {}
                Item::Compaction(to) => self.state.compact(to),
                Item::Record(record) => self.record(record)?,
            }
        }
        self.note_hash();
        let (revision, hash) = (self.state.revision(), self.state.hash());
        match self.witnesses.iter().find(|(at, _)| *at == revision) {
            Some((_, held)) if *held != hash => Err(format!(
                "what the log says of revision {revision} is not what the snapshot holds"
            )),
            _ => Ok(()),
        }
    }

    fn record(&mut self, record: Record) -> Result<(), String> {
        if self.index_at.is_some_and(|at| self.state.revision() >= at) {
            let (Record::Put { key, .. } | Record::Delete { key }) = &record;
            self.changed.insert(key.clone());
        }
        self.state
            .apply(record)
            .map(|_| ())
            .ok_or_else(|| "a key is removed that does not exist".into())
    }

    /// The index will be compared with the state at its own revision.
    fn note_hash(&mut self) {
        if self.index_at == Some(self.state.revision()) {
            self.hash_there = Some(self.state.hash());
        }
    }
}
