//! Tracking of connections whose packets are rewritten: what comes from outside, and pods that leave the cluster.
//!
//! Both directions of a connection have an entry of their own, under the tuple that their packets carry on arrival, and
//! each says what the packet is to look like afterwards. So one look-up serves any packet, whichever its direction.

use crate::{Addr, BackendId, Be16, FlowId, ServiceId};

/// Value of `CONNTRACK`, under a [`crate::Tuple`] as it lies in the packet. The kernel writes, user space removes what is over.
///
/// With the table's own 48 bytes and the key's 40 an entry takes three whole cache lines.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Track {
    /// Source afterwards.
    pub source_addr: Addr,
    /// Destination afterwards.
    pub dest_addr: Addr,
    /// Source afterwards.
    pub source_port: Be16,
    /// Destination afterwards.
    pub dest_port: Be16,
    /// `TRACK_*` flags.
    pub flags: u16,
    /// Every TCP flag seen in this direction.
    pub tcp_flags: u8,
    /// Zero.
    pub pad: u8,
    /// Where to, if the routing table was asked since `seen_ns` was written: link. Zero: it has to be asked.
    pub ifindex: u32,
    /// Where to: hardware address of the next hop.
    pub next_mac: [u8; 6],
    /// Where to: hardware address of our link.
    pub own_mac: [u8; 6],
    /// Where to: the longest packet, from the IP header on.
    pub mtu_bytes: u32,
    /// Where to: for packets that came in by this link.
    pub from_ifindex: u32,
    /// Last packet, monotonic clock, to about a second.
    pub seen_ns: u64,
    /// Packets of this direction.
    pub packets: u64,
    /// Bytes of this direction, from the IP header on.
    pub bytes: u64,
    /// The connection's number everywhere.
    pub flow_id: FlowId,
    /// The Service port; zero for masquerade.
    pub service_id: ServiceId,
    /// The backend; zero for masquerade.
    pub backend_id: BackendId,
}
layout!(Track, size 104, source_addr @ 0, dest_addr @ 16, source_port @ 32, dest_port @ 34, flags @ 36, tcp_flags @ 38,
    pad @ 39, ifindex @ 40, next_mac @ 44, own_mac @ 50, mtu_bytes @ 56, from_ifindex @ 60, seen_ns @ 64, packets @ 72,
    bytes @ 80, flow_id @ 88, service_id @ 96, backend_id @ 100);

/// Flag of [`Track`]: the direction that answers.
pub const TRACK_REPLY: u16 = 1;
/// Flag of [`Track`]: the caller's address is replaced by this node's.
pub const TRACK_SNAT: u16 = 2;
/// Flag of [`Track`]: a pod that leaves the cluster under this node's address.
pub const TRACK_MASQUERADE: u16 = 4;
/// Flag of [`Track`]: the answer leaves from the backend's node, as the frontend (direct server return).
pub const TRACK_DSR: u16 = 8;
/// Flag of [`Track`]: the backend is on this node: after rewriting the stack delivers.
pub const TRACK_LOCAL: u16 = 16;

/// Key of `FRAGMENTS`: a datagram in pieces.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FragmentKey {
    /// Who sends.
    pub source_addr: Addr,
    /// Who receives.
    pub dest_addr: Addr,
    /// The datagram's identification, as it lies in the header.
    pub id: u32,
    /// Protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 3],
}
layout!(FragmentKey, size 40, source_addr @ 0, dest_addr @ 16, id @ 32, proto @ 36, pad @ 37);

/// Value of `FRAGMENTS`: the ports that only the first piece carries.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FragmentPorts {
    /// Sender's port.
    pub source_port: Be16,
    /// Receiver's port.
    pub dest_port: Be16,
}
layout!(FragmentPorts, size 4, source_port @ 0, dest_port @ 2);
