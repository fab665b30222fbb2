//! The one writer: takes what is queued, makes it durable in one frame, shows it, acknowledges it.
//!
//! In: commands in order. Out: answers, each only after the fdatasync that covers it.
//! Runs on its own thread since nearly all of its time is spent in fdatasync.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::Options;
use super::compactor::{Compactor, Why};
use super::shared::Shared;
use crate::log::frame::{self, Remarks};
use crate::log::{Log, LogError};
use crate::snapshot::View;
use crate::state::{Batch, Op};
use crate::{Revision, StoreError};

/// How many revisions lie between two marks in the log.
const MARK_EVERY: u64 = 1_000;

type Reply = oneshot::Sender<Result<Revision, StoreError>>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Command {
    Write {
        op: Op,
        reply: Reply,
    },
    /// Forget history up to a revision.
    Compact {
        to: Revision,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    /// See what the compaction of the log has come to.
    Look,
    /// Nothing after this is accepted.
    Close,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    log: Log,
    compactor: Compactor,
    commands: mpsc::Receiver<Command>,
    batch_ops: usize,
    batch_bytes: usize,
    live_bytes_max: u64,
    buffer: Vec<u8>,
    /// The revision of the newest mark.
    marked: u64,
}

/// Commands that were waiting.
#[derive(Default)]
struct Queued {
    writes: Vec<(Op, Reply)>,
    compactions: Vec<(Revision, oneshot::Sender<Result<(), StoreError>>)>,
    close: bool,
}

// === impl Writer ===

impl Writer {
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: Log,
        compactor: Compactor,
        commands: mpsc::Receiver<Command>,
        options: &Options,
    ) -> Self {
        let marked = shared.revision().0;
        let Options { batch_ops, batch_bytes, live_bytes_max, .. } = *options;
        let buffer = Vec::new();
        Self {
            shared,
            log,
            compactor,
            commands,
            batch_ops,
            batch_bytes,
            live_bytes_max,
            buffer,
            marked,
        }
    }

    /// Works until told to close, or until the log fails.
    pub(crate) fn run(mut self) {
        while let Some(first) = self.commands.blocking_recv() {
            let queued = self.gather(first);
            let close = queued.close;
            self.forget(queued.compactions);
            self.commit(queued.writes);
            if close {
                self.finish();
                break;
            }
            self.look_after_log();
            if self.shared.failure().is_some() {
                break;
            }
        }
        self.compactor.close();
        self.turn_away();
    }

    /// All that waits already, within the limits of a batch. Never waits for more.
    fn gather(&mut self, first: Command) -> Queued {
        let mut queued = Queued::default();
        let (mut next, mut bytes) = (Some(first), 0);
        while let Some(command) = next {
            match command {
                Command::Close => {
                    queued.close = true;
                    break;
                }
                Command::Write { op, reply } => {
                    bytes += op.weight();
                    queued.writes.push((op, reply));
                }
                Command::Compact { to, reply } => queued.compactions.push((to, reply)),
                Command::Look => {}
            }
            let room = queued.writes.len() < self.batch_ops && bytes < self.batch_bytes;
            next = if room { self.commands.try_recv().ok() } else { None };
        }
        queued
    }

    /// Makes it durable that history is forgotten, so that it is after a restart too.
    fn forget(&mut self, compactions: Vec<(Revision, oneshot::Sender<Result<(), StoreError>>)>) {
        let Some(to) = compactions.iter().map(|(to, _)| *to).max() else { return };
        let (revision, compacted) =
            self.shared.read(|inner| (inner.state.revision(), inner.state.compacted()));
        let to = to.min(revision);
        let outcome = if to <= compacted { Ok(()) } else { self.forget_up_to(to, revision) };
        for (_, reply) in compactions {
            let _ = reply.send(outcome.clone());
        }
    }

    fn forget_up_to(&mut self, to: Revision, revision: Revision) -> Result<(), StoreError> {
        let remarks = Remarks { mark: None, compaction: Some(to) };
        frame::encode(&mut self.buffer, revision.next().0, remarks, &[]);
        self.append(revision.next())?;
        self.shared.write(|inner| inner.state.compact(to));
        Ok(())
    }

    fn commit(&mut self, writes: Vec<(Op, Reply)>) {
        let (batch, answers) = self.shared.read(|inner| {
            let mut batch = Batch::after(&inner.state, self.live_bytes_max);
            let admit = |(op, reply): (Op, Reply)| {
                let rests = batch.touches(op.key());
                (batch.admit(&inner.state, op), rests, reply)
            };
            let answers: Vec<_> = writes.into_iter().map(admit).collect();
            (batch, answers)
        });
        // A refusal may rest on a write that is not durable yet, so all answers wait.
        let outcome = if batch.records().is_empty() { Ok(()) } else { self.make_durable(batch) };
        for (answer, rests, reply) in answers {
            let answer = match (&outcome, answer) {
                (Err(error), answer) if rests || answer.is_ok() => Err(error.clone()),
                (_, answer) => answer,
            };
            // Nobody waits any more: the write stands all the same.
            let _ = reply.send(answer);
        }
    }

    fn make_durable(&mut self, batch: Batch) -> Result<(), StoreError> {
        let first = batch.first();
        let mark = (first.0 - 1 - self.marked >= MARK_EVERY)
            .then(|| self.shared.read(|inner| inner.state.hash()));
        let remarks = Remarks { mark, compaction: None };
        frame::encode(&mut self.buffer, first.0, remarks, batch.records());
        self.append(first)?;
        if mark.is_some() {
            self.marked = first.0 - 1;
        }
        self.shared.publish(batch.into_records(), self.log.bytes());
        // One large value must not hold its memory for ever.
        self.buffer.shrink_to(self.batch_bytes);
        Ok(())
    }

    fn append(&mut self, first: Revision) -> Result<(), StoreError> {
        match self.log.append(&self.buffer, first.0) {
            Ok(()) => Ok(()),
            Err(LogError::Full { path, .. }) => {
                self.shared.set_full(&path);
                Err(StoreError::Full)
            }
            Err(failed @ LogError::Failed { .. }) => {
                self.shared.fail(&failed.to_string());
                Err(self.shared.ended())
            }
        }
    }

    /// Notes what a compaction has come to, and starts one where it is time.
    fn look_after_log(&mut self) {
        if let Some(done) = self.compactor.finished(&self.log) {
            if let Some(begin) = done.begins_after {
                self.log.forget_before(begin.0 + 1);
            }
            self.shared.compacted_log(&done, self.log.bytes());
        }
        if self.shared.failure().is_some() {
            return;
        }
        let live_bytes = self.shared.read(|inner| inner.state.live_bytes());
        if self.shared.is_full() && self.compactor.may_free_space() {
            self.compact_log(Why::Space);
        } else if self.compactor.is_due(&self.log, live_bytes) {
            self.compact_log(Why::Length);
        }
    }

    /// A snapshot holds what is before the first revision of a segment, so one is begun.
    fn compact_log(&mut self, why: Why) {
        let next = self.shared.revision().next();
        let view = match self.log.cut(next.0) {
            Ok(header) => Some(self.shared.read(|inner| View::of(&inner.state, header))),
            Err(LogError::Full { .. }) => None,
            Err(failed @ LogError::Failed { .. }) => {
                return self.shared.fail(&failed.to_string());
            }
        };
        if view.is_some() || why == Why::Space {
            self.compactor.start(view, why);
        }
    }

    /// The last frame is a mark: it proves the frames before it, and nothing is lost if it is torn itself.
    fn finish(&mut self) {
        if self.shared.failure().is_some() {
            return;
        }
        let (revision, hash) =
            self.shared.read(|inner| (inner.state.revision(), inner.state.hash()));
        let remarks = Remarks { mark: Some(hash), compaction: None };
        frame::encode(&mut self.buffer, revision.next().0, remarks, &[]);
        if let Err(error) = self.append(revision.next()) {
            tracing::warn!(%error, "the last mark could not be written");
        }
    }

    /// Answers those who came too late.
    fn turn_away(&mut self) {
        self.commands.close();
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Write { reply, .. } => drop(reply.send(Err(self.shared.ended()))),
                Command::Compact { reply, .. } => drop(reply.send(Err(self.shared.ended()))),
                Command::Look | Command::Close => {}
            }
        }
    }
}
