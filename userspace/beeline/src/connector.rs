//! The API server's way to nodes, over the feed.

use async_trait::async_trait;
use beeline_api::ApiError;
use beeline_apiserver::{ByteStream, LogQuery, NodeConnector};
use beeline_feed::{Feed, NodeStream, StreamError};
use beeline_proto::feed::Logs;
use beeline_registry::{Caller, Registry};
use bytes::Bytes;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Node;

/// Asks nodes over the lines that they opened.
pub struct FeedConnector {
    feed: Feed,
    registry: Registry,
}

impl FeedConnector {
    /// Over this feed, to the nodes that this registry has.
    pub fn new(feed: Feed, registry: Registry) -> Self {
        Self { feed, registry }
    }
}

#[async_trait]
impl NodeConnector for FeedConnector {
    async fn logs(&self, node: &str, query: LogQuery) -> Result<ByteStream, ApiError> {
        convert(self.feed.open_logs(node, logs(query)).await)
    }

    async fn flows(&self, node: &str, query: Bytes) -> Result<ByteStream, ApiError> {
        convert(self.feed.open_flows(node, query.to_vec()).await)
    }

    fn known(&self) -> Vec<String> {
        let nodes = self.registry.client(Caller::system("feed")).cached::<Node>();
        nodes.iter().filter_map(|node| node.metadata.name.clone()).collect()
    }
}

fn logs(query: LogQuery) -> Logs {
    let LogQuery {
        namespace,
        pod,
        uid,
        container,
        follow,
        previous,
        timestamps,
        since_seconds,
        since_time,
        tail_lines,
        limit_bytes,
    } = query;
    Logs {
        namespace,
        pod,
        uid,
        container,
        follow,
        previous,
        timestamps,
        since_seconds,
        since_time: since_time.unwrap_or_default(),
        tail_lines,
        limit_bytes,
    }
}

fn convert(stream: Result<NodeStream, StreamError>) -> Result<ByteStream, ApiError> {
    let stream = stream.map_err(error)?;
    Ok(Box::pin(stream.map(|chunk| chunk.map_err(error))))
}

fn error(error: StreamError) -> ApiError {
    match error.code {
        400 => ApiError::bad_request(error.message),
        404 => ApiError::new(404, "NotFound", error.message),
        429 => ApiError::new(429, "TooManyRequests", error.message),
        503 | 504 => ApiError::unavailable(error.message),
        _ => ApiError::internal(error.message),
    }
}
