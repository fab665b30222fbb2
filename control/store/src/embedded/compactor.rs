//! Compaction of the log: a snapshot beside the writer's path, then the removal of what it covers.
//!
//! In: a view of the state at the beginning of a segment. Out: a snapshot; fewer segments.
//! A regular run keeps two snapshots and the log from the older one on. A run for space, when the disk is full, first
//! gives up the older one and spends what was set aside. Killed at any moment, the next start finds a log that is whole.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::WeakSender;

use super::writer::Command;
use crate::directory::Directory;
use crate::log::Log;
use crate::snapshot::{self, SnapshotFile, Stop, View};
use crate::types::Revision;

/// A disk that is full of other things is not asked again at once.
const SPACE_PAUSE: Duration = Duration::from_secs(2);

/// Why the log is made shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It has grown.
    Length,
    /// The disk is full.
    Space,
}

/// What a run has come to.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The revision that the log begins after now, if that has changed.
    pub(crate) begins_after: Option<Revision>,
    /// The newest snapshot, if there is a new one.
    pub(crate) newest: Option<Revision>,
    pub(crate) error: Option<String>,
}

/// Runs at most one compaction at a time, on its own thread.
pub(crate) struct Compactor {
    directory: Arc<Directory>,
    wake: WeakSender<Command>,
    stop: Arc<Stop>,
    job: Option<JoinHandle<Done>>,
    newest: Revision,
    log_bytes_min: u64,
    /// After a failure, how long the log must be for another attempt.
    patience: u64,
    for_space_at: Option<Instant>,
}

// === impl Compactor ===

impl Compactor {
    pub(crate) fn new(
        directory: Arc<Directory>,
        wake: WeakSender<Command>,
        newest: Revision,
        log_bytes_min: u64,
    ) -> Self {
        Self {
            directory,
            wake,
            stop: Arc::new(Stop::new(false)),
            job: None,
            newest,
            log_bytes_min,
            patience: 0,
            for_space_at: None,
        }
    }

    /// Whether the log since the newest snapshot is longer than what a snapshot would take.
    /// So there are at most two such lengths of log, and as much is written to snapshots as to the log.
    pub(crate) fn is_due(&self, log: &Log, live_bytes: u64) -> bool {
        let since = log.bytes_from(self.newest.0 + 1);
        self.job.is_none() && since >= live_bytes.max(self.log_bytes_min).max(self.patience)
    }

    /// Whether it makes sense to compact for space now.
    pub(crate) fn may_free_space(&self) -> bool {
        self.job.is_none() && self.for_space_at.is_none_or(|at| at.elapsed() >= SPACE_PAUSE)
    }

    /// Starts a run. Without a view it can do no more than give up the older snapshot.
    pub(crate) fn start(&mut self, view: Option<View>, why: Why) {
        if why == Why::Space {
            self.for_space_at = Some(Instant::now());
        }
        let (directory, wake) = (Arc::clone(&self.directory), self.wake.clone());
        let stop = Arc::clone(&self.stop);
        let run = move || {
            let done = run(&directory, view.as_ref(), why, &stop);
            // A queue that is full needs no waking.
            if let Some(wake) = wake.upgrade() {
                let _ = wake.try_send(Command::Look);
            }
            done
        };
        match std::thread::Builder::new().name("store-snapshot".into()).spawn(run) {
            Ok(job) => self.job = Some(job),
            Err(error) => tracing::warn!(%error, "no thread for a snapshot of the store"),
        }
    }

    /// What the run has come to, if it is over.
    pub(crate) fn finished(&mut self, log: &Log) -> Option<Done> {
        let job = self.job.take_if(|job| job.is_finished())?;
        let done = job.join().unwrap_or_else(|_| Done {
            error: Some("the thread that wrote the snapshot panicked".into()),
            ..Done::default()
        });
        if let Some(newest) = done.newest {
            self.newest = newest;
        }
        self.patience = match done.error {
            Some(_) => log.bytes_from(self.newest.0 + 1) + self.log_bytes_min,
            None => 0,
        };
        Some(done)
    }

    /// Gives up what is under way, and waits for it to have left the disk alone.
    pub(crate) fn close(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(job) = self.job.take() {
            let _ = job.join();
        }
    }
}

fn run(directory: &Directory, view: Option<&View>, why: Why, stop: &Stop) -> Done {
    let mut done = Done::default();
    if why == Why::Space {
        directory.release_space();
        give_up_older(directory, &mut done);
    }
    if let Some(view) = view {
        take(directory, view, why, stop, &mut done);
    }
    done
}

/// Keeps the newest snapshot alone, if it is sound: that takes no space at all.
fn give_up_older(directory: &Directory, done: &mut Done) {
    let sound = snapshot::list(&directory.snapshots()).unwrap_or_default();
    let [_, .., newest] = &sound[..] else { return };
    match snapshot::check(&newest.path) {
        Ok(_) => prune(directory, &sound, 1, done),
        Err(problem) => done.error = Some(problem.to_string()),
    }
}

fn take(directory: &Directory, view: &View, why: Why, stop: &Stop, done: &mut Done) {
    let revision = view.header.revision();
    let path = snapshot::path(&directory.snapshots(), revision);
    if let Err(error) = write(directory, &path, view, stop) {
        done.error = Some(format!("write {}: {error}", path.display()));
        return;
    }
    done.newest = Some(revision);
    match snapshot::list(&directory.snapshots()) {
        Ok(sound) => {
            let kept = if why == Why::Space { 1 } else { snapshot::KEPT };
            prune(directory, &sound, kept, done);
        }
        Err(error) => done.error = Some(error.to_string()),
    }
}

fn write(directory: &Directory, path: &Path, view: &View, stop: &Stop) -> std::io::Result<()> {
    // The state has not changed since: there is nothing new to write.
    if path.exists() {
        return Ok(());
    }
    snapshot::write(directory.disk(), path, view, stop, &mut |_| ()).map(drop)
}

fn prune(directory: &Directory, sound: &[SnapshotFile], kept: usize, done: &mut Done) {
    let (snapshots, log) = (directory.snapshots(), directory.log());
    match snapshot::prune(directory.disk(), &snapshots, &log, sound, kept) {
        Ok(Some(begins_after)) => done.begins_after = Some(begins_after),
        Ok(None) => {}
        Err(error) => done.error = Some(format!("remove what a snapshot covers: {error}")),
    }
}
