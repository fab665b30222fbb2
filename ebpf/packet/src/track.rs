//! The life of a tracked connection: both directions begin together, are counted apart, and are over together.
//!
//! ```text
//! first packet ──> opening ──ACK without SYN──> established ──FIN──> half closed ──FIN──> closing
//!                     │ 60 s                       │ 6 h                │ 120 s             │ 10 s of silence (RST at any time: closing)
//!                     └────────────────────────────┴────────────────────┴───────────────────┴──> over
//! not TCP: 30 s, 120 s once it was answered
//! ```
//! An ACK counts only without SYN: so the answer to a SYN does not make a connection established that its caller never confirms.

use beeline_abi::limits::{
    TRACK_CLOSING_NS, TRACK_IDLE_NS, TRACK_SEEN_NS, TRACK_SYN_NS, TRACK_TCP_IDLE_NS,
    TRACK_UNANSWERED_NS,
};
use beeline_abi::{
    Addr, BackendId, Be16, FlowId, ServiceId, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TRACK_DSR,
    TRACK_REPLY, Track, Tuple,
};

use crate::flow::{Sample, is_opening};
use crate::nat::Rewrite;

/// A connection that is to be tracked.
#[derive(Clone, Copy, Debug)]
pub struct Opening {
    /// As its first packet arrived.
    pub tuple: Tuple,
    /// What its packets are to look like.
    pub rewrite: Rewrite,
    /// `TRACK_*` flags, without [`TRACK_REPLY`].
    pub flags: u16,
    /// The Service port; zero for masquerade.
    pub service_id: ServiceId,
    /// The backend; zero for masquerade.
    pub backend_id: BackendId,
    /// The connection's number everywhere.
    pub flow_id: FlowId,
    /// Monotonic clock.
    pub now_ns: u64,
}

impl Opening {
    /// To a backend, and as `snat` if that is given instead of the caller's own address and port.
    /// Of what stays at its destination (masquerade) the backend is that destination.
    #[inline(always)]
    pub fn new(tuple: &Tuple, backend: (Addr, Be16), snat: Option<(Addr, Be16)>) -> Self {
        let (source_addr, source_port) = snat.unwrap_or((tuple.source_addr, tuple.source_port));
        Opening {
            tuple: *tuple,
            rewrite: Rewrite {
                source_addr,
                dest_addr: backend.0,
                source_port,
                dest_port: backend.1,
            },
            flags: 0,
            service_id: ServiceId(0),
            backend_id: BackendId(0),
            flow_id: FlowId(0),
            now_ns: 0,
        }
    }
}

/// Both entries of a new connection.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    /// Under the tuple of the first packet.
    pub forward: Track,
    /// The tuple of the answers.
    pub reverse_key: Tuple,
    /// Under the tuple of the answers.
    pub reverse: Track,
}

/// Both entries at once; a program whose stack is short takes them one after the other.
#[inline(always)]
pub fn pair(opening: &Opening) -> Pair {
    Pair { forward: forward(opening), reverse_key: reverse_key(opening), reverse: reverse(opening) }
}

/// The entry under the tuple of the first packet.
#[inline(always)]
pub fn forward(opening: &Opening) -> Track {
    begin(opening, &opening.rewrite, opening.flags)
}

/// The tuple of the answers: what the first packet became, seen from the other side.
#[inline(always)]
pub fn reverse_key(opening: &Opening) -> Tuple {
    opening.rewrite.tuple(opening.tuple.proto).reversed()
}

/// The entry under the tuple of the answers: they are to look as if nothing had been rewritten.
#[inline(always)]
pub fn reverse(opening: &Opening) -> Track {
    let back = Rewrite::unchanged(&opening.tuple).reversed();
    begin(opening, &back, opening.flags | TRACK_REPLY)
}

/// The key of the opposite direction's entry, from an entry.
#[inline(always)]
pub fn opposite_key(track: &Track, proto: u8) -> Tuple {
    Rewrite::of(track).tuple(proto).reversed()
}

