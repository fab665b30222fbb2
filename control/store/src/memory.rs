//! A store that forgets everything at exit: for tests of what is built on the trait.
//!
//! Same state, same answers as the embedded store; nothing is durable.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use crate::state::{Batch, HistoryLimits, Op, State};
use crate::watch::Hub;
use crate::{Entry, Revision, Store, StoreError, Watch};

/// The store without a disk.
#[derive(Debug)]
pub struct Memory {
    inner: Mutex<(State, Hub)>,
    watch_queue: usize,
}

impl Memory {
    /// An empty one with room for 16,384 remembered changes and 256 batches per watcher.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(16_384, 256)
    }

    /// An empty one that remembers `history_changes` and cuts a watcher off when it is `watch_queue` batches behind.
    #[must_use]
    pub fn with_limits(history_changes: usize, watch_queue: usize) -> Self {
        let limits = HistoryLimits { changes: history_changes, bytes: usize::MAX };
        Self { inner: Mutex::new((State::new(limits), Hub::default())), watch_queue }
    }

    fn inner(&self) -> MutexGuard<'_, (State, Hub)> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, op: Op) -> Result<Revision, StoreError> {
        let mut inner = self.inner();
        let (state, hub) = &mut *inner;
        let mut batch = Batch::after(state, u64::MAX);
        let revision = batch.admit(state, op)?;
        let changes: Vec<_> =
            batch.into_records().into_iter().filter_map(|record| state.apply(record)).collect();
        hub.feed(&changes);
        Ok(revision)
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for Memory {
    async fn create(&self, key: &str, value: Bytes) -> Result<Revision, StoreError> {
        self.write(Op::Create { key: key.into(), value })
    }

    async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
    ) -> Result<Revision, StoreError> {
        self.write(Op::Update { key: key.into(), value, expected })
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision, StoreError> {
        self.write(Op::Delete { key: key.into(), expected })
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.inner().0.compact(to);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.inner().0.get(key))
    }

    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let inner = self.inner();
        Ok((inner.0.range(prefix), inner.0.revision()))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let mut inner = self.inner();
        let (state, hub) = &mut *inner;
        let backlog = state.since(prefix, after)?;
        Ok(hub.add(prefix, after, backlog, self.watch_queue))
    }

    fn revision(&self) -> Revision {
        self.inner().0.revision()
    }
}
