//! A small cluster as one value, from which both sides are made. Every value is legal.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

pub use beeline_tables::{Protocol, TrafficPolicy};

use crate::place::{Family, Place};

/// Seconds for which clients stay; longer than any run.
pub const AFFINITY_S: u32 = 10_800;

/// A few Services, with addresses that no other world of the run has: nothing that the kernel remembers fits them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Which world of the run.
    pub number: u16,
    /// Its Services.
    pub services: Vec<Service>,
}

/// A Service with its endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name, unique in the run.
    pub name: String,
    /// The last part of its addresses.
    pub number: u8,
    /// In which families it has an address.
    pub families: Vec<Family>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Reached by an external address.
    pub external: bool,
    /// Reached by a load balancer's address.
    pub balanced: bool,
    /// Who may use that one; everybody when empty.
    pub ranges: Vec<IpNet>,
    /// Clients stay with their endpoint.
    pub affinity: bool,
    /// For callers of the ClusterIP.
    pub internal: TrafficPolicy,
    /// For callers of everything else.
    pub outward: TrafficPolicy,
    /// Who serves.
    pub endpoints: Vec<Endpoint>,
}

/// A port of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Port {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// At the Service's addresses.
    pub port: u16,
    /// At the node's.
    pub node_port: Option<u16>,
    /// At the endpoints.
    pub target: u16,
}

/// An endpoint; with one address for each family of the Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where it listens.
    pub place: Place,
    /// Whether it takes connections.
    pub condition: Condition,
    /// Zones whose callers it is meant for.
    pub zones: Vec<&'static str>,
    /// Nodes whose callers it is meant for.
    pub nodes: Vec<&'static str>,
}

/// What an endpoint says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Takes new connections.
    Ready,
    /// Is going away and still answers.
    Terminating,
    /// Is not there yet.
    NotReady,
    /// Is going away and answers no more.
    Ending,
}

/// By which kind of address a Service is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Frontend {
    /// Inside the cluster.
    ClusterIp,
    /// Outside the cluster.
    External,
    /// Of its load balancer.
    Balanced,
}

impl Cluster {
    /// The address of a Service, or of none with a number that no Service has.
    pub fn address(&self, frontend: Frontend, family: Family, service: u8) -> IpAddr {
        let [high, low] = self.number.to_be_bytes();
        let word = u16::from(service);
        match (frontend, family) {
            (Frontend::ClusterIp, Family::V4) => Ipv4Addr::new(10, 43, low, service).into(),
            (Frontend::External, Family::V4) => Ipv4Addr::new(198, 18, low, service).into(),
            (Frontend::Balanced, Family::V4) => Ipv4Addr::new(198, 19, low, service).into(),
            (Frontend::ClusterIp, Family::V6) => {
                Ipv6Addr::new(0xfd43, 0, 0, 0, 0, high.into(), low.into(), word).into()
            }
            (Frontend::External, Family::V6) => {
                Ipv6Addr::new(0x2001, 0xdb8, 5, 0, 0, high.into(), low.into(), word).into()
            }
            (Frontend::Balanced, Family::V6) => {
                Ipv6Addr::new(0x2001, 0xdb8, 6, 0, 0, high.into(), low.into(), word).into()
            }
        }
    }
}

impl Service {
    /// Whether it has a frontend outside the cluster.
    pub fn is_outward(&self) -> bool {
        self.external || self.balanced || self.ports.iter().any(|port| port.node_port.is_some())
    }
}
