//! Services: from a frontend to one of its backends, in three look-ups whatever the number of Services.
//!
//! A backend list is a run of places in one large array. A list is swapped as a whole: the writer fills a free run with the
//! number of the new list, then writes the frontend once, then gives the old run free. Every place names its list, so a reader
//! that was overtaken sees that a place belongs to another list, and reads the frontend once more.

use crate::{Addr, BackendId, Be16, Identity, ListId, Proto, ServiceId};

/// Key of `SERVICES`: what a caller dials.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    /// Service address: ClusterIP, load balancer or external address; the wildcard of its family for node ports.
    pub addr: Addr,
    /// Port.
    pub port: Be16,
    /// Protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}
layout!(FrontendKey, size 20, addr @ 0, port @ 16, proto @ 18, pad @ 19);

impl FrontendKey {
    /// A key with its padding zeroed.
    #[inline(always)]
    pub const fn new(addr: Addr, port: Be16, proto: Proto) -> Self {
        FrontendKey { addr, port, proto: proto as u8, pad: 0 }
    }

    /// The node port of the same port and protocol: asked when the address is one of this node's.
    #[inline(always)]
    pub const fn node_port(self) -> Self {
        FrontendKey { addr: self.addr.any_of_family(), ..self }
    }
}

/// A run of places in `BACKEND_SLOTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct List {
    /// Index of the first place.
    pub first: u32,
    /// How many; zero refuses connections.
    pub count: u32,
    /// The number that every place of the list carries; zero for the empty list.
    pub id: ListId,
}
layout!(List, size 12, first @ 0, count @ 4, id @ 8);

/// Value of `SERVICES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frontend {
    /// The Service port; frontends that share a backend list share it.
    pub service_id: ServiceId,
    /// `FRONTEND_*` flags.
    pub flags: u32,
    /// For callers on this node and in its pods.
    pub inside: List,
    /// For packets that arrive from outside: a Maglev table where there is more than one backend.
    pub outside: List,
    /// How long a client stays with its backend after it was last seen, in seconds; zero without affinity.
    pub affinity_s: u32,
}
layout!(Frontend, size 36, service_id @ 0, flags @ 4, inside @ 8, outside @ 20, affinity_s @ 32);

/// Flag of [`Frontend`]: only addresses in `SOURCE_RANGES` may call.
pub const FRONTEND_SOURCE_RANGES: u32 = 1;
/// Flag of [`Frontend`]: clients outside see their own address preserved (external traffic policy Local); no backend here means drop, not refuse.
pub const FRONTEND_LOCAL_ONLY: u32 = 2;
/// Flag of [`Frontend`]: meant for callers outside the cluster (node port, load balancer, external address).
pub const FRONTEND_EXTERNAL: u32 = 4;
/// Flag of [`Frontend`]: somewhere in the cluster there are backends, though none in the list for outside.
pub const FRONTEND_HAS_REMOTE: u32 = 8;
/// Flag of [`Frontend`]: at a loopback address, and so the node's alone; a pod's loopback is its own, and nobody outside means ours.
pub const FRONTEND_NODE_ONLY: u32 = 16;

/// Value of `BACKEND_SLOTS`, an array: one place of a list. Read and written as one 64-bit word.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Who.
    pub backend_id: BackendId,
    /// Of which list.
    pub list_id: ListId,
}
layout!(Slot, size 8, backend_id @ 0, list_id @ 4);

impl Slot {
    /// As it lies in memory.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        ((self.list_id.0 as u64) << 32) | self.backend_id.0 as u64
    }

    /// From memory.
    #[expect(clippy::cast_possible_truncation, reason = "the lower half is one of the two numbers")]
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Slot { backend_id: BackendId(word as u32), list_id: ListId((word >> 32) as u32) }
    }
}

/// Value of `BACKENDS`, an array by [`BackendId`]. A place without a backend is all zeroes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backend {
    /// Where it listens.
    pub addr: Addr,
    /// Where it listens.
    pub port: Be16,
    /// Protocol number.
    pub proto: u8,
    /// A [`BackendState`].
    pub state: u8,
    /// Who it is.
    pub identity: Identity,
    /// `BACKEND_*` flags.
    pub flags: u32,
    /// Zero.
    pub pad: u32,
}
layout!(Backend, size 32, addr @ 0, port @ 16, proto @ 18, state @ 19, identity @ 20, flags @ 24, pad @ 28);

/// Flag of [`Backend`]: a pod of this node, or the node itself. Its answers come by here, so that its callers keep their address.
pub const BACKEND_LOCAL: u32 = 1;

