//! What this node knows by itself, beside what control tells it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use beeline_abi::{Endpoint, EndpointId, Identity, NETNS_HOST, NetnsOwner};
use beeline_tables::NodeName;
use ipnet::IpNet;

use crate::Entries;

/// The node's own facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its name.
    pub node: NodeName,
    /// Its own addresses.
    pub host_addresses: BTreeSet<IpAddr>,
    /// Those of them at which node ports answer.
    pub node_port_addresses: BTreeSet<IpAddr>,
    /// Whether node ports answer at the loopback addresses too, for callers on the node.
    pub loopback_node_ports: bool,
    /// What belongs to the cluster beside what its nodes say: reached without masquerade.
    pub cluster_ranges: BTreeSet<IpNet>,
    /// Cookie of its own network namespace: sockets there are translated too.
    pub host_netns: Option<u64>,
    /// Pods whose links carry our programs, by each of their addresses.
    pub attached: BTreeMap<IpAddr, Attached>,
}

/// A pod that runs here and whose link carries our programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attached {
    /// The pod's unique id. `None` for one found in adopted maps that nobody has attached again yet.
    pub uid: Option<Arc<str>>,
    /// Host-side link.
    pub ifindex: u32,
    /// Cookie of the pod's network namespace.
    pub netns_cookie: u64,
    /// Hardware address of the pod's link.
    pub pod_mac: [u8; 6],
    /// Hardware address of the host-side link.
    pub host_mac: [u8; 6],
    /// Who it is until the tables name its address.
    pub identity: Identity,
}

impl Attached {
    /// A sandbox is known by its host-side link: unique in the node's namespace, stable while the sandbox lives.
    pub fn endpoint_id(&self) -> EndpointId {
        EndpointId(self.ifindex)
    }
}

impl Facts {
    /// The pods that adopted maps say are attached. Kept until their owner attaches them again or lets them go, so that
    /// a restart takes no pod out of the maps, not even for a moment.
    pub fn attached_in(entries: &Entries) -> BTreeMap<IpAddr, Attached> {
        let local = |owner: &NetnsOwner| owner.flags & NETNS_HOST == 0;
        let owners = entries.netns.iter().filter(|(_, owner)| local(owner));
        owners
            .flat_map(|(cookie, owner)| [owner.addr, owner.addr6].map(|addr| (cookie, owner, addr)))
            .filter_map(|(cookie, owner, addr)| {
                let endpoint = entries.endpoints.get(&addr)?;
                Some((addr.into(), found(*cookie, owner, endpoint)))
            })
            .collect()
    }
}

fn found(netns_cookie: u64, owner: &NetnsOwner, endpoint: &Endpoint) -> Attached {
    Attached {
        uid: None,
        ifindex: endpoint.ifindex,
        netns_cookie,
        pod_mac: endpoint.pod_mac,
        host_mac: endpoint.host_mac,
        identity: owner.identity,
    }
}
