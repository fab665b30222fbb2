//! Who an address belongs to, whose network namespaces are ours, and what belongs to the cluster.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use beeline_abi::{
    Addr, Endpoint, Identity, NETNS_HOST, NODE_ADDRESS_LOOPBACK, NODE_ADDRESS_PORTS, NetnsOwner,
    RANGE_CLUSTER, RANGE_LOCAL_PODS, RangeKey,
};
use beeline_tables::{NodeName, Snapshot};

use crate::{Attached, Facts, ports::wide};

/// All that says who somebody is.
pub(crate) struct Places<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) facts: &'a Facts,
    /// Nodes by address.
    pub(crate) nodes_at: &'a BTreeMap<IpAddr, NodeName>,
}

/// Nodes by the addresses at which they are reached.
pub(crate) fn nodes_at(snapshot: &Snapshot) -> BTreeMap<IpAddr, NodeName> {
    let nodes = snapshot.nodes.values();
    nodes
        .flat_map(|node| node.internal_ips.iter().map(|address| (*address, node.node.clone())))
        .collect()
}

impl Places<'_> {
    /// The entry of an address, or `None` when nobody in the cluster has it.
    /// A pod attached here wins over what the tables still say of an earlier owner.
    pub(crate) fn endpoint(&self, address: IpAddr) -> Option<Endpoint> {
        if let Some(attached) = self.facts.attached.get(&address) {
            return Some(Endpoint {
                identity: self.identity_of_attached(address, attached),
                ifindex: attached.ifindex,
                endpoint_id: attached.endpoint_id(),
                pod_mac: attached.pod_mac,
                host_mac: attached.host_mac,
                ..Endpoint::default()
            });
        }
        let identity = self.named(address)?;
        Some(Endpoint { identity, ..Endpoint::default() })
    }

    /// The identity behind an address; the world where nobody is named.
    pub(crate) fn identity(&self, address: IpAddr) -> Identity {
        self.endpoint(address).map_or(Identity::WORLD, |endpoint| endpoint.identity)
    }

    /// The owner of a network namespace, or `None` for a stranger's.
    pub(crate) fn owner(&self, cookie: u64) -> Option<NetnsOwner> {
        if self.facts.host_netns == Some(cookie) {
            return Some(self.host());
        }
        let attached = self.facts.attached.iter();
        let mut here = attached.filter(|(_, it)| it.netns_cookie == cookie).peekable();
        let (address, attached) = here.peek()?;
        let mut owner = NetnsOwner {
            identity: self.identity_of_attached(**address, attached),
            endpoint_id: attached.endpoint_id(),
            ..NetnsOwner::default()
        };
        for (address, _) in here {
            match address {
                IpAddr::V4(_) => owner.addr = (*address).into(),
                IpAddr::V6(_) => owner.addr6 = (*address).into(),
            }
        }
        Some(owner)
    }

    /// What belongs to the cluster: its nodes, their pods, and what this node was told.
    pub(crate) fn ranges(&self) -> BTreeMap<RangeKey, u32> {
        let mut ranges = BTreeMap::new();
        let mut add = |(bits, addr): (u32, Addr), flags: u32| {
            *ranges.entry(RangeKey { bits, addr }).or_default() |= flags | RANGE_CLUSTER;
        };
        for range in &self.facts.cluster_ranges {
            add(wide(range.network(), range.prefix_len()), 0);
        }
        for address in &self.facts.host_addresses {
            add(wide(*address, if address.is_ipv4() { 32 } else { 128 }), 0);
        }
        for node in self.snapshot.nodes.values() {
            let local = if node.node == self.facts.node { RANGE_LOCAL_PODS } else { 0 };
            for range in &node.pod_cidrs {
                add(wide(range.network(), range.prefix_len()), local);
            }
            for address in &node.internal_ips {
                add(wide(*address, if address.is_ipv4() { 32 } else { 128 }), 0);
            }
        }
        ranges
    }

    /// This node's own addresses, and where node ports answer.
    pub(crate) fn node_addresses(&self) -> BTreeMap<Addr, u32> {
        let facts = self.facts;
        let mut all: BTreeMap<Addr, u32> = BTreeMap::new();
        for address in &facts.host_addresses {
            all.insert((*address).into(), 0);
        }
        for address in &facts.node_port_addresses {
            all.insert((*address).into(), NODE_ADDRESS_PORTS);
        }
        if facts.loopback_node_ports {
            let flags = NODE_ADDRESS_PORTS | NODE_ADDRESS_LOOPBACK;
            all.insert(Ipv4Addr::LOCALHOST.into(), flags);
            all.insert(Ipv6Addr::LOCALHOST.into(), flags);
        }
        all
    }

    fn named(&self, address: IpAddr) -> Option<Identity> {
        if self.facts.host_addresses.contains(&address) {
            return Some(Identity::HOST);
        }
        if let Some(endpoint) = self.snapshot.endpoints_at.get(&address) {
            return Some(Identity(endpoint.identity.0));
        }
        let node = self.nodes_at.get(&address)?;
        Some(if *node == self.facts.node { Identity::HOST } else { Identity::REMOTE_NODE })
    }

    fn identity_of_attached(&self, address: IpAddr, attached: &Attached) -> Identity {
        let same_pod = |uid: &str| attached.uid.as_deref().is_none_or(|mine| mine == uid);
        match self.snapshot.endpoints_at.get(&address) {
            Some(endpoint) if same_pod(&endpoint.uid) => Identity(endpoint.identity.0),
            _ => attached.identity,
        }
    }

    fn host(&self) -> NetnsOwner {
        NetnsOwner {
            identity: Identity::HOST,
            flags: NETNS_HOST,
            addr: self.own(true).map_or(Addr::NONE, Addr::from),
            addr6: self.own(false).map_or(Addr::NONE, Addr::from),
            ..NetnsOwner::default()
        }
    }

    /// The node's address of one family: what the cluster was told, else the first that it has.
    pub(crate) fn own(&self, ipv4: bool) -> Option<IpAddr> {
        let told = self.snapshot.nodes.get(&self.facts.node);
        let told = told.and_then(|node| node.internal_ips.iter().find(|it| it.is_ipv4() == ipv4));
        let found = self.facts.host_addresses.iter().find(|it| it.is_ipv4() == ipv4);
        told.or(found).copied()
    }
}
