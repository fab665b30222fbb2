//! Who is where: addresses, network namespaces, and this node's own settings.

use crate::{Addr, Be16, EndpointId, Epoch, Identity};

/// Value of `ENDPOINTS`, under an address ([`Addr`]): every address the node knows by name.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Who it is.
    pub identity: Identity,
    /// Host-side link of a pod on this node; zero for everybody else (other nodes' pods, this node's own address).
    pub ifindex: u32,
    /// Local pod; zero when not local.
    pub endpoint_id: EndpointId,
    /// Zero; reserved for "policy selects this endpoint".
    pub flags: u32,
    /// Hardware address of the pod's own link; zero when not local.
    pub pod_mac: [u8; 6],
    /// Hardware address of the host-side link; zero when not local.
    pub host_mac: [u8; 6],
    /// Zero.
    pub pad: u32,
}
layout!(Endpoint, size 32, identity @ 0, ifindex @ 4, endpoint_id @ 8, flags @ 12, pod_mac @ 16, host_mac @ 22, pad @ 28);

/// Value of `NETNS`, under a network namespace cookie (u64): callers that are ours. Everybody else passes untouched.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NetnsOwner {
    /// Who lives there; [`Identity::HOST`] for the node itself.
    pub identity: Identity,
    /// The pod; zero for the node.
    pub endpoint_id: EndpointId,
    /// [`NETNS_HOST`] for the node's own namespace.
    pub flags: u32,
    /// The pod's IPv4 address, or the node's; [`Addr::NONE`] without one.
    pub addr: Addr,
    /// The pod's IPv6 address, or the node's; [`Addr::NONE`] without one.
    pub addr6: Addr,
}
layout!(NetnsOwner, size 44, identity @ 0, endpoint_id @ 4, flags @ 8, addr @ 12, addr6 @ 28);

impl NetnsOwner {
    /// The owner's address of the same family as `other`.
    #[inline(always)]
    pub const fn addr_like(&self, other: Addr) -> Addr {
        if other.is_v4() { self.addr } else { self.addr6 }
    }
}

/// Flag of [`NetnsOwner`]: the node's own network namespace, not a pod's.
pub const NETNS_HOST: u32 = 1;

/// The one value of `CONFIG` (index 0).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// [`crate::LAYOUT_VERSION`] of the object that made the maps.
    pub layout_version: u32,
    /// `CONFIG_*` flags.
    pub flags: u32,
    /// What of intent the maps hold.
    pub epoch: Epoch,
    /// This node's IPv4 address, under which it sends for others; [`Addr::NONE`] without one.
    pub node_addr: Addr,
    /// The same for IPv6.
    pub node_addr6: Addr,
    /// Source ports for callers and pods that take this node's address: outside the range from which the kernel takes its own.
    pub snat_port_first: Be16,
    /// The last of them.
    pub snat_port_last: Be16,
    /// Where node ports begin.
    pub node_port_first: Be16,
    /// The last node port.
    pub node_port_last: Be16,
}
layout!(Config, size 56, layout_version @ 0, flags @ 4, epoch @ 8, node_addr @ 16, node_addr6 @ 32, snat_port_first @ 48,
    snat_port_last @ 50, node_port_first @ 52, node_port_last @ 54);

/// Flag of [`Config`]: the reader of `EVENTS`, woken by the first event after it has read all, waits a few ten milliseconds
/// for more before it reads, unless [`crate::limits::EVENTS_WAKE_BYTES`] wake it again. So an idle reader sleeps, and a
/// busy one is seldom woken, which costs a connection more than its record does.
pub const CONFIG_LAZY_EVENTS: u32 = 1;
/// Flag of [`Config`]: every caller below the cgroup is ours, whatever its network namespace. For nodes whose pods others make.
pub const CONFIG_EVERY_CALLER: u32 = 2;
/// Flag of [`Config`]: packets to backends elsewhere keep their source; the backend's node answers (`--lb-mode dsr`).
pub const CONFIG_DSR: u32 = 4;
/// Flag of [`Config`]: pods of this node that leave the cluster take the node's address.
pub const CONFIG_MASQUERADE: u32 = 8;
/// Flag of [`Config`]: flows are not recorded, and translated connections not told; drops and refusals are.
pub const CONFIG_NO_FLOW_RECORDS: u32 = 64;
/// Flag of [`Config`]: pods took ports of this node, so that any port may be one.
pub const CONFIG_HOST_PORTS: u32 = 32;
