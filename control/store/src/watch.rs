//! Watches: changes handed on in order, at the watcher's own pace within a bound.
//!
//! In: batches of changes from the writer. Out: per watcher, those under its prefix.
//! Refuses: holding the writer up. A watcher that falls a full queue behind is cut off and must resume by revision.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::types::{Change, Revision};

/// One watcher's changes, in order. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    batches: mpsc::Receiver<Vec<Change>>,
    lagged: Arc<AtomicBool>,
}

/// Why a watch is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchEnd {
    /// The watcher was too slow. Watch again after the last revision seen.
    #[error("the watcher fell behind and was cut off")]
    Lagged,
    /// The store was closed or has failed.
    #[error("the store is closed")]
    Closed,
}

/// The writer's end of all watches.
#[derive(Debug, Default)]
pub(crate) struct Hub {
    watchers: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    prefix: String,
    after: Revision,
    batches: mpsc::Sender<Vec<Change>>,
    lagged: Arc<AtomicBool>,
}

// === impl Watch ===

impl Watch {
    pub(crate) fn new(batches: mpsc::Receiver<Vec<Change>>, lagged: Arc<AtomicBool>) -> Self {
        Self { batches, lagged }
    }

    /// The next changes: never empty, never with a gap. Cancelling the future loses nothing.
    pub async fn next(&mut self) -> Result<Vec<Change>, WatchEnd> {
        match self.batches.recv().await {
            Some(batch) => Ok(batch),
            None if self.lagged.load(Ordering::Acquire) => Err(WatchEnd::Lagged),
            None => Err(WatchEnd::Closed),
        }
    }

    /// What is there already, without waiting.
    pub fn try_next(&mut self) -> Option<Vec<Change>> {
        self.batches.try_recv().ok()
    }
}

// === impl Hub ===

impl Hub {
    /// Adds a watcher that first gets `backlog`, if any. `queue` bounds how many batches it may be behind.
    pub(crate) fn add(
        &mut self,
        prefix: &str,
        after: Revision,
        backlog: Vec<Change>,
        queue: usize,
    ) -> Watch {
        let (batches, receiver) = mpsc::channel(queue.max(1));
        let lagged = Arc::new(AtomicBool::new(false));
        if !backlog.is_empty() {
            // The queue is new and has room for one.
            let _ = batches.try_send(backlog);
        }
        self.watchers.push(Watcher {
            prefix: prefix.to_owned(),
            after,
            batches,
            lagged: Arc::clone(&lagged),
        });
        Watch::new(receiver, lagged)
    }

    /// Hands `changes` to all whom they concern, and drops those who left or fell behind.
    pub(crate) fn feed(&mut self, changes: &[Change]) {
        self.watchers.retain(|watcher| watcher.feed(changes));
    }

    /// Ends every watch.
    pub(crate) fn close(&mut self) {
        self.watchers.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.watchers.len()
    }
}

impl Watcher {
    /// Whether it is still there.
    fn feed(&self, changes: &[Change]) -> bool {
        let wanted = |change: &&Change| {
            change.key().starts_with(&self.prefix) && change.revision() > self.after
        };
        let batch: Vec<Change> = changes.iter().filter(wanted).cloned().collect();
        if batch.is_empty() {
            return !self.batches.is_closed();
        }
        match self.batches.try_send(batch) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lagged.store(true, Ordering::Release);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}
