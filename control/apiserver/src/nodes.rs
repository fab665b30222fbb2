//! What the server asks of nodes: logs and flows, as streams of bytes.
//!
//! The binary implements this over the feed, so the server needs no route to any node.

use std::pin::Pin;

use async_trait::async_trait;
use beeline_api::ApiError;
use bytes::Bytes;
use futures::Stream;

/// Bytes from a node. Dropping it tells the node to stop; it must be bounded, so a slow reader slows the node.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes, ApiError>> + Send>>;

/// Which lines of which container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// Its UID.
    pub uid: String,
    /// Container or init container.
    pub container: String,
    /// Go on as lines are written.
    pub follow: bool,
    /// Of the instance before this one.
    pub previous: bool,
    /// A time before each line.
    pub timestamps: bool,
    /// Only lines at most this old.
    pub since_seconds: Option<i64>,
    /// Only lines from then on (RFC 3339).
    pub since_time: Option<String>,
    /// Only so many from the end.
    pub tail_lines: Option<i64>,
    /// Only so many bytes.
    pub limit_bytes: Option<i64>,
}

/// The way to nodes.
#[async_trait]
pub trait NodeConnector: Send + Sync {
    /// A container's log as plain text.
    async fn logs(&self, node: &str, query: LogQuery) -> Result<ByteStream, ApiError>;

    /// A node's flows as JSON lines; the query is JSON of the node's own making.
    async fn flows(&self, node: &str, query: Bytes) -> Result<ByteStream, ApiError>;

    /// All nodes of the cluster. Asking one that is away gives an error that says so.
    fn known(&self) -> Vec<String>;
}
