//! Keeps the index near the log, beside the path of writes.
//!
//! In: keys that changed. Out: the index at some recent revision, written in batches that coalesce rewrites of a key.
//! A hanging or broken index costs nothing but itself: it is set aside and made again from memory, once per start.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::Options;
use super::recover::IndexPlan;
use super::shared::{Inner, Shared};
use crate::directory::boot_hash;
use crate::index::{Difference, Index, Meta, Trouble};
use crate::types::Key;

/// Keys per batch: bounds memory, and the time that readers wait for the lock.
const BATCH_KEYS: usize = 4_096;

pub(crate) struct Follower {
    shared: Arc<Shared>,
    plan: Option<IndexPlan>,
    index: Option<Index>,
    dir: PathBuf,
    cluster: [u8; 16],
    options: Options,
    rebuilt: bool,
}

// === impl Follower ===

impl Follower {
    pub(crate) fn new(
        shared: Arc<Shared>,
        plan: IndexPlan,
        dir: PathBuf,
        cluster: [u8; 16],
        options: Options,
    ) -> Self {
        Self { shared, plan: Some(plan), index: None, dir, cluster, options, rebuilt: false }
    }

    /// Follows until the writer is done, then writes the rest.
    pub(crate) async fn run(self, mut writer_done: watch::Receiver<bool>, shared: Arc<Shared>) {
        let mut follower = self.blocking(Self::begin).await;
        while let Some(current) = follower.take() {
            let delay = current.options.index_delay;
            let last = tokio::select! {
                () = ended(&mut writer_done) => true,
                // Let changes gather; a stop need not wait for it.
                () = shared.index_behind.notified() => {
                    tokio::time::timeout(delay, ended(&mut writer_done)).await.is_ok()
                }
            };
            follower = current.blocking(move |follower| follower.catch_up(last)).await;
            if last {
                break;
            }
        }
        // sled lets go of its files only here.
        drop(follower);
        shared.index_done.send_replace(true);
    }

    /// sled blocks, so it runs where blocking is allowed. `None` when the index has been given up.
    async fn blocking(mut self, work: impl FnOnce(&mut Self) + Send + 'static) -> Option<Self> {
        let run = tokio::task::spawn_blocking(move || {
            work(&mut self);
            self
        });
        let follower = run.await.ok()?;
        follower.index.is_some().then_some(follower)
    }

    fn begin(&mut self) {
        match self.plan.take() {
            None => self.give_up(),
            Some(IndexPlan::Rebuild) => self.rebuild(),
            Some(IndexPlan::Follow { index, changed }) => self.adopt(index, changed),
            Some(IndexPlan::Verify { index, hash, changed }) => match index.hash() {
                Ok(found) if found == hash => self.adopt(index, changed),
                Ok(_) => {
                    tracing::warn!("the index does not hold what the log says, making it again");
                    drop(index);
                    self.rebuild();
                }
                Err(trouble) => {
                    tracing::warn!(%trouble, "the index cannot be read, making it again");
                    drop(index);
                    self.rebuild();
                }
            },
        }
    }

    fn adopt(&mut self, index: Index, changed: Vec<Key>) {
        self.index = Some(index);
        self.shared.write(|inner| inner.dirty.get_or_insert_default().extend(changed));
        self.catch_up(false);
    }

    /// Sets aside what is there and writes all live keys to a new one.
    fn rebuild(&mut self) {
        if self.rebuilt {
            tracing::error!("the index failed again, going on without it until the next start");
            return self.give_up();
        }
        self.rebuilt = true;
        self.index = None;
        if let Err(error) = Index::set_aside(&self.dir) {
            tracing::error!(dir = %self.dir.display(), %error, "the index could not be set aside, going on without it");
            return self.give_up();
        }
        match Index::open(&self.dir, self.options.index_cache_bytes, self.options.index_deadline) {
            Ok((index, _)) => {
                let all = self.shared.read(|inner| inner.state.live().keys().cloned().collect());
                self.adopt(index, all);
            }
            Err(trouble) => {
                tracing::error!(%trouble, "no new index could be made, going on without it");
                self.give_up();
            }
        }
    }

    fn give_up(&mut self) {
        self.index = None;
        self.shared.write(|inner| inner.dirty = None);
        self.shared.indexed.send_replace(None);
    }

    fn catch_up(&mut self, last: bool) {
        let Some(index) = self.index.clone() else { return };
        let mut outcome = self.write_all(&index);
        if last && outcome.is_ok() {
            outcome = index.sync();
        }
        if let Err(trouble) = outcome {
            tracing::warn!(%trouble, "the index cannot be written, making it again");
            drop(index);
            self.rebuild();
        }
    }

    fn write_all(&self, index: &Index) -> Result<(), Trouble> {
        loop {
            let Some(difference) = self.shared.write(|inner| take(inner, self.cluster)) else {
                return Ok(());
            };
            let Meta { revision, complete, .. } = difference.meta;
            index.apply(difference)?;
            if complete {
                self.shared.indexed.send_replace(Some(revision));
                return Ok(());
            }
        }
    }
}

/// Waits for the writer's end; that it is gone without a word is an end too.
async fn ended(writer_done: &mut watch::Receiver<bool>) {
    let _ = writer_done.wait_for(|done| *done).await;
}

/// Some of the keys that the index lacks, with their values as of now.
fn take(inner: &mut Inner, cluster: [u8; 16]) -> Option<Difference> {
    let Inner { state, dirty, .. } = inner;
    let dirty = dirty.as_mut()?;
    let names: Vec<Key> = dirty.iter().take(BATCH_KEYS).cloned().collect();
    for name in &names {
        dirty.remove(name);
    }
    if dirty.is_empty() {
        dirty.shrink_to(BATCH_KEYS);
    }
    let keys = names.into_iter().map(|name| {
        let entry = state.get(&name);
        (name, entry)
    });
    let keys = keys.collect();
    let meta = Meta {
        cluster,
        revision: state.revision(),
        hash: state.hash(),
        boot: boot_hash(),
        complete: dirty.is_empty(),
    };
    Some(Difference { keys, meta })
}
