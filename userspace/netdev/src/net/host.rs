//! The node's own links and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteType},
};

use super::{HostAddress, Uplink, gateway};
use crate::{NetError, names, wire::Wire};

/// What this crate needs to know of an interface.
#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) ifindex: u32,
    pub(super) name: String,
    pub(super) alias: Option<String>,
    pub(super) loopback: bool,
    up: bool,
    mtu_bytes: u32,
}

pub(super) fn links(wire: &Wire) -> Result<Vec<Link>, NetError> {
    let found = wire.dump("list links", RouteNetlinkMessage::GetLink(LinkMessage::default()))?;
    Ok(found
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewLink(link) => Some(parse_link(link)),
            _ => None,
        })
        .collect())
}

fn parse_link(message: LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        ifindex: message.header.index,
        name: String::new(),
        alias: None,
        loopback: flags.contains(LinkFlags::Loopback),
        up: flags.contains(LinkFlags::Up),
        mtu_bytes: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::IfAlias(alias) if !alias.is_empty() => link.alias = Some(alias),
            LinkAttribute::Mtu(mtu_bytes) => link.mtu_bytes = mtu_bytes,
            _ => {}
        }
    }
    link
}

pub(super) fn addresses() -> Result<Vec<HostAddress>, NetError> {
    let wire = Wire::open()?;
    Ok(address_messages(&wire)?.iter().filter_map(parse_address).collect())
}

fn address_messages(wire: &Wire) -> Result<Vec<AddressMessage>, NetError> {
    messages(wire, AddressFamily::Inet)
}

/// The addresses of one family, as the kernel tells them.
pub(super) fn messages(
    wire: &Wire,
    family: AddressFamily,
) -> Result<Vec<AddressMessage>, NetError> {
    let mut question = AddressMessage::default();
    question.header.family = family;
    let found = wire.dump("list addresses", RouteNetlinkMessage::GetAddress(question))?;
    Ok(found
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewAddress(address) => Some(address),
            _ => None,
        })
        .collect())
}

pub(super) fn parse_address(message: &AddressMessage) -> Option<HostAddress> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(IpAddr::V4(address)) => Some(*address),
        _ => None,
    });
    let address = local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V4(address)) => Some(*address),
            _ => None,
        })
    })?;
    let ours = gateway::is_gateway(message);
    Some(HostAddress {
        ifindex: message.header.index,
        address,
        prefix_len: message.header.prefix_len,
        internal: ours || address.is_loopback() || message.header.scope == AddressScope::Host,
    })
}

/// Neither loopback nor of one link only; IPv6 addresses that still wait for their check count, as they soon will be usable.
pub(super) fn outside_ips() -> Result<Vec<IpAddr>, NetError> {
    let wire = Wire::open()?;
    let mut found: Vec<IpAddr> =
        outside_addresses(&wire)?.iter().map(|found| found.address.into()).collect();
    let six = messages(&wire, AddressFamily::Inet6)?;
    found.extend(six.iter().filter_map(parse_outside_ipv6).map(IpAddr::V6));
    Ok(found)
}

fn parse_outside_ipv6(message: &AddressMessage) -> Option<Ipv6Addr> {
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(IpAddr::V6(address)) => Some(*address),
        _ => None,
    })?;
    let outside = message.header.scope == AddressScope::Universe && !address.is_loopback();
    (outside && !gateway::is_gateway(message)).then_some(address)
}

/// Beside the IPv4 address on the same interface, so that both lead the same way. Not one that changes: those for privacy
/// are `Secondary`.
pub(super) fn internal_ipv6(beside: Ipv4Addr) -> Result<Option<Ipv6Addr>, NetError> {
    let wire = Wire::open()?;
    let addresses = outside_addresses(&wire)?;
    let Some(four) = addresses.iter().find(|found| found.address == beside) else {
        return Ok(None);
    };
    let passing = AddressHeaderFlags::Secondary | AddressHeaderFlags::Deprecated;
    let six = messages(&wire, AddressFamily::Inet6)?;
    let mut lasting = six.iter().filter(|message| {
        message.header.index == four.ifindex && !message.header.flags.intersects(passing)
    });
    Ok(lasting.find_map(parse_outside_ipv6))
}

pub(super) fn label(message: &AddressMessage) -> Option<&str> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Label(label) => Some(label.as_str()),
        _ => None,
    })
}

pub(super) fn internal_ip() -> Result<Ipv4Addr, NetError> {
    let uplink = uplink()?.map(|uplink| uplink.ifindex);
    let addresses = outside_addresses(&Wire::open()?)?;
    let on_uplink = addresses.iter().find(|address| Some(address.ifindex) == uplink);
    let chosen = on_uplink.or_else(|| addresses.first());
    Ok(chosen.map_or(Ipv4Addr::LOCALHOST, |chosen| chosen.address))
}

pub(super) fn uplink() -> Result<Option<Uplink>, NetError> {
    let wire = Wire::open()?;
    let by_route = default_route_interface(&wire)?;
    let addresses = outside_addresses(&wire)?;
    let links = links(&wire)?;
    let usable = |index: u32| {
        links.iter().find(|link| {
            link.ifindex == index && link.up && !link.loopback && !names::is_pod_link(&link.name)
        })
    };
    let chosen = by_route
        .into_iter()
        .chain(addresses.iter().map(|address| address.ifindex))
        .find_map(usable);
    Ok(chosen.map(|link| Uplink {
        name: link.name.clone(),
        ifindex: link.ifindex,
        mtu_bytes: link.mtu_bytes,
    }))
}

/// Addresses at which others may reach the node.
fn outside_addresses(wire: &Wire) -> Result<Vec<HostAddress>, NetError> {
    let mut addresses: Vec<_> = address_messages(wire)?.iter().filter_map(parse_address).collect();
    addresses.retain(|address| !address.internal && !address.address.is_link_local());
    Ok(addresses)
}

/// The interface of the best default route in the main table.
fn default_route_interface(wire: &Wire) -> Result<Option<u32>, NetError> {
    let question = RouteMessageBuilder::<Ipv4Addr>::new().build();
    let found = wire.dump("list routes", RouteNetlinkMessage::GetRoute(question))?;
    Ok(found
        .into_iter()
        .filter_map(|message| match message {
            RouteNetlinkMessage::NewRoute(route) if is_default(&route) => Some(route),
            _ => None,
        })
        .filter_map(|route| {
            let metric = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Priority(metric) => Some(*metric),
                _ => None,
            });
            let oif = route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            })?;
            Some((metric.unwrap_or(0), oif))
        })
        .min()
        .map(|(_, oif)| oif))
}

fn is_default(route: &RouteMessage) -> bool {
    route.header.destination_prefix_length == 0
        && route.header.kind == RouteType::Unicast
        && route.header.table == RouteHeader::RT_TABLE_MAIN
        && route.header.address_family == AddressFamily::Inet
}
