//! Service ports: which frontends they have and which backends may serve them.

use std::{net::IpAddr, sync::Arc};

use beeline_abi::{
    Addr, Be16, FRONTEND_EXTERNAL, FRONTEND_HAS_REMOTE, FRONTEND_LOCAL_ONLY,
    FRONTEND_SOURCE_RANGES, FrontendKey, Proto,
};
use beeline_tables::{
    ObjectName, Protocol, Service, ServicePort, ServiceType, Slice, TrafficPolicy,
};
use smallvec::{SmallVec, smallvec};

use crate::{
    candidates::{Candidates, Chosen, Here},
    entries::SourceRange,
};

/// Which callers a Service port is for. They may have different backends, so each is compiled by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Audience {
    /// The cluster, by ClusterIP.
    Cluster,
    /// The world, by node port, load balancer or external address.
    External,
    /// Whoever calls a port of this node that a pod took for itself (`hostPort`).
    HostPort,
}

/// What names a Service port for as long as it lives.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortKey {
    /// The Service, or the Pod of a host port.
    pub service: ObjectName,
    /// The port that callers dial; of a Service always that of its ClusterIP.
    pub port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// Whose callers.
    pub audience: Audience,
    /// Of which family.
    pub ipv4: bool,
    /// Of a host port: the one address at which it answers, if it is bound to one. A pod may take a port once for each.
    pub host_ip: Option<IpAddr>,
}

/// A Service port as the maps should have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedPort {
    pub(crate) key: PortKey,
    pub(crate) proto: Proto,
    /// What callers dial, with the `FRONTEND_*` flags of each.
    pub(crate) frontends: SmallVec<[(FrontendKey, u32); 1]>,
    pub(crate) inside: Chosen,
    /// `None`: the same as inside.
    pub(crate) outside: Option<Chosen>,
    pub(crate) affinity_s: u32,
    /// Prefix length and first address of those who may call frontends with that flag.
    pub(crate) source_ranges: Vec<(u32, Addr)>,
}

/// The number of a protocol.
pub(crate) fn number(protocol: Protocol) -> Proto {
    match protocol {
        Protocol::Tcp => Proto::Tcp,
        Protocol::Udp => Proto::Udp,
        Protocol::Sctp => Proto::Sctp,
    }
}

/// Adds the ports of a Service with these slices.
pub(crate) fn of_service(
    service: &Service,
    slices: &[Arc<Slice>],
    here: Here<'_>,
    wanted: &mut Vec<WantedPort>,
) {
    if service.service_type == ServiceType::ExternalName {
        return;
    }
    for ipv4 in [true, false] {
        if !service.cluster_ips.iter().any(|address| address.is_ipv4() == ipv4) {
            continue;
        }
        for port in &service.ports {
            let candidates = Candidates::find(slices, here, port, ipv4);
            wanted.push(cluster(service, port, ipv4, &candidates));
            wanted.extend(external(service, port, ipv4, &candidates));
        }
    }
}

fn cluster(
    service: &Service,
    port: &ServicePort,
    ipv4: bool,
    candidates: &Candidates,
) -> WantedPort {
    let inside = match service.internal_policy {
        TrafficPolicy::Cluster => candidates.anywhere(),
        TrafficPolicy::Local => candidates.on_this_node(),
    };
    let has_remote = if candidates.exist() { FRONTEND_HAS_REMOTE } else { 0 };
    let flags = if inside.backends.is_empty() { has_remote } else { 0 };
    let frontends = of_family(&service.cluster_ips, ipv4)
        .map(|address| (frontend(address, port.port, port.protocol), flags));
    WantedPort {
        frontends: frontends.collect(),
        inside,
        outside: None,
        ..empty(service, port, Audience::Cluster, ipv4)
    }
}

/// Callers on this node and in its pods may be sent anywhere, whatever the policy for those outside is.
fn external(
    service: &Service,
    port: &ServicePort,
    ipv4: bool,
    candidates: &Candidates,
) -> Option<WantedPort> {
    let outside = match service.external_policy {
        TrafficPolicy::Cluster => candidates.anywhere(),
        TrafficPolicy::Local => candidates.on_this_node(),
    };
    let local_only = service.external_policy == TrafficPolicy::Local;
    let nobody = outside.backends.is_empty() && candidates.exist();
    let mut flags = FRONTEND_EXTERNAL;
    flags |= if local_only { FRONTEND_LOCAL_ONLY } else { 0 };
    flags |= if nobody { FRONTEND_HAS_REMOTE } else { 0 };
    let source_ranges: Vec<_> = service
        .source_ranges
        .iter()
        .filter(|range| range.addr().is_ipv4() == ipv4)
        .map(|range| wide(range.network(), range.prefix_len()))
        .collect();
    // A Service whose ranges are all of the other family admits nobody of this one.
    let checked = if service.source_ranges.is_empty() { 0 } else { FRONTEND_SOURCE_RANGES };
    let key = |address: IpAddr| frontend(address, port.port, port.protocol);
    let mut frontends: SmallVec<[(FrontendKey, u32); 1]> = smallvec![];
    if let Some(node_port) = port.node_port {
        let any = if ipv4 { Addr::ANY_V4 } else { Addr::NONE };
        let port_key = Be16::from_host(node_port);
        frontends.push((FrontendKey::new(any, port_key, number(port.protocol)), flags));
    }
    frontends.extend(of_family(&service.external_ips, ipv4).map(|it| (key(it), flags)));
    let balanced = of_family(&service.load_balancer_ips, ipv4);
    frontends.extend(balanced.map(|it| (key(it), flags | checked)));
    if frontends.is_empty() {
        return None;
    }
    let (inside, outside) = (candidates.anywhere(), Some(outside));
    let empty = empty(service, port, Audience::External, ipv4);
    Some(WantedPort { frontends, inside, outside, source_ranges, ..empty })
}

fn empty(service: &Service, port: &ServicePort, audience: Audience, ipv4: bool) -> WantedPort {
    let (name, protocol) = (service.name.clone(), port.protocol);
    WantedPort {
        key: PortKey { service: name, port: port.port, protocol, audience, ipv4, host_ip: None },
        proto: number(protocol),
        frontends: smallvec![],
        inside: Chosen::default(),
        outside: None,
        affinity_s: service.affinity_timeout_s.unwrap_or(0),
        source_ranges: Vec::new(),
    }
}

fn of_family(addresses: &[IpAddr], ipv4: bool) -> impl Iterator<Item = IpAddr> + '_ {
    addresses.iter().copied().filter(move |address| address.is_ipv4() == ipv4)
}

/// What callers dial.
pub(crate) fn frontend(address: IpAddr, port: u16, protocol: Protocol) -> FrontendKey {
    FrontendKey::new(address.into(), Be16::from_host(port), number(protocol))
}

/// A prefix in the 128-bit form.
pub(crate) fn wide(network: IpAddr, length: u8) -> (u32, Addr) {
    let before = if network.is_ipv4() { 96 } else { 0 };
    (before + u32::from(length), network.into())
}

impl WantedPort {
    /// Its source ranges under the number of the Service port.
    pub(crate) fn source_ranges_of(
        ranges: &[(u32, Addr)],
        service_id: beeline_abi::ServiceId,
    ) -> impl Iterator<Item = SourceRange> + '_ {
        ranges.iter().map(move |(bits, addr)| SourceRange { service_id, bits: *bits, addr: *addr })
    }
}
