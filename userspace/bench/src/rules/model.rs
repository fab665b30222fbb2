//! Services as a node sees them, one value for each port and address family. Every value is legal.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// An address family: kube-proxy keeps a rule set for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// As rules write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Which endpoints may serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All of them.
    Cluster,
    /// Those on this node.
    Local,
}

/// What an endpoint says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Takes new connections.
    Ready,
    /// Is going away and still answers: the fallback when nobody is ready.
    Terminating,
    /// Answers nobody.
    NotReady,
}

/// One address behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub address: SocketAddr,
    /// Whether it runs on this node.
    pub local: bool,
    /// Whether it takes connections.
    pub condition: Condition,
}

/// One port of a Service, in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The Service's namespace.
    pub namespace: String,
    /// The Service's name.
    pub service: String,
    /// The port's name; empty for a single unnamed port.
    pub port_name: String,
    /// The port's protocol.
    pub protocol: Protocol,
    /// The Service's address inside the cluster.
    pub cluster_ip: IpAddr,
    /// The port at all its addresses.
    pub port: u16,
    /// The port at the node's addresses.
    pub node_port: Option<u16>,
    /// Addresses outside the cluster that lead to a node.
    pub external_ips: Vec<IpAddr>,
    /// Addresses of its load balancer that are for the node to serve (`ipMode: VIP`).
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer's addresses; empty: everybody.
    pub source_ranges: Vec<IpNet>,
    /// Seconds for which a client stays with its endpoint.
    pub affinity_timeout_s: Option<u32>,
    /// For clients of the cluster address.
    pub internal_policy: Policy,
    /// For clients of all other addresses.
    pub external_policy: Policy,
    /// Where the node tells load balancers whether it has endpoints.
    pub health_check_node_port: Option<u16>,
    /// Who answers.
    pub endpoints: Vec<Endpoint>,
}

impl ServicePort {
    /// A TCP port of a Service inside the cluster, without endpoints.
    #[must_use]
    pub fn new(namespace: &str, service: &str, cluster_ip: IpAddr, port: u16) -> Self {
        Self {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port_name: String::new(),
            protocol: Protocol::Tcp,
            cluster_ip,
            port,
            node_port: None,
            external_ips: Vec::new(),
            load_balancer_ips: Vec::new(),
            source_ranges: Vec::new(),
            affinity_timeout_s: None,
            internal_policy: Policy::Cluster,
            external_policy: Policy::Cluster,
            health_check_node_port: None,
            endpoints: Vec::new(),
        }
    }

    /// Reached from outside the cluster, too.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.node_port.is_some()
            || !self.external_ips.is_empty()
            || !self.load_balancer_ips.is_empty()
    }
}

/// The node whose rules these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The family of all addresses in the rules.
    pub family: Family,
    /// The node's main address.
    pub address: IpAddr,
    /// Where the cluster's pods are, to tell them from the world; `None`: it cannot be told.
    pub pods: Option<IpNet>,
    /// Where cluster addresses are; only nftables rules know it.
    pub services: Option<IpNet>,
    /// Which of the node's addresses have node ports; `None`: all of them.
    pub node_port_addresses: Option<Vec<IpAddr>>,
    /// Node ports answer on 127.0.0.1; only iptables rules for IPv4 can.
    pub localhost_node_ports: bool,
    /// Masquerade everything that goes to a Service.
    pub masquerade_all: bool,
}

/// All that the rules of one node and family are made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The node.
    pub node: Node,
    /// The Services.
    pub services: Vec<ServicePort>,
}
