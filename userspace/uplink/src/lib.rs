//! The node's line to control: intent in, status out.
//!
//! In: batches of intent, which go into the tables, and requests for streams, which go to a handler. Out:
//! acknowledgements, status and Events, bounded and latest-wins, said again after every reconnect.
//! Refuses: deciding anything. While the line is down the tables keep the last known intent; an agent that starts
//! without its server has incomplete tables, and by the tables' contract nobody removes anything then: Pods run
//! on and maps stay as they are until the first whole snapshot has arrived.

mod convert;
mod dial;
mod line;
mod outbox;
mod streams;
mod tokens;

use std::sync::Arc;

use beeline_kit::Tasks;
use beeline_tables::{Epoch, ObjectName, Writer};
use k8s_openapi::api::core::v1::{Event, Node, NodeStatus, PodStatus};
use tokio::sync::watch;

pub use beeline_proto::feed::{Logs, TokenRequest, TokenResponse};
pub use dial::{DialError, Dialer, Joined, channel_over, fetch_authority, join, tls_channel};
pub use streams::{ByteStream, StreamFailure, StreamHandler};
pub use tokens::TokenError;

use line::{Client, Line};
use outbox::Outbox;

/// Who this node is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name; the certificate names the same.
    pub node_name: String,
    /// Six hex digits, kept in the data directory.
    pub instance: String,
    /// What the kernel maps hold from before, zero if nothing.
    pub epoch_in_force: u64,
    /// Labels, addresses, capacity, nodeInfo; said with every connection.
    pub node: Node,
}

/// What the server says of the networks when the line comes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// This node's Pods get addresses from here.
    pub pod_cidr: String,
    /// All Pods' addresses.
    pub cluster_pod_cidr: String,
    /// All Services' addresses.
    pub service_cidr: String,
    /// This node's Pods get addresses from here: one range of each family at most.
    pub pod_cidrs: Vec<String>,
    /// All Pods' addresses, likewise.
    pub cluster_pod_cidrs: Vec<String>,
    /// All Services' addresses, likewise.
    pub service_cidrs: Vec<String>,
}

/// How the line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineState {
    /// The first attempt is being made.
    Dialling,
    /// Intent flows.
    Connected,
    /// It broke or was refused; it is tried again.
    Down {
        /// Why, for people.
        why: String,
    },
}

/// The handle. Clones are the same line.
#[derive(Clone, Debug)]
pub struct Uplink {
    outbox: Arc<Outbox>,
    welcome: watch::Receiver<Option<Welcome>>,
    state: watch::Receiver<LineState>,
    client: watch::Receiver<Option<Client>>,
}

impl Uplink {
    /// Dial, and keep dialling until `tasks` end.
    pub fn start(
        config: Config,
        dialer: Arc<dyn Dialer>,
        handler: Arc<dyn StreamHandler>,
        writer: Writer,
        tasks: &Tasks,
    ) -> Self {
        let outbox = Arc::new(Outbox::default());
        let (welcomed, welcome) = watch::channel(None);
        let (said, state) = watch::channel(LineState::Dialling);
        let (connected, client) = watch::channel(None);
        let line = Line {
            config,
            dialer,
            handler,
            writer,
            outbox: Arc::clone(&outbox),
            welcome: welcomed,
            state: said,
            client: connected,
            tasks: tasks.child(),
        };
        let token = tasks.token();
        tasks.spawn("uplink", async move {
            let _ = token.run_until_cancelled(line.run()).await;
        });
        Self { outbox, welcome, state, client }
    }

    /// This epoch, and all before it, is in force in the kernel. Called by whoever applies the tables.
    pub fn ack(&self, epoch: Epoch, apply_us: u64) {
        self.outbox.ack(epoch.0, apply_us);
    }

    /// A Pod's status; of several only the newest is sent.
    pub fn pod_status(&self, pod: &ObjectName, uid: &str, status: &PodStatus) {
        self.outbox.pod_status(pod, uid, status);
    }

    /// A Pod that was told to end has ended: its object may go. Said until control has heard it.
    pub fn pod_gone(&self, pod: &ObjectName, uid: &str) {
        self.outbox.pod_gone(pod, uid);
    }

    /// The node's status; of several only the newest is sent.
    pub fn node_status(&self, status: &NodeStatus) {
        self.outbox.node_status(status);
    }

    /// An Event without name, its namespace set. The oldest are lost when too many wait.
    pub fn event(&self, event: &Event) {
        self.outbox.event(event);
    }

    /// A token of a service account for a Pod of this node. Waits for the line, but not for long.
    pub async fn token(&self, request: TokenRequest) -> Result<TokenResponse, TokenError> {
        tokens::ask(self.client.clone(), request).await
    }

    /// What the server said of the networks; none before the first connection.
    pub fn welcome(&self) -> watch::Receiver<Option<Welcome>> {
        self.welcome.clone()
    }

    /// How the line is.
    pub fn state(&self) -> watch::Receiver<LineState> {
        self.state.clone()
    }
}