impl Backend {
    /// A backend with its padding zeroed.
    pub const fn new(
        addr: Addr,
        port: Be16,
        proto: Proto,
        state: BackendState,
        identity: Identity,
    ) -> Self {
        Backend { addr, port, proto: proto as u8, state: state as u8, identity, flags: 0, pad: 0 }
    }
}

/// What a backend is fit for. The kernel uses every backend it finds in a slot; user space decides who gets a slot.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BackendState {
    /// Takes connections.
    Active = 1,
    /// Ends, but still serves: used when nothing else is left.
    Terminating = 2,
    /// In no slot any more, kept while connections are open.
    Draining = 3,
}

impl BackendState {
    /// The state with that number.
    pub const fn from_raw(value: u8) -> Option<Self> {
        match value {
            1 => Some(BackendState::Active),
            2 => Some(BackendState::Terminating),
            3 => Some(BackendState::Draining),
            _ => None,
        }
    }
}

/// Value of `BACKEND_COUNTS`, an array by [`BackendId`]. The kernel adds, atomically; user space zeroes the place of a new backend.
/// Open connections: `opened - closed`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendCounters {
    /// Connections translated to this backend.
    pub opened: u64,
    /// Of those, how many ended.
    pub closed: u64,
    /// Bytes that the backend acknowledged, added when the TCP connection closes.
    pub tx_bytes: u64,
    /// Bytes received from the backend, added when the TCP connection closes.
    pub rx_bytes: u64,
    /// Sum of smoothed round-trip times in microseconds; divide by `rtt_samples`.
    pub rtt_sum_us: u64,
    /// One when a TCP connection is established and one when it closes.
    pub rtt_samples: u64,
}
layout!(BackendCounters, size 48, opened @ 0, closed @ 8, tx_bytes @ 16, rx_bytes @ 24, rtt_sum_us @ 32, rtt_samples @ 40);

/// Which list of a frontend: callers inside and outside may have different backends.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This node's own sockets and its pods'.
    Inside = 1,
    /// Packets from elsewhere.
    Outside = 2,
}

/// Key of `AFFINITY`: a client of a Service port.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityKey {
    /// Who calls.
    pub client: Addr,
    /// Which Service port.
    pub service_id: ServiceId,
    /// A [`Scope`].
    pub scope: u32,
}
layout!(AffinityKey, size 24, client @ 0, service_id @ 16, scope @ 20);

/// Value of `AFFINITY`: where the client went last. The kernel alone writes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// Its last connection, monotonic clock.
    pub used_ns: u64,
    /// Where it went.
    pub backend_id: BackendId,
    /// Zero.
    pub pad: u32,
}
layout!(Affinity, size 16, used_ns @ 0, backend_id @ 8, pad @ 12);

/// Key of `AFFINITY_OK`: a backend that stands in a list of a Service port with affinity. The value is a `u32` one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AffinityOkKey {
    /// Which Service port.
    pub service_id: ServiceId,
    /// Who.
    pub backend_id: BackendId,
    /// A [`Scope`].
    pub scope: u32,
}
layout!(AffinityOkKey, size 12, service_id @ 0, backend_id @ 4, scope @ 8);

/// Bits of [`SourceRangeKey`] before the address.
pub const SOURCE_RANGE_BITS: u32 = 32;

/// Key of `SOURCE_RANGES`, a prefix trie: who may call a Service port with source ranges. The value is a `u32` one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceRangeKey {
    /// [`SOURCE_RANGE_BITS`] and the prefix of the address in its 128-bit form.
    pub bits: u32,
    /// Which Service port; compared whole.
    pub service_id: ServiceId,
    /// First address of the range.
    pub addr: Addr,
}
layout!(SourceRangeKey, size 24, bits @ 0, service_id @ 4, addr @ 8);

/// Key of `CLUSTER_RANGES`, a prefix trie: what belongs to the cluster. The value is `RANGE_*` flags.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RangeKey {
    /// The prefix of the address in its 128-bit form.
    pub bits: u32,
    /// First address of the range.
    pub addr: Addr,
}
layout!(RangeKey, size 20, bits @ 0, addr @ 4);

/// Flag in `CLUSTER_RANGES`: pods of this node, whose packets that leave the cluster are masqueraded.
pub const RANGE_LOCAL_PODS: u32 = 1;
/// Flag in `CLUSTER_RANGES`: reached without masquerade.
pub const RANGE_CLUSTER: u32 = 2;

/// Flag in `NODE_ADDRESSES`: node ports answer at this address.
pub const NODE_ADDRESS_PORTS: u32 = 1;
/// Flag in `NODE_ADDRESSES`: an address of the loopback link, for callers on this node only.
pub const NODE_ADDRESS_LOOPBACK: u32 = 2;
