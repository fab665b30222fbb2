//! Flows as packets show them, and the events that tell user space.

use crate::{
    Addr, BackendId, Be16, DropReason, EndpointId, FlowId, Identity, Proto, RuleId, ServiceId,
    Tuple, Verdict,
};

/// TCP FIN.
pub const TCP_FIN: u8 = 0x01;
/// TCP SYN.
pub const TCP_SYN: u8 = 0x02;
/// TCP RST.
pub const TCP_RST: u8 = 0x04;
/// TCP PSH.
pub const TCP_PSH: u8 = 0x08;
/// TCP ACK.
pub const TCP_ACK: u8 = 0x10;
/// TCP URG.
pub const TCP_URG: u8 = 0x20;

/// Flow flag: a Service frontend was translated to this backend.
pub const FLOW_TRANSLATED: u16 = 1;
/// Flow flag: this direction answers the one that began.
pub const FLOW_REPLY: u16 = 2;

/// Where something was seen.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// A packet left a pod.
    FromPod = 1,
    /// A packet is about to enter a pod.
    ToPod = 2,
    /// A socket connected.
    Connect = 3,
    /// An unconnected socket sent a datagram.
    Sendmsg = 4,
    /// A packet arrived at an uplink.
    FromOutside = 5,
    /// A packet is about to leave by an uplink.
    ToOutside = 6,
    /// A packet arrived at an uplink's driver.
    Edge = 7,
}

impl Hook {
    /// The hook with that number.
    pub const fn from_raw(value: u8) -> Option<Self> {
        match value {
            1 => Some(Hook::FromPod),
            2 => Some(Hook::ToPod),
            3 => Some(Hook::Connect),
            4 => Some(Hook::Sendmsg),
            5 => Some(Hook::FromOutside),
            6 => Some(Hook::ToOutside),
            7 => Some(Hook::Edge),
            _ => None,
        }
    }

    /// Its name in the CLI and in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Hook::FromPod => "from_pod",
            Hook::ToPod => "to_pod",
            Hook::Connect => "connect",
            Hook::Sendmsg => "sendmsg",
            Hook::FromOutside => "from_outside",
            Hook::ToOutside => "to_outside",
            Hook::Edge => "edge",
        }
    }
}

/// Key of `FLOWS`: one direction of one flow on one pod link. A connection between two pods of one node has four.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    /// Addresses, ports, protocol.
    pub tuple: Tuple,
    /// Host-side link of the pod.
    pub ifindex: u32,
    /// A [`Hook`]: `FromPod` or `ToPod`.
    pub hook: u8,
    /// Zero.
    pub pad: [u8; 3],
}
layout!(FlowKey, size 48, tuple @ 0, ifindex @ 40, hook @ 44, pad @ 45);

/// Value of `FLOWS`. The kernel alone writes; counts are totals since `first_ns`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// The connection's number everywhere.
    pub flow_id: FlowId,
    /// Bytes of IP packets.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// First packet, monotonic clock.
    pub first_ns: u64,
    /// Last packet.
    pub last_ns: u64,
    /// Last event written to the ring; zero when that event was lost.
    pub reported_ns: u64,
    /// Who sends.
    pub source_identity: Identity,
    /// Who receives.
    pub dest_identity: Identity,
    /// The rule behind the verdict.
    pub rule_id: RuleId,
    /// Frontend that was dialled; zero when nothing was translated.
    pub frontend_addr: Addr,
    /// Frontend that was dialled; zero when nothing was translated.
    pub frontend_port: Be16,
    /// `FLOW_*` flags.
    pub flags: u16,
    /// Zero when nothing was translated.
    pub service_id: ServiceId,
    /// Zero when nothing was translated.
    pub backend_id: BackendId,
    /// Every TCP flag seen so far.
    pub tcp_flags: u8,
    /// A [`Verdict`].
    pub verdict: u8,
    /// One once an `End` was reported, else zero.
    pub ended: u8,
    /// Zero.
    pub pad: [u8; 5],
}
layout!(FlowState, size 96, flow_id @ 0, bytes @ 8, packets @ 16, first_ns @ 24, last_ns @ 32, reported_ns @ 40,
    source_identity @ 48, dest_identity @ 52, rule_id @ 56, frontend_addr @ 60, frontend_port @ 76, flags @ 78,
    service_id @ 80, backend_id @ 84, tcp_flags @ 88, verdict @ 89, ended @ 90, pad @ 91);

/// What an event tells.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowEventKind {
    /// The first packet of a direction, or a socket was translated.
    New = 1,
    /// The direction goes on; at most one per [`crate::limits::FLOW_REPORT_INTERVAL_NS`].
    Update = 2,
    /// FIN or RST passed.
    End = 3,
    /// A packet was dropped or a connection refused; the reason is set.
    Drop = 4,
}

impl FlowEventKind {
    /// The kind with that number.
    pub const fn from_raw(value: u8) -> Option<Self> {
        match value {
            1 => Some(FlowEventKind::New),
            2 => Some(FlowEventKind::Update),
            3 => Some(FlowEventKind::End),
            4 => Some(FlowEventKind::Drop),
            _ => None,
        }
    }
}

