//! The veth pair of a pod: made in one request with the inner end already in the pod's namespace.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::IpNet;
use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressHeaderFlags, AddressMessage},
    link::{InfoData, InfoVeth, LinkAttribute, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope},
};
use rtnetlink::{AddressMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{Gateways, OwnedLink, PodLink, host, routes};
use crate::{
    AddressPair, Mac, NetError, POD_GATEWAY, POD_GATEWAY_V6,
    names::{self, End},
    sysctl::{self, Family},
    wire::{Change, Wire},
};

/// What pods call their interface.
const POD_LINK: &str = "eth0";
/// Without an uplink to learn from.
const MTU_DEFAULT_BYTES: u32 = 1500;
/// `IN6_ADDR_GEN_MODE_NONE`: the kernel gives a link no address by itself.
const ADDRESSES_BY_HAND: &str = "1";

/// Everything about a pod's link that is decided before the kernel is asked.
pub(super) struct Plan {
    name: String,
    alias: String,
    netns_pid: u32,
    addresses: AddressPair,
    /// The host's own source addresses towards the pod.
    sources: Gateways,
    host_mac: Mac,
    pod_mac: Mac,
}

impl Plan {
    pub(super) fn new(
        instance: &str,
        pod_uid: &str,
        netns_pid: u32,
        addresses: AddressPair,
        sources: Gateways,
    ) -> Self {
        Self {
            name: names::link_name(instance, pod_uid),
            alias: names::link_alias(instance, pod_uid),
            netns_pid,
            addresses,
            sources,
            host_mac: names::mac(instance, pod_uid, End::Host),
            pod_mac: names::mac(instance, pod_uid, End::Pod),
        }
    }

    pub(super) fn create(&self) -> Result<PodLink, NetError> {
        let wire = Wire::open()?;
        let mtu_bytes = host::uplink()?.map_or(MTU_DEFAULT_BYTES, |uplink| uplink.mtu_bytes);
        match wire.change(self.add(mtu_bytes)) {
            Err(error) if error.errno() == Some(libc::EEXIST) => {
                tracing::debug!(link = self.name, "replacing a link from before");
                delete_with(&wire, &self.name)?;
                wire.change(self.add(mtu_bytes))?;
            }
            other => other?,
        }
        let made = self.host_end(&wire).and_then(|host_ifindex| {
            self.pod_end()?;
            Ok(self.link(host_ifindex))
        });
        if made.is_err()
            && let Err(error) = delete_with(&wire, &self.name)
        {
            tracing::warn!(link = self.name, %error, "a half-made link stays until the next start");
        }
        made
    }

    pub(super) fn adopt(&self) -> Result<Option<PodLink>, NetError> {
        let wire = Wire::open()?;
        if find(&wire, &self.name)?.is_none() {
            return Ok(None);
        }
        // The kernel takes a while to remove the link of a sandbox that died: what is found here may be that one.
        match self.pod_end() {
            Err(NetError::NoLink { .. }) => return Ok(None),
            other => other?,
        }
        let host_ifindex = self.host_end(&wire)?;
        Ok(Some(self.link(host_ifindex)))
    }

    fn link(&self, host_ifindex: u32) -> PodLink {
        PodLink {
            name: self.name.clone(),
            host_ifindex,
            host_mac: self.host_mac,
            pod_mac: self.pod_mac,
        }
    }

    fn attempt(&self, what: &str) -> String {
        format!("{what} pod link {} ({})", self.name, self.addresses)
    }

    fn add(&self, mtu_bytes: u32) -> Change {
        let peer = LinkUnspec::new_with_name(POD_LINK)
            .address(self.pod_mac.0.to_vec())
            .mtu(mtu_bytes)
            .setns_by_pid(self.netns_pid)
            .build();
        let message = LinkVeth::new(&self.name, POD_LINK)
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)))
            .address(self.host_mac.0.to_vec())
            .mtu(mtu_bytes)
            .build();
        let attempt =
            format!("{} in the namespace of process {}", self.attempt("create"), self.netns_pid);
        Change::new(attempt, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Bring up the end on the host, with a neighbour and a route for each address.
    fn host_end(&self, wire: &Wire) -> Result<u32, NetError> {
        let name = &self.name;
        let ifindex = find(wire, name)?.ok_or_else(|| NetError::NoLink {
            attempt: self.attempt("set up"),
            link: name.clone(),
        })?;
        self.quiet_ipv6(name)?;
        sysctl::set(Family::V6, name, "accept_ra", "0")?;
        if self.addresses.v6.is_some() {
            sysctl::forward(Family::V6, name)?;
        }
        sysctl::forward(Family::V4, name)?;
        sysctl::set(Family::V4, name, "rp_filter", "0")?;
        sysctl::set(Family::V4, name, "proxy_arp", "0")?;
        let up = LinkUnspec::new_with_index(ifindex).up().build();
        let mut alias = LinkMessage::default();
        alias.header.index = ifindex;
        alias.attributes.push(LinkAttribute::IfAlias(self.alias.clone()));
        let mut changes = vec![
            Change::new(self.attempt("mark"), RouteNetlinkMessage::SetLink(alias), 0),
            Change::new(self.attempt("bring up"), RouteNetlinkMessage::SetLink(up), 0),
        ];
        for address in self.addresses.all() {
            changes.extend([
                self.neighbour("set the neighbour of", ifindex, address, self.pod_mac),
                Change::new(
                    self.attempt("route to"),
                    RouteNetlinkMessage::NewRoute(self.host_route(ifindex, address)),
                    NLM_F_CREATE | NLM_F_REPLACE,
                ),
            ]);
        }
        wire.changes(changes)?;
        Ok(ifindex)
    }

    fn host_route(&self, ifindex: u32, address: IpAddr) -> RouteMessage {
        let mut route = routes::towards(IpNet::from(address));
        route.attributes.push(RouteAttribute::Oif(ifindex));
        let source = match address {
            IpAddr::V4(_) => {
                route.header.scope = RouteScope::Link;
                self.sources.v4.map(IpAddr::V4)
            }
            IpAddr::V6(_) => self.sources.v6.map(IpAddr::V6),
        };
        route.attributes.extend(source.map(|source| RouteAttribute::PrefSource(source.into())));
        route
    }

    /// Of IPv6 only what the pod has an address for: neighbours are fixed, so that neither end needs a link-local address,
    /// and nobody asks for routers or whether an address is taken.
    fn quiet_ipv6(&self, link: &str) -> Result<(), NetError> {
        if self.addresses.v6.is_none() {
            return sysctl::set(Family::V6, link, "disable_ipv6", "1");
        }
        sysctl::set(Family::V6, link, "accept_ra", "0")?;
        sysctl::set(Family::V6, link, "addr_gen_mode", ADDRESSES_BY_HAND)?;
        sysctl::set(Family::V6, link, "disable_ipv6", "0")
    }

    fn neighbour(&self, what: &str, ifindex: u32, address: IpAddr, mac: Mac) -> Change {
        let message = RouteNetlinkMessage::NewNeighbour(neighbour(ifindex, address, mac));
        Change::new(self.attempt(what), message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Configure the end in the pod, from within.
    fn pod_end(&self) -> Result<(), NetError> {
        let netns = beeline_sys::netns::path_of_pid(self.netns_pid);
        let mut outcome = Ok(());
        beeline_sys::netns::inside(&netns, || {
            outcome = self.pod_end_inside();
            Ok(())
        })?;
        outcome
    }

    fn pod_end_inside(&self) -> Result<(), NetError> {
        let wire = Wire::open()?;
        let link = || format!("{POD_LINK} of {}", self.name);
        let ifindex = find(&wire, POD_LINK)?
            .ok_or_else(|| NetError::NoLink { attempt: self.attempt("set up"), link: link() })?;
        self.quiet_ipv6(POD_LINK)?;
        let up = LinkUnspec::new_with_index(ifindex).up().build();
        let lo = LinkUnspec::new_with_index(LOOPBACK_INDEX).up().build();
        let mut changes = vec![
            Change::new(self.attempt("bring up lo behind"), RouteNetlinkMessage::SetLink(lo), 0),
            Change::new(self.attempt("bring up eth0 behind"), RouteNetlinkMessage::SetLink(up), 0),
        ];
        for address in self.addresses.all() {
            changes.extend(self.pod_address(ifindex, address));
        }
        wire.changes(changes)
    }

    /// An address of the pod, and its way out.
    fn pod_address(&self, ifindex: u32, address: IpAddr) -> [Change; 3] {
        let gateway = match address {
            IpAddr::V4(_) => IpAddr::V4(POD_GATEWAY),
            IpAddr::V6(_) => IpAddr::V6(POD_GATEWAY_V6),
        };
        let replace = NLM_F_CREATE | NLM_F_REPLACE;
        [
            Change::new(
                self.attempt("give an address to eth0 behind"),
                RouteNetlinkMessage::NewAddress(address_of(ifindex, address)),
                replace,
            ),
            self.neighbour("set the gateway's neighbour behind", ifindex, gateway, self.host_mac),
            Change::new(
                self.attempt("set the default route behind"),
                RouteNetlinkMessage::NewRoute(default_route(ifindex, gateway)),
                replace,
            ),
        ]
    }
}

fn address_of(ifindex: u32, address: IpAddr) -> AddressMessage {
    match address {
        IpAddr::V4(address) => {
            AddressMessageBuilder::<Ipv4Addr>::new().index(ifindex).address(address, 32).build()
        }
        IpAddr::V6(address) => {
            let mut message = AddressMessageBuilder::<Ipv6Addr>::new()
                .index(ifindex)
                .address(address, 128)
                .build();
            // The node gives each address once: without the check it can be used at once.
            message.header.flags = AddressHeaderFlags::Nodad;
            message
        }
    }
}

fn default_route(ifindex: u32, gateway: IpAddr) -> RouteMessage {
    let mut route = match gateway {
        IpAddr::V4(_) => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        IpAddr::V6(_) => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    };
    route.header.protocol = RouteProtocol::Boot;
    route.header.flags = RouteFlags::Onlink;
    route
        .attributes
        .extend([RouteAttribute::Gateway(gateway.into()), RouteAttribute::Oif(ifindex)]);
    route
}

/// `lo` is the first interface of every namespace.
pub(super) const LOOPBACK_INDEX: u32 = 1;

/// Remove a link; fine if there is none.
pub(super) fn delete(name: &str) -> Result<(), NetError> {
    delete_with(&Wire::open()?, name)
}

fn delete_with(wire: &Wire, name: &str) -> Result<(), NetError> {
    let message = LinkUnspec::new_with_name(name).build();
    let change =
        Change::new(format!("delete pod link {name}"), RouteNetlinkMessage::DelLink(message), 0);
    wire.change(change.fine(&[libc::ENODEV]))
}

/// The index of a link.
pub(super) fn find(wire: &Wire, name: &str) -> Result<Option<u32>, NetError> {
    let message = LinkUnspec::new_with_name(name).build();
    let found = wire.get(&format!("look up link {name}"), RouteNetlinkMessage::GetLink(message))?;
    Ok(found.and_then(|message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
        _ => None,
    }))
}

/// The links that carry the mark of an instance, with the addresses routed to them.
pub(super) fn owned(instance: &str) -> Result<Vec<OwnedLink>, NetError> {
    let wire = Wire::open()?;
    let mut four: BTreeMap<u32, Ipv4Addr> = BTreeMap::new();
    let mut six: BTreeMap<u32, Ipv6Addr> = BTreeMap::new();
    for route in routes::list(&wire)? {
        match (route.oif, route.pod_address()) {
            (Some(ifindex), Some(IpAddr::V4(address))) => drop(four.insert(ifindex, address)),
            (Some(ifindex), Some(IpAddr::V6(address))) => drop(six.insert(ifindex, address)),
            _ => {}
        }
    }
    let prefix = names::link_prefix(instance);
    let marked = format!("beeline/{instance}/");
    let links = host::links(&wire)?;
    Ok(links
        .into_iter()
        .filter(|link| names::is_pod_link(&link.name) && link.name.starts_with(&prefix))
        .filter(|link| link.alias.as_ref().is_none_or(|alias| alias.starts_with(&marked)))
        .map(|link| OwnedLink {
            addresses: four
                .get(&link.ifindex)
                .map(|v4| AddressPair { v4: *v4, v6: six.get(&link.ifindex).copied() }),
            pod_uid: link.alias.and_then(|alias| alias.strip_prefix(&marked).map(str::to_owned)),
            name: link.name,
            ifindex: link.ifindex,
        })
        .collect())
}

fn neighbour(ifindex: u32, address: IpAddr, mac: Mac) -> NeighbourMessage {
    let (family, address) = match address {
        IpAddr::V4(address) => (AddressFamily::Inet, NeighbourAddress::Inet(address)),
        IpAddr::V6(address) => (AddressFamily::Inet6, NeighbourAddress::Inet6(address)),
    };
    let mut message = NeighbourMessage::default();
    message.header.family = family;
    message.header.ifindex = ifindex;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(address),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    message
}
