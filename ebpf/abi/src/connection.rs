//! Records of translated connections, and what joins a socket with its packets.

use crate::{Addr, BackendId, Be16, FlowId, Identity, ServiceId};

/// Value of `CONNECTIONS`, under a socket cookie (u64): one translated TCP or connected UDP socket.
/// The kernel alone writes and deletes; user space reads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// The connection's number everywhere.
    pub flow_id: FlowId,
    /// When, on the monotonic clock.
    pub opened_ns: u64,
    /// What the caller dialled.
    pub frontend_addr: Addr,
    /// Where it really went.
    pub backend_addr: Addr,
    /// What the caller dialled.
    pub frontend_port: Be16,
    /// Where it really went.
    pub backend_port: Be16,
    /// Who called: the address its network namespace owns (the port is not known yet when a socket connects).
    pub source_addr: Addr,
    /// Who called.
    pub source_identity: Identity,
    /// The backend chosen.
    pub backend_id: BackendId,
    /// The Service port.
    pub service_id: ServiceId,
    /// Protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 7],
}
layout!(Connection, size 88, flow_id @ 0, opened_ns @ 8, frontend_addr @ 16, backend_addr @ 32, frontend_port @ 48,
    backend_port @ 50, source_addr @ 52, source_identity @ 68, backend_id @ 72, service_id @ 76, proto @ 80, pad @ 81);

/// Key of `UDP_REVERSE`: who a datagram of an unconnected socket really came from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UdpReverseKey {
    /// The socket.
    pub cookie: u64,
    /// Backend address.
    pub addr: Addr,
    /// Backend port.
    pub port: Be16,
    /// Zero.
    pub pad: [u8; 6],
}
layout!(UdpReverseKey, size 32, cookie @ 0, addr @ 8, port @ 24, pad @ 26);

/// Value of `UDP_REVERSE`: what the socket believes it talks to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpReverse {
    /// The exchange's number everywhere.
    pub flow_id: FlowId,
    /// Frontend address.
    pub addr: Addr,
    /// Frontend port.
    pub port: Be16,
    /// Zero.
    pub pad: u16,
    /// The Service port.
    pub service_id: ServiceId,
    /// The backend chosen.
    pub backend_id: BackendId,
    /// Zero.
    pub pad2: u32,
}
layout!(UdpReverse, size 40, flow_id @ 0, addr @ 8, port @ 24, pad @ 26, service_id @ 28, backend_id @ 32, pad2 @ 36);

/// A 5-tuple as it lies in a packet. Key of `FLOW_LINKS`, always in the direction of the first packet.
/// ICMP has no ports. An echo request carries its identifier as source port and zero as destination port, its reply the
/// opposite: so the two are each other's [`Tuple::reversed`], and the identifier is the caller's to translate, like a port.
/// For every other message the source port is zero and the destination port is `type << 8 | code`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub source_addr: Addr,
    /// Destination address.
    pub dest_addr: Addr,
    /// Source port.
    pub source_port: Be16,
    /// Destination port.
    pub dest_port: Be16,
    /// Protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 3],
}
layout!(Tuple, size 40, source_addr @ 0, dest_addr @ 16, source_port @ 32, dest_port @ 34, proto @ 36, pad @ 37);

impl Tuple {
    /// The same flow seen from the other side.
    #[inline(always)]
    pub const fn reversed(self) -> Self {
        Tuple {
            source_addr: self.dest_addr,
            dest_addr: self.source_addr,
            source_port: self.dest_port,
            dest_port: self.source_port,
            proto: self.proto,
            pad: [0; 3],
        }
    }
}

/// Value of `FLOW_LINKS`: what all hooks know of one connection. Written by the first hook that sees it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowLink {
    /// The connection's number everywhere.
    pub flow_id: FlowId,
    /// What the caller dialled; zero when nothing was translated.
    pub frontend_addr: Addr,
    /// What the caller dialled; zero when nothing was translated.
    pub frontend_port: Be16,
    /// Zero.
    pub pad: u16,
    /// Zero when nothing was translated.
    pub service_id: ServiceId,
    /// Zero when nothing was translated.
    pub backend_id: BackendId,
    /// Zero.
    pub pad2: u32,
}
layout!(FlowLink, size 40, flow_id @ 0, frontend_addr @ 8, frontend_port @ 24, pad @ 26, service_id @ 28, backend_id @ 32,
    pad2 @ 36);
