//! What a node knows of the cluster. Every value is legal, so fields are public.

use std::{fmt, net::Ipv4Addr, sync::Arc};

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
    pub cluster_ips: Vec<Ipv4Addr>,
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
    pub address: Ipv4Addr,
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
}

/// An address of the cluster and who has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointIdentity {
    /// The Pod.
    pub pod: ObjectName,
    /// Its unique id.
    pub uid: Arc<str>,
    /// Its address.
    pub address: Ipv4Addr,
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
    /// The address at which it is reached.
    pub internal_ip: Ipv4Addr,
    /// First address and prefix length of its Pods.
    pub pod_cidr: Option<(Ipv4Addr, u8)>,
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
