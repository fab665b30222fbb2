//! The embedded backend: log, memory and index behind one writer.
//!
//! In: the trait's operations from any task. Out: acknowledgements of what is durable, reads from memory, watches.
//! One thread owns the log and gives out revisions, so there are no gaps. Refuses: going on after a failed write.

mod base;
mod compactor;
mod follower;
mod options;
pub(crate) mod recover;
mod replay;
mod shared;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use beeline_kit::Tasks;
use bytes::Bytes;
use tokio::sync::{OnceCell, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::directory::Directory;
use crate::disk::{self, Disk};
use crate::state::Op;
use crate::{Entry, OpenError, Revision, Store, StoreError, Watch};
use compactor::Compactor;
use follower::Follower;
pub use options::Options;
use recover::Recovered;
use shared::Shared;
use writer::{Command, Writer};

/// How often free space is looked at.
const SPACE_EVERY: Duration = Duration::from_secs(10);

/// The store of a cluster with one server.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    commands: mpsc::Sender<Command>,
    directory: Arc<Directory>,
    tasks: Tasks,
    writer_done: tokio::sync::watch::Receiver<bool>,
    closed: OnceCell<()>,
}

/// How the store is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The newest durable write.
    pub revision: Revision,
    /// The newest forgotten change.
    pub compacted: Revision,
    /// How many keys are live.
    pub keys: usize,
    /// How many watches are open.
    pub watchers: usize,
    /// How large all live keys are together.
    pub live_bytes: u64,
    /// How long the log is.
    pub log_bytes: u64,
    /// The revision of the newest snapshot, zero without one.
    pub snapshot: Revision,
    /// How many snapshots there were since the start.
    pub compactions: u64,
    /// Why the log could not be made shorter the last time, if it could not.
    pub compaction_error: Option<String>,
    /// What is free on the disk, once that is known.
    pub space: Option<Space>,
    /// How many fdatasyncs there were since the start.
    pub syncs: u64,
    /// Whether writes are refused for want of space.
    pub full: bool,
    /// The revision that the index holds completely, if it is in use.
    pub indexed: Option<Revision>,
    /// What ended the store, if something did.
    pub failed: Option<String>,
}

/// What is free on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// For the store and all others.
    pub free_bytes: u64,
    /// Whether that is little.
    pub low: bool,
}

// === impl Embedded ===

impl Embedded {
    /// Opens the store in `dir`, which is made if it is not there. It closes when `tasks` stop.
    pub async fn open(dir: &Path, options: Options, tasks: &Tasks) -> Result<Arc<Self>, OpenError> {
        Self::open_on(dir, options, Disk::default(), tasks).await
    }

    async fn open_on(
        dir: &Path,
        options: Options,
        disk: Disk,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, OpenError> {
        let (dir, recovery) = (dir.to_owned(), options.clone());
        let recovered = tokio::task::spawn_blocking(move || {
            let directory = Directory::open(&dir, disk)?;
            let recovered = recover::recover(&directory, &recovery)?;
            Ok::<_, OpenError>((directory, recovered))
        });
        let (directory, recovered) =
            recovered.await.map_err(|error| OpenError::Thread(error.to_string()))??;
        Self::start(directory, recovered, options, tasks)
    }

    fn start(
        directory: Directory,
        recovered: Recovered,
        options: Options,
        tasks: &Tasks,
    ) -> Result<Arc<Self>, OpenError> {
        let Recovered { state, log, index, snapshot } = recovered;
        let directory = Arc::new(directory);
        let shared = Arc::new(Shared::new(state, log.bytes(), snapshot, options.watch_queue));
        // A queue of some batches: writers wait for room, and a full one is the sign of a slow disk.
        let (commands, receiver) = mpsc::channel(4 * options.batch_ops);
        let (done, writer_done) = tokio::sync::watch::channel(false);
        let cluster = log.cluster();
        let compactor = Compactor::new(
            Arc::clone(&directory),
            commands.downgrade(),
            snapshot,
            options.snapshot_log_bytes,
        );
        let writer = Writer::new(Arc::clone(&shared), log, compactor, receiver, &options);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || {
                writer.run();
                let _ = done.send(true);
            })
            .map_err(|error| OpenError::Thread(error.to_string()))?;
        let tasks = tasks.child();
        let low_space_bytes = options.low_space_bytes;
        let follower =
            Follower::new(Arc::clone(&shared), index, directory.index(), cluster, options);
        let close_token = tasks.token();
        let (follow_done, follow_shared) = (writer_done.clone(), Arc::clone(&shared));
        tasks.spawn("store-index", follower.run(follow_done, follow_shared));
        let store = Arc::new(Self {
            shared,
            commands,
            directory,
            tasks,
            writer_done,
            closed: OnceCell::new(),
        });
        let watching = look_at_space(Arc::clone(&store), low_space_bytes, close_token.clone());
        store.tasks.spawn("store-space", watching);
        let closing = Arc::clone(&store);
        store.tasks.spawn("store-close", async move {
            close_token.cancelled().await;
            closing.close_once().await;
        });
        Ok(store)
    }

