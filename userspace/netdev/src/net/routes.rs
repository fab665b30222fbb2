//! Routes of protocol 190: guards, pods, peers.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net};
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
    pub(super) destination: Ipv4Net,
    pub(super) gateway: Option<Ipv4Addr>,
    pub(super) oif: Option<u32>,
    guard: bool,
    message: RouteMessage,
}

/// Our IPv4 routes in the main table.
pub(super) fn list(wire: &Wire) -> Result<Vec<Route>, NetError> {
    let question = RouteMessageBuilder::<Ipv4Addr>::new().build();
    Ok(ours(wire, question)?.into_iter().filter_map(parse).collect())
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
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(*address);
            }
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => gateway = Some(*address),
            RouteAttribute::Oif(index) => oif = Some(*index),
            _ => {}
        }
    }
    let destination = Ipv4Net::new(destination?, message.header.destination_prefix_length).ok()?;
    let guard = message.header.kind == RouteType::Unreachable;
    Some(Route { destination, gateway, oif, guard, message })
}

pub(super) fn install_guards(ranges: &[IpNet]) -> Result<(), NetError> {
    let wire = Wire::open()?;
    let guards = ranges.iter().map(|range| {
        let route = match range {
            IpNet::V4(range) => RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(range.network(), range.prefix_len())
                .kind(RouteType::Unreachable)
                .priority(GUARD_METRIC)
                .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
                .build(),
            IpNet::V6(range) => RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(range.network(), range.prefix_len())
                .kind(RouteType::Unreachable)
                .priority(GUARD_METRIC)
                .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
                .build(),
        };
        Change::new(
            format!("install the guard route unreachable {range}"),
            RouteNetlinkMessage::NewRoute(route),
            NLM_F_CREATE | NLM_F_EXCL,
        )
        .fine(&[libc::EEXIST])
    });
    wire.changes(guards.collect())
}

pub(super) fn set_peers(peers: &[(Ipv4Net, Ipv4Addr)]) -> Result<Vec<PeerFailure>, NetError> {
    let wire = Wire::open()?;
    let wanted: BTreeSet<(Ipv4Net, Ipv4Addr)> =
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

fn addition((cidr, via): (Ipv4Net, Ipv4Addr)) -> Change {
    let route = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(cidr.network(), cidr.prefix_len())
        .gateway(via)
        .protocol(RouteProtocol::Other(ROUTE_PROTOCOL))
        .build();
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
fn forward_from(wire: &Wire, via: Ipv4Addr) -> Result<(), NetError> {
    let Some(ifindex) = interface_towards(wire, via)? else { return Ok(()) };
    let links = host::links(wire)?;
    match links.iter().find(|link| link.ifindex == ifindex) {
        Some(link) if !link.loopback => sysctl::set(Family::V4, &link.name, "forwarding", "1"),
        _ => Ok(()),
    }
}

fn interface_towards(wire: &Wire, address: Ipv4Addr) -> Result<Option<u32>, NetError> {
    let mut question =
        RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(address, 32).build();
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
    wire.changes(routes.into_iter().map(removal).collect())?;
    let six = ours(&wire, RouteMessageBuilder::<Ipv6Addr>::new().build())?;
    let removal = |message| {
        Change::new("remove an IPv6 route", RouteNetlinkMessage::DelRoute(message), 0)
            .fine(&[libc::ESRCH])
    };
    wire.changes(six.into_iter().map(removal).collect())
}
