//! Who is where: addresses, network namespaces, and this node's own settings.

use crate::{Be32, EndpointId, Epoch, Identity};

/// Value of `ENDPOINTS`, under an IPv4 address ([`Be32`]): every address the node knows by name.
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
    /// The pod's address, or the node's.
    pub addr: Be32,
    /// [`NETNS_HOST`] for the node's own namespace.
    pub flags: u32,
}
layout!(NetnsOwner, size 16, identity @ 0, endpoint_id @ 4, addr @ 8, flags @ 12);

/// Flag of [`NetnsOwner`]: the node's own network namespace, not a pod's.
pub const NETNS_HOST: u32 = 1;

/// The one value of `CONFIG` (index 0).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// [`crate::LAYOUT_VERSION`] of the object that made the maps.
    pub layout_version: u32,
    /// [`CONFIG_LAZY_EVENTS`] or zero.
    pub flags: u32,
    /// What of intent the maps hold.
    pub epoch: Epoch,
}
layout!(Config, size 16, layout_version @ 0, flags @ 4, epoch @ 8);

/// Flag of [`Config`]: the reader of `EVENTS`, woken by the first event after it has read all, waits a few ten milliseconds
/// for more before it reads, unless [`crate::limits::EVENTS_WAKE_BYTES`] wake it again. So an idle reader sleeps, and a
/// busy one is seldom woken, which costs a connection more than its record does.
pub const CONFIG_LAZY_EVENTS: u32 = 1;
