//! Routes of protocol 190: guards, pods, peers; of both families.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType},
};

use super::{PeerFailure, host};
use crate::{
    NetError, ROUTE_PROTOCOL,
    sysctl::{self, Family},
    wire::{Change, Wire},
};

/// Behind every route that anybody sets by hand.
const GUARD_METRIC: u32 = 4_000_000_190;

/// A route of ours.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) destination: IpNet,
    pub(super) gateway: Option<IpAddr>,
    pub(super) oif: Option<u32>,
    guard: bool,
    message: RouteMessage,
}

impl Route {
    /// The address that it leads to, if it is a pod's.
    pub(super) fn pod_address(&self) -> Option<IpAddr> {
        let whole = self.destination.prefix_len() == self.destination.max_prefix_len();
        (whole && self.gateway.is_none() && !self.guard).then(|| self.destination.addr())
    }
}

/// A route of ours to a range, still without a way there.
pub(super) fn towards(range: IpNet) -> RouteMessage {
    let mut message = match range {
        IpNet::V4(range) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(range.network(), range.prefix_len())
            .build(),
        IpNet::V6(range) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(range.network(), range.prefix_len())
            .build(),
    };
    message.header.protocol = RouteProtocol::Other(ROUTE_PROTOCOL);
    message
}

/// Our routes.
pub(super) fn list(wire: &Wire) -> Result<Vec<Route>, NetError> {
    let mut found = ours(wire, RouteMessageBuilder::<Ipv4Addr>::new().build())?;
    found.extend(ours(wire, RouteMessageBuilder::<Ipv6Addr>::new().build())?);
    Ok(found.into_iter().filter_map(parse).collect())
}

fn ours(wire: &Wire, question: RouteMessage) -> Result<Vec<RouteMessage>, NetError> {
    let found = wire.dump("list routes", RouteNetlinkMessage::GetRoute(question))?;
    let routes = found.into_iter().filter_map(|message| match message {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    });
    let mark = RouteProtocol::Other(ROUTE_PROTOCOL);
    Ok(routes.filter(|route| route.header.protocol == mark).collect())
}

fn parse(message: RouteMessage) -> Option<Route> {
    let (mut destination, mut gateway, mut oif) = (None, None, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => destination = ip(address),
            RouteAttribute::Gateway(address) => gateway = ip(address),
            RouteAttribute::Oif(index) => oif = Some(*index),
            _ => {}
        }
    }
    let destination = IpNet::new(destination?, message.header.destination_prefix_length).ok()?;
    let guard = message.header.kind == RouteType::Unreachable;
    Some(Route { destination, gateway, oif, guard, message })
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

pub(super) fn install_guards(ranges: &[IpNet]) -> Result<(), NetError> {
    let wire = Wire::open()?;
    let guards = ranges.iter().map(|range| {
        let mut route = towards(*range);
        route.header.kind = RouteType::Unreachable;
        route.attributes.push(RouteAttribute::Priority(GUARD_METRIC));
        Change::new(
            format!("install the guard route unreachable {range}"),
            RouteNetlinkMessage::NewRoute(route),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .fine(&[libc::EEXIST])
    });
    wire.changes(guards.collect())
}

pub(super) fn set_peers(peers: &[(IpNet, IpAddr)]) -> Result<Vec<PeerFailure>, NetError> {
    let wire = Wire::open()?;
    let wanted: BTreeSet<(IpNet, IpAddr)> =
        peers.iter().map(|(cidr, via)| (cidr.trunc(), *via)).collect();
    let mut present = BTreeSet::new();
    let mut stale = Vec::new();
    for route in list(&wire)? {
        match route.gateway.map(|via| (route.destination, via)) {
            Some(peer) if wanted.contains(&peer) => {
                present.insert(peer);
            }
            // Replaced below, without a moment in which there is no route.
            Some((cidr, _)) if wanted.iter().any(|(other, _)| *other == cidr) => {}
            Some(_) => stale.push(removal(route)),
            None => {}
        }
    }
    wire.changes(stale)?;
    let missing: Vec<_> = wanted.difference(&present).copied().collect();
    let outcomes = wire.each(missing.iter().map(|peer| addition(*peer)).collect());
    let mut failures: Vec<PeerFailure> = missing
        .iter()
        .zip(outcomes)
        .filter_map(|((cidr, via), outcome)| {
            outcome.err().map(|error| PeerFailure { cidr: *cidr, via: *via, error })
        })
        .collect();
    for (cidr, via) in wanted {
        if failures.iter().any(|failure| failure.cidr == cidr) {
            continue;
        }
        if let Err(error) = forward_from(&wire, via) {
            failures.push(PeerFailure { cidr, via, error });
        }
    }
    Ok(failures)
}

fn addition((cidr, via): (IpNet, IpAddr)) -> Change {
    let mut route = towards(cidr);
    route.attributes.push(RouteAttribute::Gateway(via.into()));
    Change::new(
        format!("route pods of a peer {cidr} via {via}"),
        RouteNetlinkMessage::NewRoute(route),
        NLM_F_CREATE | NLM_F_REPLACE,
    )
}

fn removal(route: Route) -> Change {
    let attempt = format!("remove the route to {}", route.destination);
    Change::new(attempt, RouteNetlinkMessage::DelRoute(route.message), 0).fine(&[libc::ESRCH])
}

/// Let packets that arrive from a peer through to pods: forwarding on that interface alone.
fn forward_from(wire: &Wire, via: IpAddr) -> Result<(), NetError> {
    let Some(ifindex) = interface_towards(wire, via)? else { return Ok(()) };
    let links = host::links(wire)?;
    let family = if via.is_ipv4() { Family::V4 } else { Family::V6 };
    match links.iter().find(|link| link.ifindex == ifindex) {
        Some(link) if !link.loopback => sysctl::forward(family, &link.name),
        _ => Ok(()),
    }
}

fn interface_towards(wire: &Wire, address: IpAddr) -> Result<Option<u32>, NetError> {
    let mut question = towards(address.into());
    question.header.protocol = RouteProtocol::Unspec;
    let answer = wire.get(
        &format!("find the interface towards {address}"),
        RouteNetlinkMessage::GetRoute(question),
    )?;
    Ok(answer.and_then(|message| match message {
        RouteNetlinkMessage::NewRoute(route) => parse(route)?.oif,
        _ => None,
    }))
}

/// Remove every route of ours; guards last.
pub(super) fn remove_all() -> Result<(), NetError> {
    let wire = Wire::open()?;
    let mut routes = list(&wire)?;
    routes.sort_by_key(|route| route.guard);
    wire.changes(routes.into_iter().map(removal).collect())
}