/// One record in `EVENTS`. Counts are totals since the flow began, so that a lost event loses no bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowEvent {
    /// When, on the monotonic clock.
    pub time_ns: u64,
    /// The first packet of this direction, or when the socket connected.
    pub first_ns: u64,
    /// The connection's number everywhere; zero when there is none (a dropped packet).
    pub flow_id: FlowId,
    /// Bytes of IP packets so far.
    pub bytes: u64,
    /// Packets so far.
    pub packets: u64,
    /// The socket, for `Connect` and `Sendmsg`; else zero.
    pub cookie: u64,
    /// As in the packet; for socket hooks the source port is zero and the destination is the backend (or the frontend when refused).
    pub tuple: Tuple,
    /// Who sends.
    pub source_identity: Identity,
    /// Who receives.
    pub dest_identity: Identity,
    /// The rule behind the verdict.
    pub rule_id: RuleId,
    /// The pod at whose link this was seen; zero for the host's sockets.
    pub endpoint_id: EndpointId,
    /// Host-side link; zero for socket hooks.
    pub ifindex: u32,
    /// Zero when nothing was translated.
    pub service_id: ServiceId,
    /// Zero when nothing was translated.
    pub backend_id: BackendId,
    /// What was dialled; zero when nothing was translated.
    pub frontend_addr: Addr,
    /// What was dialled; zero when nothing was translated.
    pub frontend_port: Be16,
    /// `FLOW_*` flags.
    pub flags: u16,
    /// A [`DropReason`], or zero.
    pub drop_reason: u16,
    /// Every TCP flag seen so far in this direction.
    pub tcp_flags: u8,
    /// A [`FlowEventKind`].
    pub kind: u8,
    /// A [`Hook`].
    pub hook: u8,
    /// A [`Verdict`].
    pub verdict: u8,
    /// Zero.
    pub pad: [u8; 2],
}
layout!(FlowEvent, size 144, time_ns @ 0, first_ns @ 8, flow_id @ 16, bytes @ 24, packets @ 32, cookie @ 40, tuple @ 48,
    source_identity @ 88, dest_identity @ 92, rule_id @ 96, endpoint_id @ 100, ifindex @ 104, service_id @ 108,
    backend_id @ 112, frontend_addr @ 116, frontend_port @ 132, flags @ 134, drop_reason @ 136, tcp_flags @ 138, kind @ 139,
    hook @ 140, verdict @ 141, pad @ 142);

impl FlowEvent {
    /// Reads a record from the ring; `None` when the length is not this layout's.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; size_of::<FlowEvent>()] = bytes.try_into().ok()?;
        Some(decode::event(bytes))
    }

    /// What it tells.
    pub const fn kind(&self) -> Option<FlowEventKind> {
        FlowEventKind::from_raw(self.kind)
    }

    /// Where it was seen.
    pub const fn hook(&self) -> Option<Hook> {
        Hook::from_raw(self.hook)
    }

    /// What was decided.
    pub const fn verdict(&self) -> Option<Verdict> {
        Verdict::from_raw(self.verdict)
    }

    /// Why it was dropped, if it was.
    pub const fn drop_reason(&self) -> Option<DropReason> {
        DropReason::from_raw(self.drop_reason)
    }

    /// The transport protocol, if it is one we know.
    pub const fn proto(&self) -> Option<Proto> {
        Proto::from_raw(self.tuple.proto)
    }
}

/// Safe decoding, field by field: events are few beside packets, so that clarity costs nothing.
mod decode {
    use super::*;

    fn take<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
        core::array::from_fn(|index| bytes[at + index])
    }
    fn u64_at(bytes: &[u8], at: usize) -> u64 {
        u64::from_ne_bytes(take(bytes, at))
    }
    fn u32_at(bytes: &[u8], at: usize) -> u32 {
        u32::from_ne_bytes(take(bytes, at))
    }
    fn u16_at(bytes: &[u8], at: usize) -> u16 {
        u16::from_ne_bytes(take(bytes, at))
    }

    pub(super) fn event(b: &[u8; size_of::<FlowEvent>()]) -> FlowEvent {
        FlowEvent {
            time_ns: u64_at(b, 0),
            first_ns: u64_at(b, 8),
            flow_id: FlowId(u64_at(b, 16)),
            bytes: u64_at(b, 24),
            packets: u64_at(b, 32),
            cookie: u64_at(b, 40),
            tuple: tuple(b, 48),
            source_identity: Identity(u32_at(b, 88)),
            dest_identity: Identity(u32_at(b, 92)),
            rule_id: RuleId(u32_at(b, 96)),
            endpoint_id: EndpointId(u32_at(b, 100)),
            ifindex: u32_at(b, 104),
            service_id: ServiceId(u32_at(b, 108)),
            backend_id: BackendId(u32_at(b, 112)),
            frontend_addr: addr(b, 116),
            frontend_port: Be16::from_raw(u16_at(b, 132)),
            flags: u16_at(b, 134),
            drop_reason: u16_at(b, 136),
            tcp_flags: b[138],
            kind: b[139],
            hook: b[140],
            verdict: b[141],
            pad: take(b, 142),
        }
    }

    fn addr(b: &[u8], at: usize) -> Addr {
        Addr::from_words(core::array::from_fn(|word| u32_at(b, at + 4 * word)))
    }

    fn tuple(b: &[u8], at: usize) -> Tuple {
        Tuple {
            source_addr: addr(b, at),
            dest_addr: addr(b, at + 16),
            source_port: Be16::from_raw(u16_at(b, at + 32)),
            dest_port: Be16::from_raw(u16_at(b, at + 34)),
            proto: b[at + 36],
            pad: take(b, at + 37),
        }
    }
}
