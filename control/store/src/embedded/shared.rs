//! What the writer changes and everyone reads.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::compactor::Done;
use super::{Space, Status};
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
    /// Of the newest snapshot.
    snapshot: AtomicU64,
    compactions: AtomicU64,
    compaction_error: Mutex<Option<String>>,
    space: Mutex<Option<Space>>,
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
    pub(crate) fn new(
        state: State,
        log_bytes: u64,
        snapshot: Revision,
        watch_queue: usize,
    ) -> Self {
        let revision = state.revision();
        Self {
            inner: RwLock::new(Inner { state, hub: Hub::default(), dirty: Some(HashSet::new()) }),
            watch_queue,
            revision: AtomicU64::new(revision.0),
            log_bytes: AtomicU64::new(log_bytes),
            syncs: AtomicU64::new(0),
            full: AtomicBool::new(false),
            snapshot: AtomicU64::new(snapshot.0),
            compactions: AtomicU64::new(0),
            compaction_error: Mutex::new(None),
            space: Mutex::new(None),
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

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// The log has been made shorter, or should have been.
    pub(crate) fn compacted_log(&self, done: &Done, log_bytes: u64) {
        self.log_bytes.store(log_bytes, Ordering::Relaxed);
        if let Some(newest) = done.newest {
            self.snapshot.store(newest.0, Ordering::Relaxed);
            self.compactions.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(revision = %newest, log_bytes, "the log begins with a new snapshot");
        }
        if let Some(error) = &done.error {
            tracing::warn!(error, "the log could not be made shorter, it will be tried again");
        }
        locked(&self.compaction_error).clone_from(&done.error);
    }

    /// Notes what is free on the disk, and says when it becomes little.
    pub(crate) fn set_space(&self, now: Space, dir: &std::path::Path) {
        let before = locked(&self.space).replace(now);
        let was_low = before.is_some_and(|space| space.low);
        if now.low && !was_low {
            tracing::warn!(dir = %dir.display(), free_bytes = now.free_bytes,
                "the disk of the store is nearly full: writes will be refused when it is, free some space");
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
        let (revision, compacted, keys, live_bytes, watchers) = self.read(|inner| {
            (
                inner.state.revision(),
                inner.state.compacted(),
                inner.state.live().len(),
                inner.state.live_bytes(),
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
            full: self.is_full(),
            live_bytes,
            snapshot: Revision(self.snapshot.load(Ordering::Relaxed)),
            compactions: self.compactions.load(Ordering::Relaxed),
            compaction_error: locked(&self.compaction_error).clone(),
            space: *locked(&self.space),
            indexed: *self.indexed.borrow(),
            failed: self.failure().map(|reason| reason.as_ref().to_owned()),
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
