//! What the writer changes and everyone reads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::Status;
use crate::state::{Record, State};
use crate::types::{Change, Key, Revision};
use crate::watch::Hub;
use crate::{StoreError, Watch};

/// The durable state and those who look at it.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: RwLock<Inner>,
    watch_queue: usize,
    revision: AtomicU64,
    log_bytes: AtomicU64,
    syncs: AtomicU64,
    full: AtomicBool,
    closed: AtomicBool,
    failed: watch::Sender<Option<Arc<str>>>,
    /// Rung when there is something for the index.
    pub(crate) index_behind: Notify,
    /// The revision the index holds completely; `None` when it is not in use.
    pub(crate) indexed: watch::Sender<Option<Revision>>,
    /// Set when the index has done all it will.
    pub(crate) index_done: watch::Sender<bool>,
}

/// Behind one lock: a change and its announcement are one step.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) hub: Hub,
    /// Keys that the index holds differently; `None` when nobody asks.
    pub(crate) dirty: Option<HashSet<Key>>,
}

// === impl Shared ===

impl Shared {
    pub(crate) fn new(state: State, log_bytes: u64, watch_queue: usize) -> Self {
        let revision = state.revision();
        Self {
            inner: RwLock::new(Inner { state, hub: Hub::default(), dirty: Some(HashSet::new()) }),
            watch_queue,
            revision: AtomicU64::new(revision.0),
            log_bytes: AtomicU64::new(log_bytes),
            syncs: AtomicU64::new(0),
            full: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            failed: watch::Sender::new(None),
            index_behind: Notify::new(),
            indexed: watch::Sender::new(None),
            index_done: watch::Sender::new(false),
        }
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&Inner) -> T) -> T {
        f(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn write<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        f(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn revision(&self) -> Revision {
        Revision(self.revision.load(Ordering::Acquire))
    }

    /// Makes durable records visible, in one step for readers and watchers.
    pub(crate) fn publish(&self, records: Vec<Record>, log_bytes: u64) {
        self.log_bytes.store(log_bytes, Ordering::Relaxed);
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.full.store(false, Ordering::Relaxed);
        self.write(|inner| {
            let Inner { state, hub, dirty } = inner;
            let changes: Vec<Change> =
                records.into_iter().filter_map(|record| state.apply(record)).collect();
            self.revision.store(state.revision().0, Ordering::Release);
            if let Some(dirty) = dirty {
                dirty.extend(changes.iter().map(|change| change.key().clone()));
            }
            hub.feed(&changes);
        });
        self.index_behind.notify_one();
    }

    pub(crate) fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.write(|inner| {
            let backlog = inner.state.since(prefix, after)?;
            Ok(inner.hub.add(prefix, after, backlog, self.watch_queue))
        })
    }

    pub(crate) fn set_full(&self, path: &std::path::Path) {
        if !self.full.swap(true, Ordering::Relaxed) {
            tracing::error!(path = %path.display(), "no space for the log: only reads are served until there is some");
        }
    }

    /// The end: no write is acknowledged any more, watchers are told, and the binary is asked to exit.
    pub(crate) fn fail(&self, reason: &str) {
        tracing::error!(reason, "the log could not be written, the store stops for good");
        self.failed.send_replace(Some(reason.into()));
        self.write(|inner| inner.hub.close());
    }

    pub(crate) fn failure(&self) -> Option<Arc<str>> {
        self.failed.borrow().clone()
    }

    pub(crate) async fn fatal(&self) -> StoreError {
        let mut failed = self.failed.subscribe();
        // The sender lives as long as `self`, so there is always an answer.
        let reason = failed.wait_for(Option::is_some).await;
        let reason = reason.ok().and_then(|reason| reason.clone()).unwrap_or_default();
        StoreError::Failed { reason: reason.as_ref().to_owned() }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.write(|inner| inner.hub.close());
    }

    pub(crate) fn is_over(&self) -> bool {
        self.closed.load(Ordering::Acquire) || self.failed.borrow().is_some()
    }

    /// What an operation gets that comes too late.
    pub(crate) fn ended(&self) -> StoreError {
        match self.failure() {
            Some(reason) => StoreError::Failed { reason: reason.as_ref().to_owned() },
            None => StoreError::Closed,
        }
    }

    /// Waits until the index is written for the last time, or has had its time.
    pub(crate) async fn index_settled(&self) {
        let mut done = self.index_done.subscribe();
        if tokio::time::timeout(Duration::from_secs(35), done.wait_for(|done| *done)).await.is_err()
        {
            tracing::warn!("the index did not end in time, it will be checked at the next start");
        }
    }

    pub(crate) fn status(&self) -> Status {
        let (revision, compacted, keys, watchers) = self.read(|inner| {
            (
                inner.state.revision(),
                inner.state.compacted(),
                inner.state.live().len(),
                inner.hub.len(),
            )
        });
        Status {
            revision,
            compacted,
            keys,
            watchers,
            log_bytes: self.log_bytes.load(Ordering::Relaxed),
            syncs: self.syncs.load(Ordering::Relaxed),
            full: self.full.load(Ordering::Relaxed),
            indexed: *self.indexed.borrow(),
            failed: self.failure().map(|reason| reason.as_ref().to_owned()),
        }
    }
}