/// An entry without a packet.
#[inline(always)]
pub fn begin(opening: &Opening, rewrite: &Rewrite, flags: u16) -> Track {
    Track {
        source_addr: rewrite.source_addr,
        dest_addr: rewrite.dest_addr,
        source_port: rewrite.source_port,
        dest_port: rewrite.dest_port,
        flags,
        tcp_flags: 0,
        pad: 0,
        ifindex: 0,
        next_mac: [0; 6],
        own_mac: [0; 6],
        mtu_bytes: 0,
        from_ifindex: 0,
        seen_ns: opening.now_ns,
        packets: 0,
        bytes: 0,
        flow_id: opening.flow_id,
        service_id: opening.service_id,
        backend_id: opening.backend_id,
    }
}

/// Takes in a packet, which the caller counts. What is changed here is written only when it says something new, and may lose a
/// race with no worse effect than the next packet's saying it.
///
/// A new time ends the validity of the way that is kept: so none is older than [`TRACK_SEEN_NS`].
#[inline(always)]
pub fn advance(track: &mut Track, sample: &Sample) {
    let flags = track.tcp_flags | marks(sample.tcp_flags);
    if flags != track.tcp_flags || sample.now_ns.saturating_sub(track.seen_ns) >= TRACK_SEEN_NS {
        track.tcp_flags = flags;
        track.seen_ns = sample.now_ns;
        track.ifindex = 0;
    }
}

/// Whether a packet found under this entry belongs to another connection, which begins anew.
#[inline(always)]
pub fn is_reused(track: &Track, sample: &Sample) -> bool {
    is_opening(sample.tcp_flags)
        && (track.tcp_flags & (TCP_FIN | TCP_RST) != 0 || is_over(track, sample.now_ns))
}

/// Whether the direction, taken alone, was silent for too long: of two entries only [`are_over`] knows.
#[inline(always)]
pub fn is_over(track: &Track, now_ns: u64) -> bool {
    let limit = if track.tcp_flags & (TCP_FIN | TCP_RST) != 0 {
        TRACK_CLOSING_NS
    } else {
        patience(track.tcp_flags)
    };
    now_ns.saturating_sub(track.seen_ns) >= limit
}

/// Whether a connection is over: neither direction was heard for as long as the state of both allows.
#[inline(always)]
pub fn are_over(one: &Track, other: &Track, now_ns: u64) -> bool {
    let either = one.tcp_flags | other.tcp_flags;
    let both = one.tcp_flags & other.tcp_flags;
    let limit = if either & TCP_RST != 0 || both & TCP_FIN != 0 {
        TRACK_CLOSING_NS
    } else if either & TCP_FIN != 0 || (either == 0 && is_answered(one, other)) {
        TRACK_IDLE_NS
    } else {
        patience(either)
    };
    let seen_ns = if one.seen_ns > other.seen_ns { one.seen_ns } else { other.seen_ns };
    now_ns.saturating_sub(seen_ns) >= limit
}

/// Whether both directions had a packet, as far as they come by here: direct answers do not.
#[inline(always)]
fn is_answered(one: &Track, other: &Track) -> bool {
    (one.packets != 0 && other.packets != 0) || one.flags & TRACK_DSR != 0
}

/// What a packet says about the state of its connection.
#[inline(always)]
fn marks(tcp_flags: u8) -> u8 {
    if tcp_flags & TCP_SYN != 0 { tcp_flags & !TCP_ACK } else { tcp_flags }
}

/// How long a direction that has not been closed may be silent, if nothing is known of the other. Without any flag it is not TCP.
#[inline(always)]
fn patience(tcp_flags: u8) -> u64 {
    if tcp_flags == 0 {
        TRACK_UNANSWERED_NS
    } else if tcp_flags & TCP_ACK != 0 {
        TRACK_TCP_IDLE_NS
    } else {
        TRACK_SYN_NS
    }
}
