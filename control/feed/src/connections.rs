//! Who is connected, and how far each node has come.
//!
//! In: lines that open and close, batches that are sent, acknowledgements. Out: who is behind, by how much.
//! One line per node: a newer one ends the older.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use beeline_kit::CancellationToken;
use beeline_proto::feed::{Down, OpenStream, down, open_stream};
use serde::Serialize;
use tokio::sync::{Notify, mpsc};

use crate::streams::StreamError;

/// What a line's queue holds: messages that go together.
pub(crate) type Outgoing = Vec<Down>;
/// Batches that may wait for a node; one that is further behind gets a snapshot instead.
pub(crate) const QUEUE_MAX: usize = 64;
/// Sent batches whose times are kept; of older ones only the newest epoch counts.
const PENDING_MAX: usize = 1024;

/// How far a node has come.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct NodeEpochs {
    /// Its line is up.
    pub connected: bool,
    /// The newest epoch that was sent to it.
    pub sent: u64,
    /// The newest epoch that is in force in its kernel.
    pub in_force: u64,
    /// For how long the oldest epoch that is not in force has been on its way.
    pub lag: Duration,
    /// From receipt to in force on the node, for the last acknowledged epoch, microseconds.
    pub apply_us: u64,
    /// From sending to acknowledgement here, for the last acknowledged epoch, microseconds.
    pub round_trip_us: u64,
}

/// All lines. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    nodes: Arc<Mutex<BTreeMap<String, Line>>>,
    /// Someone acknowledged, or left.
    progress: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Line {
    /// Rises with every line of this node; zero before the first.
    id: u64,
    open: Option<Open>,
    epochs: NodeEpochs,
    pending: VecDeque<(u64, Instant)>,
}

#[derive(Debug)]
struct Open {
    queue: mpsc::Sender<Outgoing>,
    end: CancellationToken,
}

impl Connections {
    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Line>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node has dialled. Its older line ends. The new one's number.
    pub(crate) fn open(
        &self,
        node: &str,
        queue: mpsc::Sender<Outgoing>,
        end: CancellationToken,
        in_force: u64,
    ) -> u64 {
        let mut nodes = self.nodes();
        let line = nodes.entry(node.to_owned()).or_default();
        if let Some(older) = line.open.replace(Open { queue, end }) {
            older.end.cancel();
        }
        line.id += 1;
        line.pending.clear();
        line.epochs = NodeEpochs { connected: true, in_force, ..NodeEpochs::default() };
        line.id
    }

    /// A line has ended; a newer one stays.
    pub(crate) fn close(&self, node: &str, id: u64) {
        if let Some(line) = self.nodes().get_mut(node).filter(|line| line.id == id) {
            line.open = None;
            line.epochs.connected = false;
        }
        self.progress.notify_one();
    }

    /// Ask a node to open a stream.
    pub(crate) fn ask(
        &self,
        node: &str,
        id: &str,
        kind: open_stream::Kind,
    ) -> Result<(), StreamError> {
        let nodes = self.nodes();
        let open = nodes.get(node).and_then(|line| line.open.as_ref());
        let open = open.ok_or_else(|| StreamError::disconnected(node))?;
        let ask = OpenStream { id: id.to_owned(), kind: Some(kind) };
        open.queue.try_send(vec![Down { kind: Some(down::Kind::OpenStream(ask)) }]).map_err(|_| {
            StreamError::new(503, format!("node \"{node}\" does not keep up; try again"))
        })
    }

    /// An epoch is on its way.
    pub(crate) fn sent(&self, node: &str, epoch: u64) {
        if let Some(line) = self.nodes().get_mut(node) {
            line.epochs.sent = epoch;
            if line.pending.len() < PENDING_MAX {
                line.pending.push_back((epoch, Instant::now()));
            }
        }
    }

    /// An epoch, and all before it, is in force.
    pub(crate) fn acked(&self, node: &str, id: u64, epoch: u64, apply_us: u64) {
        let mut nodes = self.nodes();
        // A node cannot hold what it was not sent.
        let Some(line) =
            nodes.get_mut(node).filter(|line| line.id == id && epoch <= line.epochs.sent)
        else {
            return;
        };
        line.epochs.in_force = line.epochs.in_force.max(epoch);
        line.epochs.apply_us = apply_us;
        while let Some((sent, at)) =
            line.pending.front().copied().filter(|(sent, _)| *sent <= epoch)
        {
            if sent == epoch {
                line.epochs.round_trip_us =
                    u64::try_from(at.elapsed().as_micros()).unwrap_or(u64::MAX);
            }
            line.pending.pop_front();
        }
        drop(nodes);
        self.progress.notify_one();
    }

    /// Whether every connected node has this epoch in force.
    pub(crate) fn all_hold(&self, epoch: u64) -> bool {
        self.nodes()
            .values()
            .filter(|line| line.open.is_some())
            .all(|line| line.epochs.in_force >= epoch)
    }

    /// Someone may have come further. Cancel safe; for one waiter.
    pub(crate) async fn progress(&self) {
        self.progress.notified().await;
    }

    /// How far each node has come.
    pub(crate) fn epochs(&self) -> BTreeMap<String, NodeEpochs> {
        let nodes = self.nodes();
        let one = |line: &Line| {
            let lag = line.pending.front().map(|(_, at)| at.elapsed()).unwrap_or_default();
            NodeEpochs { lag, ..line.epochs.clone() }
        };
        nodes.iter().map(|(name, line)| (name.clone(), one(line))).collect()
    }

    /// Whether a node's line is up.
    pub(crate) fn is_connected(&self, node: &str) -> bool {
        self.nodes().get(node).is_some_and(|line| line.open.is_some())
    }
}
