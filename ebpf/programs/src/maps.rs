//! The maps. Keys, values and limits are in `beeline-abi`; who writes is in `ebpf/README.md`.

use aya_ebpf::bindings::BPF_F_NO_PREALLOC;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, LruHashMap, PerCpuArray, PerCpuHashMap, RingBuf};
use beeline_abi::limits::{
    BACKENDS_MAX, CONNECTIONS_MAX, COUNTERS_MAX, DROPS_MAX, ENDPOINTS_MAX, EVENTS_BYTES,
    FLOW_LINKS_MAX, FLOWS_MAX, FRONTENDS_MAX, NETNS_MAX, SLOTS_MAX, UDP_REVERSE_MAX,
};
use beeline_abi::{
    Backend, BackendCounters, BackendId, Be32, Config, Connection, DropCount, Endpoint, FlowKey,
    FlowLink, FlowState, Frontend, FrontendKey, NetnsOwner, SlotKey, Tuple, UdpReverse,
    UdpReverseKey,
};

#[map]
pub static SERVICES: HashMap<FrontendKey, Frontend> =
    HashMap::with_max_entries(FRONTENDS_MAX, BPF_F_NO_PREALLOC);
#[map]
pub static BACKEND_SLOTS: HashMap<SlotKey, BackendId> =
    HashMap::with_max_entries(SLOTS_MAX, BPF_F_NO_PREALLOC);
#[map]
pub static BACKENDS: HashMap<BackendId, Backend> =
    HashMap::with_max_entries(BACKENDS_MAX, BPF_F_NO_PREALLOC);
#[map(name = "BACKEND_COUNTS")]
pub static BACKEND_COUNTERS: PerCpuHashMap<BackendId, BackendCounters> =
    PerCpuHashMap::with_max_entries(BACKENDS_MAX, BPF_F_NO_PREALLOC);
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
pub static ENDPOINTS: HashMap<Be32, Endpoint> =
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
