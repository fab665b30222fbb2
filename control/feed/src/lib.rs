//! Each node's share of the world, streamed.
//!
//! In: changes from the registry, and nodes that dial. Out: batches of intent with epochs, down; acknowledgements,
//! status and Events, up, written through the registry. Streams that a node opens on request: logs, flows. Tokens of service
//! accounts, for the Pods of the node that asks.
//! Refuses: a node that speaks for another, and waiting for a slow one: it gets a new snapshot instead.
//!
//! ```text
//! registry watches ──> World (pure) ──> Projector: one epoch per batch ──> queue per node ──> Connect stream
//! Connect stream   ──> upward: status, Lease, Events ──> registry
//! ```

mod connections;
mod convert;
mod projector;
mod references;
mod service;
mod streams;
#[cfg(test)]
mod tests;
mod tokens;
mod upward;
mod world;

use std::sync::Arc;
use std::time::Duration;

use beeline_auth::service_account::Issuer;
use beeline_auth::{Authority, JoinToken};
use beeline_kit::{Clock, Tasks};
use beeline_proto::feed::feed_server::FeedServer;
use beeline_proto::feed::{Flows, Logs, open_stream};
use beeline_registry::Client;
use ipnet::IpNet;

pub use connections::NodeEpochs;
pub use service::FeedService;
pub use streams::{NodeStream, StreamError};

use connections::Connections;
use projector::Projector;
use streams::Streams;

/// What the feed is told.
#[derive(Clone)]
pub struct Config {
    /// All Pods' addresses: one range of each family.
    pub cluster_pod_cidrs: Vec<IpNet>,
    /// All Services' addresses: one range of each family.
    pub service_cidrs: Vec<IpNet>,
    /// Signs nodes' certificates.
    pub authority: Arc<Authority>,
    /// What a node shows to get one.
    pub token: Arc<JoinToken>,
    /// Makes the tokens that Pods are given; without it they get none.
    pub issuer: Option<Arc<Issuer>>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
}

/// The server's end of all lines to nodes. Clones are the same feed.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    client: Client,
    tasks: Tasks,
    connections: Connections,
    streams: Streams,
    projector: Projector,
}

/// How long a node has to answer a request for a stream.
const STREAM_WAIT: Duration = Duration::from_secs(10);

impl Feed {
    /// Start following the registry. The client's identity is the feed's own: it checks itself what nodes may do.
    pub fn start(client: Client, config: Config, tasks: &Tasks) -> Self {
        let connections = Connections::default();
        let projector = Projector::start(&client, connections.clone(), tasks);
        let inner = Inner {
            config,
            client,
            tasks: tasks.child(),
            connections,
            streams: Streams::default(),
            projector,
        };
        Self { inner: Arc::new(inner) }
    }

    /// The gRPC service. Requests carry a [`beeline_auth::Identity`] as extension, set by whoever ended TLS.
    pub fn service(&self) -> FeedServer<FeedService> {
        FeedServer::new(FeedService::new(Arc::clone(&self.inner)))
            .max_decoding_message_size(convert::MESSAGE_BYTES_MAX)
            .max_encoding_message_size(convert::MESSAGE_BYTES_MAX)
    }

    /// What was sent to each node and what is in force there.
    pub fn epochs(&self) -> std::collections::BTreeMap<String, NodeEpochs> {
        self.inner.connections.epochs()
    }

    /// Whether a node's line is up.
    pub fn is_connected(&self, node: &str) -> bool {
        self.inner.connections.is_connected(node)
    }

    /// The log of a container on a node, as bytes.
    pub async fn open_logs(&self, node: &str, logs: Logs) -> Result<NodeStream, StreamError> {
        self.open(node, open_stream::Kind::Logs(logs)).await
    }

    /// The flows of a node, as JSON lines.
    pub async fn open_flows(
        &self,
        node: &str,
        query_json: Vec<u8>,
    ) -> Result<NodeStream, StreamError> {
        self.open(node, open_stream::Kind::Flows(Flows { query_json })).await
    }

    async fn open(&self, node: &str, kind: open_stream::Kind) -> Result<NodeStream, StreamError> {
        let (id, opening) = self.inner.streams.announce(node);
        let asked = self.inner.connections.ask(node, &id, kind);
        let outcome = match asked {
            Err(error) => Err(error),
            Ok(()) => match tokio::time::timeout(STREAM_WAIT, opening.opened()).await {
                Ok(outcome) => outcome,
                Err(_) => Err(StreamError::new(
                    504,
                    format!("node \"{node}\" did not answer within {} s", STREAM_WAIT.as_secs()),
                )),
            },
        };
        if outcome.is_err() {
            self.inner.streams.forget(&id);
        }
        outcome
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").field("epochs", &self.epochs()).finish_non_exhaustive()
    }
}
