//! Service ports: which frontends they have and which backends may serve them.

use std::{collections::BTreeMap, net::Ipv4Addr};

use beeline_abi::{Be16, FrontendKey, Proto};
use beeline_tables::{
    Backend, NodeName, ObjectName, Protocol, Service, ServicePort, ServiceType, Snapshot,
    TrafficPolicy,
};

/// What names a Service port for as long as it lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    /// The Service.
    pub service: ObjectName,
    /// The port that callers dial.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl PortKey {
    /// Not above any port of the Service: where its ports begin in a sorted map.
    pub(crate) fn first(service: ObjectName) -> Self {
        Self { service, port: 0, protocol: Protocol::Tcp }
    }
}

/// A Service port as the maps should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedPort {
    pub(crate) key: PortKey,
    pub(crate) proto: Proto,
    pub(crate) frontends: Vec<FrontendKey>,
    /// Where connections may go, in the order of addresses.
    pub(crate) backends: Vec<(Ipv4Addr, u16)>,
    /// All of them are ending, and serve because nothing else is left.
    pub(crate) terminating: bool,
}

/// The ports of one Service. Those with a protocol that the programs do not translate are left out.
pub(crate) fn wanted_ports(
    snapshot: &Snapshot,
    node: &NodeName,
    service: &Service,
) -> Vec<WantedPort> {
    if service.service_type == ServiceType::ExternalName {
        return Vec::new();
    }
    service.ports.iter().filter_map(|port| wanted_port(snapshot, node, service, port)).collect()
}

fn wanted_port(
    snapshot: &Snapshot,
    node: &NodeName,
    service: &Service,
    port: &ServicePort,
) -> Option<WantedPort> {
    let proto = translated(port.protocol)?;
    let frontends = frontends(service, port, proto);
    if frontends.is_empty() {
        return None;
    }
    let fitness = candidates(snapshot, node, service, port);
    let (backends, terminating) = choose(&fitness);
    let key = PortKey { service: service.name.clone(), port: port.port, protocol: port.protocol };
    Some(WantedPort { key, proto, frontends, backends, terminating })
}

/// The number of a protocol that the programs translate.
pub(crate) fn translated(protocol: Protocol) -> Option<Proto> {
    match protocol {
        Protocol::Tcp => Some(Proto::Tcp),
        Protocol::Udp => Some(Proto::Udp),
        Protocol::Sctp => None,
    }
}

/// What callers dial. Node ports, external and load-balancer addresses will be added here.
fn frontends(service: &Service, port: &ServicePort, proto: Proto) -> Vec<FrontendKey> {
    let frontend =
        |address: &Ipv4Addr| FrontendKey::new((*address).into(), Be16::from_host(port.port), proto);
    service.cluster_ips.iter().map(frontend).collect()
}

/// What one address is good for, over all slices that name it.
#[derive(Clone, Copy, Debug, Default)]
struct Fitness {
    ready: bool,
    ending: bool,
}

/// Every address behind a Service port, with the port that its own slice gives to the port's name.
fn candidates(
    snapshot: &Snapshot,
    node: &NodeName,
    service: &Service,
    port: &ServicePort,
) -> BTreeMap<(Ipv4Addr, u16), Fitness> {
    let mut found: BTreeMap<(Ipv4Addr, u16), Fitness> = BTreeMap::new();
    for slice in snapshot.slices_for(&service.name) {
        let named =
            |p: &&beeline_tables::SlicePort| p.name == port.name && p.protocol == port.protocol;
        let Some(target) = slice.ports.iter().find(named) else { continue };
        for backend in slice.backends.iter().filter(|backend| admitted(service, node, backend)) {
            let fitness = found.entry((backend.address, target.port)).or_default();
            fitness.ready |= backend.ready || service.publish_not_ready;
            fitness.ending |= backend.serving && backend.terminating;
        }
    }
    found
}

/// Whether the internal traffic policy lets callers on this node reach a backend.
fn admitted(service: &Service, node: &NodeName, backend: &Backend) -> bool {
    match service.internal_policy {
        TrafficPolicy::Cluster => true,
        TrafficPolicy::Local => backend.node.as_ref() == Some(node),
    }
}

/// The ready ones; when there are none, those that still serve while they end.
fn choose(fitness: &BTreeMap<(Ipv4Addr, u16), Fitness>) -> (Vec<(Ipv4Addr, u16)>, bool) {
    let pick = |fit: fn(&Fitness) -> bool| -> Vec<_> {
        fitness.iter().filter(|(_, it)| fit(it)).map(|(key, _)| *key).collect()
    };
    let ready = pick(|it| it.ready);
    if !ready.is_empty() {
        return (ready, false);
    }
    let ending = pick(|it| it.ending);
    let terminating = !ending.is_empty();
    (ending, terminating)
}