    /// Makes what was accepted durable, marks the stop as clean and ends. Later operations get `Closed`.
    pub async fn close(&self) {
        self.close_once().await;
        self.tasks.stop(Duration::from_secs(1)).await;
    }

    async fn close_once(&self) {
        self.closed
            .get_or_init(|| async {
                let _ = self.commands.send(Command::Close).await;
                let mut done = self.writer_done.clone();
                // An error means that the writer is gone, which is what we wait for.
                let _ = done.wait_for(|done| *done).await;
                self.shared.index_settled().await;
                self.shared.close();
                if self.shared.failure().is_none() {
                    let (revision, hash) = self.shared.read(|inner| (inner.state.revision(), inner.state.hash()));
                    if let Err(error) = self.directory.mark_clean(revision, hash) {
                        tracing::warn!(%error, "the clean stop could not be noted, the next start will check everything");
                    }
                }
            })
            .await;
    }

    /// Returns only if the store fails for good: the process should then exit. Says why.
    pub async fn fatal(&self) -> StoreError {
        self.shared.fatal().await
    }

    /// How the store is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    async fn write(&self, op: Op) -> Result<Revision, StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Write { op, reply }).await;
        sent.map_err(|_| self.shared.ended())?;
        answer.await.unwrap_or_else(|_| Err(self.shared.ended()))
    }

    fn alive(&self) -> Result<(), StoreError> {
        if self.shared.is_over() { Err(self.shared.ended()) } else { Ok(()) }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn create(&self, key: &str, value: Bytes) -> Result<Revision, StoreError> {
        self.write(Op::Create { key: key.into(), value }).await
    }

    async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
    ) -> Result<Revision, StoreError> {
        self.write(Op::Update { key: key.into(), value, expected }).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision, StoreError> {
        self.write(Op::Delete { key: key.into(), expected }).await
    }

    /// Forgets history for good. How long the log is, is another matter: it is made shorter as it grows.
    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        let (reply, answer) = oneshot::channel();
        let sent = self.commands.send(Command::Compact { to, reply }).await;
        sent.map_err(|_| self.shared.ended())?;
        answer.await.unwrap_or_else(|_| Err(self.shared.ended()))
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.alive()?;
        Ok(self.shared.read(|inner| inner.state.get(key)))
    }

    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        self.alive()?;
        Ok(self.shared.read(|inner| (inner.state.range(prefix), inner.state.revision())))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.alive()?;
        self.shared.watch(prefix, after)
    }

    fn revision(&self) -> Revision {
        self.shared.revision()
    }
}

/// Looks at what is free on the disk, which others fill too.
async fn look_at_space(store: Arc<Embedded>, low_space_bytes: u64, stop: CancellationToken) {
    loop {
        let dir = store.directory.path();
        match disk::space(dir) {
            Ok((free_bytes, all)) => {
                let low = free_bytes < low_space_bytes.min(all / 10);
                store.shared.set_space(Space { free_bytes, low }, dir);
            }
            Err(error) => tracing::debug!(%error, "the free space of the disk is not known"),
        }
        if tokio::time::timeout(SPACE_EVERY, stop.cancelled()).await.is_ok() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
