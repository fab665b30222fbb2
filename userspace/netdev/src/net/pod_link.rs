//! The veth pair of a pod: made in one request with the inner end already in the pod's namespace.

use std::{collections::BTreeMap, net::Ipv4Addr};

use rtnetlink::packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{InfoData, InfoVeth, LinkAttribute, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteProtocol, RouteScope},
};
use rtnetlink::{AddressMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};

use super::{OwnedLink, PodLink, host, routes};
use crate::{
    Mac, NetError, POD_GATEWAY, ROUTE_PROTOCOL,
    names::{self, End},
    sysctl::{self, Family},
    wire::{Change, Wire},
};

/// What pods call their interface.
const POD_LINK: &str = "eth0";
/// Without an uplink to learn from.
const MTU_DEFAULT_BYTES: u32 = 1500;

/// Everything about a pod's link that is decided before the kernel is asked.
pub(super) struct Plan {
    name: String,
    alias: String,
    netns_pid: u32,
    address: Ipv4Addr,
    /// The host's own source address towards the pod.
    source: Option<Ipv4Addr>,
    host_mac: Mac,
    pod_mac: Mac,
}

impl Plan {
    pub(super) fn new(
        instance: &str,
        pod_uid: &str,
        netns_pid: u32,
        address: Ipv4Addr,
        source: Option<Ipv4Addr>,
    ) -> Self {
        Self {
            name: names::link_name(instance, pod_uid),
            alias: names::link_alias(instance, pod_uid),
            netns_pid,
            address,
            source,
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
        format!("{what} pod link {} ({})", self.name, self.address)
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

    /// Bring up the end on the host, quietly: without IPv6 there are no router solicitations on it.
    fn host_end(&self, wire: &Wire) -> Result<u32, NetError> {
        let name = &self.name;
        let ifindex = find(wire, name)?.ok_or_else(|| NetError::NoLink {
            attempt: self.attempt("set up"),
            link: name.clone(),
        })?;
        sysctl::set(Family::V6, name, "disable_ipv6", "1")?;
        sysctl::set(Family::V6, name, "accept_ra", "0")?;
        sysctl::set(Family::V4, name, "forwarding", "1")?;
        sysctl::set(Family::V4, name, "rp_filter", "0")?;
        sysctl::set(Family::V4, name, "proxy_arp", "0")?;
        let up = LinkUnspec::new_with_index(ifindex).up().build();
        let mut alias = LinkMessage::default();
        alias.header.index = ifindex;
        alias.attributes.push(LinkAttribute::IfAlias(self.alias.clone()));
        let mut route = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(self.address, 32)
            .output_interface(ifindex)
            .scope(RouteScope::Link)
            .protocol(RouteProtocol::Other(ROUTE_PROTOCOL));
        if let Some(source) = self.source {
            route = route.pref_source(source);
        }
        let replace = NLM_F_CREATE | NLM_F_REPLACE;
        wire.changes(vec![
            Change::new(self.attempt("mark"), RouteNetlinkMessage::SetLink(alias), 0),
            Change::new(self.attempt("bring up"), RouteNetlinkMessage::SetLink(up), 0),
            Change::new(
                self.attempt("set the neighbour of"),
                RouteNetlinkMessage::NewNeighbour(neighbour(ifindex, self.address, self.pod_mac)),
                replace,
            ),
            Change::new(
                self.attempt("route to"),
                RouteNetlinkMessage::NewRoute(route.build()),
                replace,
            ),
        ])?;
        Ok(ifindex)
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
        sysctl::set(Family::V6, POD_LINK, "disable_ipv6", "1")?;
        let up = LinkUnspec::new_with_index(ifindex).up().build();
        let lo = LinkUnspec::new_with_index(LOOPBACK_INDEX).up().build();
        let address = AddressMessageBuilder::<Ipv4Addr>::new()
            .index(ifindex)
            .address(self.address, 32)
            .build();
        let route = RouteMessageBuilder::<Ipv4Addr>::new()
            .gateway(POD_GATEWAY)
            .output_interface(ifindex)
            .onlink()
            .protocol(RouteProtocol::Boot)
            .build();
        let replace = NLM_F_CREATE | NLM_F_REPLACE;
        wire.changes(vec![
            Change::new(self.attempt("bring up lo behind"), RouteNetlinkMessage::SetLink(lo), 0),
            Change::new(self.attempt("bring up eth0 behind"), RouteNetlinkMessage::SetLink(up), 0),
            Change::new(
                self.attempt("give an address to eth0 behind"),
                RouteNetlinkMessage::NewAddress(address),
                replace,
            ),
            Change::new(
                self.attempt("set the gateway's neighbour behind"),
                RouteNetlinkMessage::NewNeighbour(neighbour(ifindex, POD_GATEWAY, self.host_mac)),
                replace,
            ),
            Change::new(
                self.attempt("set the default route behind"),
                RouteNetlinkMessage::NewRoute(route),
                replace,
            ),
        ])
    }
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
    let addresses: BTreeMap<u32, Ipv4Addr> = routes::list(&wire)?
        .into_iter()
        .filter(|route| route.destination.prefix_len() == 32 && route.gateway.is_none())
        .filter_map(|route| Some((route.oif?, route.destination.addr())))
        .collect();
    let prefix = names::link_prefix(instance);
    let marked = format!("beeline/{instance}/");
    let links = host::links(&wire)?;
    Ok(links
        .into_iter()
        .filter(|link| names::is_pod_link(&link.name) && link.name.starts_with(&prefix))
        .filter(|link| link.alias.as_ref().is_none_or(|alias| alias.starts_with(&marked)))
        .map(|link| OwnedLink {
            address: addresses.get(&link.ifindex).copied(),
            pod_uid: link.alias.and_then(|alias| alias.strip_prefix(&marked).map(str::to_owned)),
            name: link.name,
            ifindex: link.ifindex,
        })
        .collect())
}

fn neighbour(ifindex: u32, address: Ipv4Addr, mac: Mac) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = ifindex;
    message.header.state = NeighbourState::Permanent;
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet(address)),
        NeighbourAttribute::LinkLayerAddress(mac.0.to_vec()),
    ];
    message
}
