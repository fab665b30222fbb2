//! Streams that a node opens because we asked: logs, flows.
//!
//! In: requests by id, and the node's answers. Out: bytes, or an error with its HTTP status.
//! A node can only answer what it was asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;

/// Chunks that may wait for a reader; the node waits when it is full.
const QUEUE_MAX: usize = 32;

/// Why a stream did not open, or broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamError {
    /// The HTTP status that goes with it.
    pub code: u16,
    /// For the user.
    pub message: String,
}

/// Bytes from a node; ends with the stream, or with an error if the node or its line failed.
pub type NodeStream = futures::stream::BoxStream<'static, Result<Bytes, StreamError>>;

/// What goes to the reader.
pub(crate) type Chunk = Result<Bytes, StreamError>;

/// What was asked and not yet answered. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streams {
    waiting: Arc<Mutex<HashMap<String, Waiting>>>,
    next: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Waiting {
    node: String,
    opened: oneshot::Sender<Result<(), StreamError>>,
    chunks: mpsc::Sender<Chunk>,
}

/// The asker's end of a stream that is not open yet.
#[derive(Debug)]
pub(crate) struct Opening {
    node: String,
    opened: oneshot::Receiver<Result<(), StreamError>>,
    chunks: mpsc::Receiver<Chunk>,
}

/// The answering node's end.
#[derive(Debug)]
pub(crate) struct Answer {
    opened: Option<oneshot::Sender<Result<(), StreamError>>>,
    pub(crate) chunks: mpsc::Sender<Chunk>,
}

impl StreamError {
    /// An error with its HTTP status.
    pub fn new(code: u16, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The node's line is down.
    pub fn disconnected(node: &str) -> Self {
        Self::new(503, format!("node \"{node}\" is not connected"))
    }
}

impl Streams {
    fn waiting(&self) -> MutexGuard<'_, HashMap<String, Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node will be asked: the id to ask with, and where its answer arrives.
    pub(crate) fn announce(&self, node: &str) -> (String, Opening) {
        let id = format!("s{}", self.next.fetch_add(1, Ordering::Relaxed));
        let (opened_in, opened) = oneshot::channel();
        let (chunks_in, chunks) = mpsc::channel(QUEUE_MAX);
        let waiting = Waiting { node: node.to_owned(), opened: opened_in, chunks: chunks_in };
        self.waiting().insert(id.clone(), waiting);
        (id, Opening { node: node.to_owned(), opened, chunks })
    }

    /// Nobody waits for this answer any more.
    pub(crate) fn forget(&self, id: &str) {
        self.waiting().remove(id);
    }

    /// A node answers. None if it was not asked, or no longer.
    pub(crate) fn answer(&self, id: &str, node: &str) -> Option<Answer> {
        let mut waiting = self.waiting();
        if waiting.get(id)?.node != node {
            return None;
        }
        let Waiting { opened, chunks, .. } = waiting.remove(id)?;
        Some(Answer { opened: Some(opened), chunks })
    }
}

impl Opening {
    /// Wait for the node's first word.
    pub(crate) async fn opened(self) -> Result<NodeStream, StreamError> {
        match self.opened.await {
            Ok(Ok(())) => Ok(ReceiverStream::new(self.chunks).boxed()),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(StreamError::disconnected(&self.node)),
        }
    }
}

impl Answer {
    /// The node has said its first word.
    pub(crate) fn open(&mut self, outcome: Result<(), StreamError>) {
        if let Some(opened) = self.opened.take() {
            // The asker may have given up.
            let _ = opened.send(outcome);
        }
    }
}
