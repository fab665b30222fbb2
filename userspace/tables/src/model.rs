//! What a node knows of the cluster. Every value is legal, so fields are public.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use ipnet::IpNet;
use k8s_openapi::api::core::v1::Pod;
use serde::{Deserialize, Serialize};

/// A version of intent; rises with every batch that control sends. Zero: nothing yet.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

/// Who an endpoint is to policy: pods with the same labels in the same namespace share one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Identity(pub u32);

/// The name of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeName(pub Arc<str>);

/// The namespace and name of a namespaced object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name within the namespace.
    pub name: Arc<str>,
}

impl ObjectName {
    /// Name an object.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The kind and name of an object that Pods refer to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey {
    /// `ConfigMap` or `Secret`.
    pub kind: Arc<str>,
    /// Its namespace and name.
    pub name: ObjectName,
}

/// A transport protocol that a Service can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP, number 6.
    Tcp,
    /// UDP, number 17.
    Udp,
    /// SCTP, number 132.
    Sctp,
}

/// How a Service is exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceType {
    /// Inside the cluster only.
    ClusterIp,
    /// Also on a port of every node.
    NodePort,
    /// Also on addresses outside the cluster.
    LoadBalancer,
    /// A name only; nothing for the dataplane.
    ExternalName,
}

/// Which backends may serve traffic that arrives at this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All of them.
    Cluster,
    /// Those on this node.
    Local,
}

/// A Service, without its backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace and name.
    pub name: ObjectName,
    /// How it is exposed.
    pub service_type: ServiceType,
    /// Its addresses inside the cluster; empty for a headless one.
    pub cluster_ips: Vec<IpAddr>,
    /// Addresses outside the cluster's own ranges that are routed to its nodes.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of its load balancer that nodes answer for (ipMode VIP).
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may call the load balancer's addresses; everybody when empty.
    pub source_ranges: Vec<IpNet>,
    /// Its ports, in the order of the object.
    pub ports: Vec<ServicePort>,
    /// Seconds for which a client stays with its backend; `None` without affinity.
    pub affinity_timeout_s: Option<u32>,
    /// For clients inside the cluster.
    pub internal_policy: TrafficPolicy,
    /// For clients outside.
    pub external_policy: TrafficPolicy,
    /// Backends count before they are ready.
    pub publish_not_ready: bool,
    /// Where this node says over HTTP whether it has backends of its own.
    pub health_check_port: Option<u16>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Empty where the Service has a single unnamed port.
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port of the frontend.
    pub port: u16,
    /// The port on every node, if any.
    pub node_port: Option<u16>,
}

/// An EndpointSlice: some of a Service's backends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    /// The slice's own name.
    pub name: ObjectName,
    /// The Service that it belongs to.
    pub service: ObjectName,
    /// Port names with the port that these backends listen on.
    pub ports: Vec<SlicePort>,
    /// The backends.
    pub backends: Vec<Backend>,
}

/// A named port of the backends in a slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlicePort {
    /// Matches [`ServicePort::name`].
    pub name: Arc<str>,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port that the backends listen on.
    pub port: u16,
}

/// One address behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// Where it listens.
    pub address: IpAddr,
    /// May take new connections.
    pub ready: bool,
    /// Answers, even while it terminates.
    pub serving: bool,
    /// Is going away.
    pub terminating: bool,
    /// The node it runs on, if known.
    pub node: Option<NodeName>,
    /// The Pod behind it, if there is one.
    pub pod: Option<ObjectName>,
    /// Whose callers it is meant for, if control said so.
    pub hints: Option<Arc<Hints>>,
}

/// Where the callers are that a backend is meant for (KEP-2433, KEP-3015).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// In these zones.
    pub zones: Vec<Arc<str>>,
    /// On these nodes.
    pub nodes: Vec<NodeName>,
}

/// An address of the cluster and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointIdentity {
    /// The Pod.
    pub pod: ObjectName,
    /// Its unique id.
    pub uid: Arc<str>,
    /// Its addresses: one of each family at most.
    pub addresses: Vec<IpAddr>,
    /// Its identity.
    pub identity: Identity,
    /// The node it runs on.
    pub node: NodeName,
}

/// Another node of the cluster, or this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its name.
    pub node: NodeName,
    /// The addresses at which it is reached, the preferred family's first.
    pub internal_ips: Vec<IpAddr>,
    /// The ranges of its Pods, one of each family at most.
    pub pod_cidrs: Vec<IpNet>,
    /// Its zone, if it has one.
    pub zone: Option<Arc<str>>,
}

impl NodeAddress {
    /// Its first IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.internal_ips.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        })
    }

    /// Its first IPv6 address.
    pub fn ipv6(&self) -> Option<Ipv6Addr> {
        self.internal_ips.iter().find_map(|address| match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(address) => Some(*address),
        })
    }
}

/// A Pod bound to this node, as control wants it.
#[derive(Clone, Debug)]
pub struct PodIntent {
    /// Its namespace and name.
    pub name: ObjectName,
    /// Rises with every change of the object.
    pub revision: u64,
    /// The object.
    pub pod: Arc<Pod>,
}

impl PartialEq for PodIntent {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.revision == other.revision
    }
}

/// A ConfigMap or Secret that a Pod of this node refers to, as JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct Referenced {
    /// Which object.
    pub key: ObjectKey,
    /// Rises with every change of the object.
    pub revision: u64,
    /// The object.
    pub json: Arc<serde_json::Value>,
}
