//! What the driver needs of others, as traits: real ones are joined in the binary, fakes in tests.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use beeline_container::{ImageStore, Runtime};
use beeline_kit::Clock;
use beeline_netdev::{AddressPair, Mac, PodLink};
use beeline_tables::{Epoch, ObjectName};
use k8s_openapi::api::core::v1::{Event, NodeStatus, PodStatus};
use tokio::sync::watch;

/// Why another part of the node could not do what it was asked; the text is shown to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortError(pub String);

/// An image of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFacts {
    /// `sha256:…`
    pub id: String,
    /// The names it has.
    pub names: Vec<String>,
    /// What it takes on the disk.
    pub size_bytes: u64,
    /// The signal that asks its program to end; empty for the usual one.
    pub stop_signal: String,
}

/// The network that a sandbox was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connected {
    /// The Pod's addresses.
    pub addresses: AddressPair,
    /// Its link.
    pub link: PodLink,
    /// How BPF programs know its network namespace.
    pub netns_cookie: u64,
}

/// A Pod as the dataplane sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its namespace and name.
    pub pod: ObjectName,
    /// Its unique id.
    pub uid: Arc<str>,
    /// Its addresses.
    pub addresses: AddressPair,
    /// The index of its link on the host.
    pub host_ifindex: u32,
    /// The hardware address of that end.
    pub host_mac: Mac,
    /// The hardware address of the Pod's end.
    pub pod_mac: Mac,
    /// How BPF programs know its network namespace.
    pub netns_cookie: u64,
}

/// The images of this node.
pub trait Images: Send + Sync {
    /// An image by a reference as written in a Pod.
    fn resolve(&self, reference: &str) -> Option<ImageFacts>;
    /// All of them.
    fn list(&self) -> Vec<ImageFacts>;
}

/// The links of this node.
#[async_trait]
pub trait NetPort: Send + Sync {
    /// Give the sandbox held by `netns_pid` addresses and a link, or find those it has.
    async fn connect(&self, pod_uid: &str, netns_pid: u32) -> Result<Connected, PortError>;
    /// Take them back. Fine if there are none.
    async fn disconnect(&self, pod_uid: &str) -> Result<(), PortError>;
    /// Remove what belongs to none of these Pods.
    async fn retain(&self, pod_uids: &[&str]) -> Result<(), PortError>;
}

/// The dataplane of this node.
#[async_trait]
pub trait DatapathPort: Send + Sync {
    /// Programs and maps know the endpoint when this returns. Again for one that is known: adopted or replaced.
    async fn attach_endpoint(&self, endpoint: &Endpoint) -> Result<(), PortError>;
    /// Forget the endpoint. Fine if it is not known.
    async fn detach_endpoint(&self, pod_uid: &str) -> Result<(), PortError>;
    /// The newest epoch that the kernel of this node holds.
    fn in_force(&self) -> watch::Receiver<Epoch>;
}

/// The way to control. Implementations keep the newest status of each Pod while the line is down; they may wait for
/// room, not for the line.
#[async_trait]
pub trait Reporter: Send + Sync {
    /// A Pod's status changed.
    async fn pod_status(&self, pod: &ObjectName, uid: &str, status: PodStatus);
    /// A deleted Pod has ended: its object may go.
    async fn pod_gone(&self, pod: &ObjectName, uid: &str);
    /// Something that users may want to read.
    async fn event(&self, event: Event);
    /// The node's status changed, or is due.
    async fn node_status(&self, status: NodeStatus);
    /// The node lives.
    async fn heartbeat(&self);
}

/// A token that a volume of a Pod asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenWanted {
    /// The Pod.
    pub pod: ObjectName,
    /// Its unique id.
    pub uid: String,
    /// The account that it runs as.
    pub account: String,
    /// Who is to believe it; empty: the API.
    pub audience: String,
    /// How long it is to be good.
    pub seconds: i64,
}

/// Gives tokens of service accounts.
#[async_trait]
pub trait Tokens: Send + Sync {
    /// A new token.
    async fn token(&self, wanted: TokenWanted) -> Result<String, PortError>;
}

/// Everything the driver works with.
#[derive(Clone)]
pub struct Ports {
    /// Runs containers.
    pub runtime: Arc<dyn Runtime>,
    /// Knows images.
    pub images: Arc<dyn Images>,
    /// Makes links.
    pub net: Arc<dyn NetPort>,
    /// Steers packets.
    pub datapath: Arc<dyn DatapathPort>,
    /// Gives tokens.
    pub tokens: Arc<dyn Tokens>,
    /// Tells control.
    pub reporter: Arc<dyn Reporter>,
    /// Knows the time.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Display for PortError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PortError {}

impl fmt::Debug for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ports").finish_non_exhaustive()
    }
}

impl Images for ImageStore {
    fn resolve(&self, reference: &str) -> Option<ImageFacts> {
        Self::resolve(self, reference).map(facts)
    }

    fn list(&self) -> Vec<ImageFacts> {
        Self::list(self).into_iter().map(facts).collect()
    }
}

fn facts(image: beeline_container::image::Image) -> ImageFacts {
    ImageFacts {
        id: image.id,
        names: image.references.into_iter().collect(),
        size_bytes: image.size_bytes,
        stop_signal: image.config.stop_signal,
    }
}
