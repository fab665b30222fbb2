//! Records of translated connections, and what joins a socket with its packets.

use crate::{BackendId, Be16, Be32, FlowId, Identity, ServiceId};

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
    pub frontend_addr: Be32,
    /// Where it really went.
    pub backend_addr: Be32,
    /// What the caller dialled.
    pub frontend_port: Be16,
    /// Where it really went.
    pub backend_port: Be16,
    /// Who called: the address its network namespace owns (the port is not known yet when a socket connects).
    pub source_addr: Be32,
    /// Who called.
    pub source_identity: Identity,
    /// The backend chosen.
    pub backend_id: BackendId,
    /// The Service port.
    pub service_id: ServiceId,
    /// Protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 3],
}
layout!(Connection, size 48, flow_id @ 0, opened_ns @ 8, frontend_addr @ 16, backend_addr @ 20, frontend_port @ 24,
    backend_port @ 26, source_addr @ 28, source_identity @ 32, backend_id @ 36, service_id @ 40, proto @ 44, pad @ 45);

/// Key of `UDP_REVERSE`: who a datagram of an unconnected socket really came from.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UdpReverseKey {
    /// The socket.
    pub cookie: u64,
    /// Backend address.
    pub addr: Be32,
    /// Backend port.
    pub port: Be16,
    /// Zero.
    pub pad: u16,
}
layout!(UdpReverseKey, size 16, cookie @ 0, addr @ 8, port @ 12, pad @ 14);

/// Value of `UDP_REVERSE`: what the socket believes it talks to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpReverse {
    /// The exchange's number everywhere.
    pub flow_id: FlowId,
    /// Frontend address.
    pub addr: Be32,
    /// Frontend port.
    pub port: Be16,
    /// Zero.
    pub pad: u16,
    /// The Service port.
    pub service_id: ServiceId,
    /// The backend chosen.
    pub backend_id: BackendId,
}
layout!(UdpReverse, size 24, flow_id @ 0, addr @ 8, port @ 12, pad @ 14, service_id @ 16, backend_id @ 20);

/// A 5-tuple as it lies in a packet. Key of `FLOW_LINKS`, always in the direction of the first packet.
/// ICMP has no ports: the source port is zero, the destination port is `type << 8 | code`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tuple {
    /// Source address.
    pub source_addr: Be32,
    /// Destination address.
    pub dest_addr: Be32,
    /// Source port.
    pub source_port: Be16,
    /// Destination port.
    pub dest_port: Be16,
    /// Protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: [u8; 3],
}
layout!(Tuple, size 16, source_addr @ 0, dest_addr @ 4, source_port @ 8, dest_port @ 10, proto @ 12, pad @ 13);

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
    pub frontend_addr: Be32,
    /// What the caller dialled; zero when nothing was translated.
    pub frontend_port: Be16,
    /// Zero.
    pub pad: u16,
    /// Zero when nothing was translated.
    pub service_id: ServiceId,
    /// Zero when nothing was translated.
    pub backend_id: BackendId,
}
layout!(FlowLink, size 24, flow_id @ 0, frontend_addr @ 8, frontend_port @ 12, pad @ 14, service_id @ 16, backend_id @ 20);
