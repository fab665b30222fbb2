//! One connection to try: who calls what, and how.

use std::{fmt, net::SocketAddr};

use rand::{Rng as _, rngs::StdRng, seq::IndexedRandom as _};

use crate::{
    cluster::{Cluster, Frontend, Port, Protocol, Service},
    place::{Caller, Family, Place, SERVER_PORTS},
};

/// One case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// Who calls.
    pub caller: Caller,
    /// In which family.
    pub family: Family,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// What is called.
    pub target: Target,
    /// Its address and port.
    pub address: SocketAddr,
}

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An address of a Service, by its place in the world, at its port.
    Service(usize, Frontend),
    /// A Service's port at one of the node's addresses.
    NodePort(usize, NodeAddress),
    /// A Service's address at a port, or with a protocol, that it does not have.
    OtherPort(usize, Frontend),
    /// An address of the Services' ranges that no Service has.
    Nobody(Frontend),
    /// A server, without any Service.
    Server(Place),
    /// A port of the node where nobody listens.
    ClosedPort(NodeAddress),
}

/// Which address of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeAddress {
    /// Where node ports answer.
    Main,
    /// Where they do not.
    Back,
    /// Where they answer the node itself.
    Loopback,
}

impl NodeAddress {
    fn in_family(self, family: Family) -> std::net::IpAddr {
        match self {
            Self::Main => family.node(),
            Self::Back => family.back(),
            Self::Loopback => family.loopback(),
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { caller, protocol, target, address, .. } = self;
        write!(f, "{caller:?} calls {address} by {protocol:?} ({target:?})")
    }
}

/// A port where nobody listens.
const CLOSED: u16 = 9;
/// A port that no Service has.
const OTHER: u16 = 81;
/// A number that no Service has.
const NOBODY: u8 = 200;
/// Of ten cases, those that call a frontend.
const FRONTENDS_OF_TEN: u32 = 8;

/// Cases of one world; each is there once.
pub fn draw(cluster: &Cluster, count: usize, rng: &mut StdRng) -> Vec<Case> {
    let mut drawn: Vec<Case> = Vec::new();
    // More than enough attempts: a world has some hundred possible cases.
    for _ in 0..count * 20 {
        if drawn.len() == count {
            break;
        }
        let case = one(cluster, rng);
        if !drawn.contains(&case) {
            drawn.push(case);
        }
    }
    drawn
}

fn one(cluster: &Cluster, rng: &mut StdRng) -> Case {
    let caller = *Caller::ALL.choose(rng).unwrap_or(&Caller::Pod);
    let index = rng.random_range(0..cluster.services.len());
    let service = &cluster.services[index];
    let family = service.families[rng.random_range(0..service.families.len())];
    let port = service.ports[rng.random_range(0..service.ports.len())];
    if rng.random_ratio(FRONTENDS_OF_TEN, 10) {
        let found = frontends(service, index, &port, caller);
        let target = found[rng.random_range(0..found.len())];
        return at(cluster, caller, family, port.protocol, target);
    }
    let protocol = if rng.random_bool(0.5) { Protocol::Tcp } else { Protocol::Udp };
    let frontend =
        [Frontend::ClusterIp, Frontend::External, Frontend::Balanced][rng.random_range(0..3)];
    let place = Place::ALL[rng.random_range(0..Place::ALL.len())];
    let node = [NodeAddress::Main, NodeAddress::Back][rng.random_range(0..2)];
    let target = match rng.random_range(0..6) {
        0 => Target::OtherPort(index, Frontend::ClusterIp),
        1 => Target::Nobody(frontend),
        2 => Target::ClosedPort(node),
        _ => Target::Server(place),
    };
    at(cluster, caller, family, protocol, target)
}

/// Every frontend of a Service's port that a caller may try. Addresses that the Service does not have are not among them.
fn frontends(service: &Service, index: usize, port: &Port, caller: Caller) -> Vec<Target> {
    let mut found = vec![Target::Service(index, Frontend::ClusterIp)];
    found.extend(service.external.then_some(Target::Service(index, Frontend::External)));
    found.extend(service.balanced.then_some(Target::Service(index, Frontend::Balanced)));
    if port.node_port.is_some() {
        let node = |address| Target::NodePort(index, address);
        found.extend([node(NodeAddress::Main), node(NodeAddress::Back)]);
        found.extend((caller == Caller::Node).then_some(node(NodeAddress::Loopback)));
    }
    found
}

fn at(
    cluster: &Cluster,
    caller: Caller,
    family: Family,
    protocol: Protocol,
    target: Target,
) -> Case {
    let service = |index: usize| &cluster.services[index];
    let of = |index: usize| service(index).ports.iter().find(|port| port.protocol == protocol);
    let ip = |index: usize, frontend| cluster.address(frontend, family, service(index).number);
    let (ip, port) = match target {
        Target::Service(index, frontend) => {
            (ip(index, frontend), of(index).map_or(0, |it| it.port))
        }
        Target::NodePort(index, address) => {
            let port = of(index).and_then(|it| it.node_port);
            (address.in_family(family), port.unwrap_or(0))
        }
        Target::OtherPort(index, frontend) => (ip(index, frontend), OTHER),
        Target::Nobody(frontend) => (cluster.address(frontend, family, NOBODY), 80),
        Target::Server(place) => (place.address(family), SERVER_PORTS[0]),
        Target::ClosedPort(address) => (address.in_family(family), CLOSED),
    };
    Case { caller, family, protocol, target, address: SocketAddr::new(ip, port) }
}
