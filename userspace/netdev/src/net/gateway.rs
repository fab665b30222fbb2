//! The node's own addresses in its pod ranges, on `lo`: what pods see as the source of what the host sends them.
//!
//! Each carries its instance: an IPv4 address in its label, an IPv6 address in its metric.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
};
use rtnetlink::{AddressMessageBuilder, LinkUnspec};

use super::{host, pod_link::LOOPBACK_INDEX};
use crate::{
    NetError, names,
    sysctl::{self, Family},
    wire::{Change, Wire},
};

/// The label's beginning, whoever's it is.
const LABEL_PREFIX: &str = "lo:bl";

pub(super) fn install(instance: &str, range: Ipv4Net) -> Result<Ipv4Addr, NetError> {
    let wire = Wire::open()?;
    let address = Ipv4Addr::from(u32::from(range.network()).saturating_add(1));
    let stale = owned(&wire, instance, AddressFamily::Inet)?
        .into_iter()
        .filter(|message| host::parse_address(message).is_some_and(|it| it.address != address));
    wire.changes(stale.map(|message| removal(instance, message)).collect())?;
    let mut message =
        AddressMessageBuilder::<Ipv4Addr>::new().index(LOOPBACK_INDEX).address(address, 32).build();
    message.attributes.push(AddressAttribute::Label(names::gateway_label(instance)));
    // Addresses of an interface that is down are not answered; in a new namespace lo is.
    let up = LinkUnspec::new_with_index(LOOPBACK_INDEX).up().build();
    wire.changes(vec![
        Change::new("bring up lo", RouteNetlinkMessage::SetLink(up), 0),
        Change::new(
            format!("give the node its pod address {address} on lo"),
            RouteNetlinkMessage::NewAddress(message),
            NLM_F_CREATE | NLM_F_REPLACE,
        ),
    ])?;
    Ok(address)
}

pub(super) fn install_ipv6(instance: &str, range: Ipv6Net) -> Result<Ipv6Addr, NetError> {
    let wire = Wire::open()?;
    let address = Ipv6Addr::from(u128::from(range.network()).saturating_add(1));
    let here = |message: &AddressMessage| {
        message.attributes.contains(&AddressAttribute::Address(address.into()))
    };
    let stale = owned(&wire, instance, AddressFamily::Inet6)?;
    let stale = stale.into_iter().filter(|message| !here(message));
    wire.changes(stale.map(|message| removal(instance, message)).collect())?;
    sysctl::set(Family::V6, "lo", "disable_ipv6", "0")?;
    let mut message = AddressMessageBuilder::<Ipv6Addr>::new()
        .index(LOOPBACK_INDEX)
        .address(address, 128)
        .build();
    message.header.flags = AddressHeaderFlags::Nodad;
    message.attributes.push(AddressAttribute::RoutePriority(names::gateway_metric(instance)));
    wire.change(Change::new(
        format!("give the node its pod address {address} on lo"),
        RouteNetlinkMessage::NewAddress(message),
        NLM_F_CREATE | NLM_F_REPLACE,
    ))?;
    Ok(address)
}

/// Those of both families.
pub(super) fn remove(instance: &str) -> Result<(), NetError> {
    let wire = Wire::open()?;
    let mut ours = owned(&wire, instance, AddressFamily::Inet)?;
    ours.extend(owned(&wire, instance, AddressFamily::Inet6)?);
    wire.changes(ours.into_iter().map(|message| removal(instance, message)).collect())
}

/// Whether an address is the own one of a node, this one or another in the same namespace.
pub(super) fn is_gateway(message: &AddressMessage) -> bool {
    let labelled = host::label(message).is_some_and(|label| label.starts_with(LABEL_PREFIX));
    labelled || metric(message).is_some_and(names::is_gateway_metric)
}

fn owned(
    wire: &Wire,
    instance: &str,
    family: AddressFamily,
) -> Result<Vec<AddressMessage>, NetError> {
    let (name, number) = (names::gateway_label(instance), names::gateway_metric(instance));
    let mut found = host::messages(wire, family)?;
    found.retain(|message| {
        host::label(message) == Some(name.as_str()) || metric(message) == Some(number)
    });
    Ok(found)
}

fn metric(message: &AddressMessage) -> Option<u32> {
    message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::RoutePriority(metric) => Some(*metric),
        _ => None,
    })
}

fn removal(instance: &str, message: AddressMessage) -> Change {
    Change::new(
        format!("remove the pod address of instance {instance} from lo"),
        RouteNetlinkMessage::DelAddress(message),
        0,
    )
    .fine(&[libc::EADDRNOTAVAIL])
}
