//! The maps. Keys, values and limits are in `beeline-abi`; who writes is in `ebpf/README.md`.

use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, bpf_fib_lookup};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf};
use beeline_abi::limits::{
    AFFINITY_MAX, AFFINITY_OK_MAX, BACKENDS_MAX, CLUSTER_RANGES_MAX, CONNECTIONS_MAX,
    CONNTRACK_MAX, COUNTERS_MAX, DROPS_MAX, ENDPOINTS_MAX, EVENTS_BYTES, FLOW_LINKS_MAX, FLOWS_MAX,
    FRAGMENTS_MAX, FRONTENDS_MAX, NETNS_MAX, NODE_ADDRESSES_MAX, SLOTS_MAX, SOURCE_RANGES_MAX,
    UDP_REVERSE_MAX,
};
use beeline_abi::{
    Addr, Affinity, AffinityKey, AffinityOkKey, Backend, BackendCounters, Config, Connection,
    DropCount, Endpoint, FlowEvent, FlowKey, FlowLink, FlowState, FragmentKey, FragmentPorts,
    Frontend, FrontendKey, NetnsOwner, ServiceId, Track, Tuple, UdpReverse, UdpReverseKey,
};

use beeline_packet::icmp::Embedded;
use beeline_packet::parse::Packet;
use beeline_packet::refuse::UNREACHABLE_V6_BYTES;
use beeline_packet::track::Opening;

use crate::outside::Onward;
use crate::route::Route;
use crate::service::{Call, Target};

/// What of a [`beeline_abi::SourceRangeKey`] follows the prefix length.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct SourceRange {
    /// Which Service port.
    pub service_id: ServiceId,
    /// Who calls.
    pub addr: Addr,
}

#[map]
pub static SERVICES: HashMap<FrontendKey, Frontend> =
    HashMap::with_max_entries(FRONTENDS_MAX, BPF_F_NO_PREALLOC);
/// Values are [`beeline_abi::Slot`]s, read as one word.
#[map]
pub static BACKEND_SLOTS: Array<u64> = Array::with_max_entries(SLOTS_MAX, BPF_F_MMAPABLE);
#[map]
pub static BACKENDS: Array<Backend> = Array::with_max_entries(BACKENDS_MAX, BPF_F_MMAPABLE);
#[map(name = "BACKEND_COUNTS")]
pub static BACKEND_COUNTERS: Array<BackendCounters> =
    Array::with_max_entries(BACKENDS_MAX, BPF_F_MMAPABLE);
#[map]
pub static AFFINITY: LruHashMap<AffinityKey, Affinity> =
    LruHashMap::with_max_entries(AFFINITY_MAX, 0);
#[map]
pub static AFFINITY_OK: HashMap<AffinityOkKey, u32> =
    HashMap::with_max_entries(AFFINITY_OK_MAX, BPF_F_NO_PREALLOC);
#[map]
pub static SOURCE_RANGES: LpmTrie<SourceRange, u32> =
    LpmTrie::with_max_entries(SOURCE_RANGES_MAX, 0);
#[map]
pub static CLUSTER_RANGES: LpmTrie<Addr, u32> = LpmTrie::with_max_entries(CLUSTER_RANGES_MAX, 0);
#[map]
pub static NODE_ADDRESSES: HashMap<Addr, u32> =
    HashMap::with_max_entries(NODE_ADDRESSES_MAX, BPF_F_NO_PREALLOC);
#[map]
pub static CONNTRACK: HashMap<Tuple, Track> =
    HashMap::with_max_entries(CONNTRACK_MAX, BPF_F_NO_PREALLOC);
#[map]
pub static FRAGMENTS: LruHashMap<FragmentKey, FragmentPorts> =
    LruHashMap::with_max_entries(FRAGMENTS_MAX, 0);
#[map]
pub static CONNECTIONS: HashMap<u64, Connection> =
    HashMap::with_max_entries(CONNECTIONS_MAX, BPF_F_NO_PREALLOC);
#[map]
pub static UDP_REVERSE: LruHashMap<UdpReverseKey, UdpReverse> =
    LruHashMap::with_max_entries(UDP_REVERSE_MAX, 0);
#[map]
pub static FLOW_LINKS: LruHashMap<Tuple, FlowLink> =
    LruHashMap::with_max_entries(FLOW_LINKS_MAX, 0);
#[map]
pub static ENDPOINTS: HashMap<Addr, Endpoint> =
    HashMap::with_max_entries(ENDPOINTS_MAX, BPF_F_NO_PREALLOC);
#[map]
pub static NETNS: HashMap<u64, NetnsOwner> =
    HashMap::with_max_entries(NETNS_MAX, BPF_F_NO_PREALLOC);
#[map]
pub static FLOWS: LruHashMap<FlowKey, FlowState> = LruHashMap::with_max_entries(FLOWS_MAX, 0);
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
#[map]
pub static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS_MAX, 0);
#[map]
pub static DROPS: PerCpuArray<DropCount> = PerCpuArray::with_max_entries(DROPS_MAX, 0);
#[map]
pub static CONFIG: Array<Config> = Array::with_max_entries(1, 0);
/// Room for what the stack is too small for. Packet programs run to their end before another on this CPU begins; socket
/// programs do not, and keep to their stack.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(1, 0);

/// The longest answer to a refused packet, for the same reason.
#[map]
pub static ANSWER: PerCpuArray<[u8; UNREACHABLE_V6_BYTES]> = PerCpuArray::with_max_entries(1, 0);

/// Value of `SCRATCH`; lives for one packet, so it is no part of the agreement.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Scratch {
    /// A packet from or to the world, as it arrived.
    pub packet: Packet,
    /// Where it goes once it is rewritten.
    pub onward: Onward,
    /// Who asks for what.
    pub call: Call,
    /// Whom that one gets.
    pub target: Target,
    /// The connection that begins.
    pub opening: Opening,
    /// What an ICMP error is about.
    pub embedded: Embedded,
    /// The way that it takes.
    pub route: Route,
    /// What is asked of the routing table.
    pub fib: bpf_fib_lookup,
    /// A flow that begins.
    pub flow: FlowState,
    /// What its sender's socket knows of its connection.
    pub own: FlowLink,
    /// The key of its opposite direction.
    pub reversed: FlowKey,
    /// A connection that begins: an entry on its way into the table.
    pub track: Track,
    /// Its key.
    pub key: Tuple,
    /// What is told of it.
    pub event: FlowEvent,
}

/// This CPU's room.
#[inline(always)]
pub fn scratch() -> Option<&'static mut Scratch> {
    // SAFETY: a live map value of this CPU; packet programs neither nest nor are interrupted by one another.
    SCRATCH.get_ptr_mut(0).map(|scratch| unsafe { &mut *scratch })
}
