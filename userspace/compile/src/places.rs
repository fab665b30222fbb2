//! Who an address belongs to, and whose network namespaces are ours.

use std::{collections::BTreeMap, net::Ipv4Addr};

use beeline_abi::{Endpoint, Identity, NETNS_HOST, NetnsOwner};
use beeline_tables::{NodeName, Snapshot};

use crate::{Attached, Facts};

/// All that says who somebody is.
pub(crate) struct Places<'a> {
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) facts: &'a Facts,
    /// Nodes by address.
    pub(crate) nodes_at: &'a BTreeMap<Ipv4Addr, NodeName>,
}

/// Nodes by the address at which they are reached.
pub(crate) fn nodes_at(snapshot: &Snapshot) -> BTreeMap<Ipv4Addr, NodeName> {
    snapshot.nodes.values().map(|node| (node.internal_ip, node.node.clone())).collect()
}

impl Places<'_> {
    /// The entry of an address, or `None` when nobody in the cluster has it.
    /// A pod attached here wins over what the tables still say of an earlier owner.
    pub(crate) fn endpoint(&self, address: Ipv4Addr) -> Option<Endpoint> {
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
    pub(crate) fn identity(&self, address: Ipv4Addr) -> Identity {
        self.endpoint(address).map_or(Identity::WORLD, |endpoint| endpoint.identity)
    }

    /// The owner of a network namespace, or `None` for a stranger's.
    pub(crate) fn owner(&self, cookie: u64) -> Option<NetnsOwner> {
        if self.facts.host_netns == Some(cookie) {
            return Some(self.host());
        }
        let (address, attached) =
            self.facts.attached.iter().find(|(_, attached)| attached.netns_cookie == cookie)?;
        Some(NetnsOwner {
            identity: self.identity_of_attached(*address, attached),
            endpoint_id: attached.endpoint_id(),
            addr: (*address).into(),
            flags: 0,
        })
    }

    fn named(&self, address: Ipv4Addr) -> Option<Identity> {
        if self.facts.host_addresses.contains(&address) {
            return Some(Identity::HOST);
        }
        if let Some(endpoint) = self.snapshot.endpoints_at.get(&address) {
            return Some(Identity(endpoint.identity.0));
        }
        let node = self.nodes_at.get(&address)?;
        Some(if *node == self.facts.node { Identity::HOST } else { Identity::REMOTE_NODE })
    }

    fn identity_of_attached(&self, address: Ipv4Addr, attached: &Attached) -> Identity {
        let same_pod = |uid: &str| attached.uid.as_deref().is_none_or(|mine| mine == uid);
        match self.snapshot.endpoints_at.get(&address) {
            Some(endpoint) if same_pod(&endpoint.uid) => Identity(endpoint.identity.0),
            _ => attached.identity,
        }
    }

    fn host(&self) -> NetnsOwner {
        let told = self.snapshot.nodes.get(&self.facts.node).map(|node| node.internal_ip);
        let address = told.or_else(|| self.facts.host_addresses.first().copied());
        NetnsOwner {
            identity: Identity::HOST,
            addr: address.unwrap_or(Ipv4Addr::UNSPECIFIED).into(),
            flags: NETNS_HOST,
            ..NetnsOwner::default()
        }
    }
}
