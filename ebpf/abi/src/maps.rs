//! Map names, as declared in the object, pinned by user space and shown by tools.
//! At most 15 bytes, because the kernel cuts longer names. Who writes: see `ebpf/README.md`.

/// Hash: [`crate::FrontendKey`] to [`crate::Frontend`]. User space writes.
pub const SERVICES: &str = "SERVICES";
/// Array, mapped into user space: [`crate::Slot`]. User space writes.
pub const BACKEND_SLOTS: &str = "BACKEND_SLOTS";
/// Array, mapped into user space: [`crate::BackendId`] to [`crate::Backend`]. User space writes.
pub const BACKENDS: &str = "BACKENDS";
/// Array, mapped into user space: [`crate::BackendId`] to [`crate::BackendCounters`]. The kernel counts.
pub const BACKEND_COUNTERS: &str = "BACKEND_COUNTS";
/// LRU hash: [`crate::AffinityKey`] to [`crate::Affinity`]. The kernel writes.
pub const AFFINITY: &str = "AFFINITY";
/// Hash: [`crate::AffinityOkKey`] to `u32`. User space writes.
pub const AFFINITY_OK: &str = "AFFINITY_OK";
/// Prefix trie: [`crate::SourceRangeKey`] to `u32`. User space writes.
pub const SOURCE_RANGES: &str = "SOURCE_RANGES";
/// Prefix trie: [`crate::RangeKey`] to `RANGE_*` flags. User space writes.
pub const CLUSTER_RANGES: &str = "CLUSTER_RANGES";
/// Hash: [`crate::Addr`] of this node to `NODE_ADDRESS_*` flags. User space writes.
pub const NODE_ADDRESSES: &str = "NODE_ADDRESSES";
/// Hash: [`crate::Tuple`] to [`crate::Track`]. The kernel writes, user space removes what is over.
pub const CONNTRACK: &str = "CONNTRACK";
/// LRU hash: [`crate::FragmentKey`] to [`crate::FragmentPorts`]. The kernel writes.
pub const FRAGMENTS: &str = "FRAGMENTS";
/// Hash: socket cookie (u64) to [`crate::Connection`]. The kernel writes.
pub const CONNECTIONS: &str = "CONNECTIONS";
/// LRU hash: [`crate::UdpReverseKey`] to [`crate::UdpReverse`]. The kernel writes.
pub const UDP_REVERSE: &str = "UDP_REVERSE";
/// LRU hash: [`crate::Tuple`] to [`crate::FlowLink`]. The kernel writes.
pub const FLOW_LINKS: &str = "FLOW_LINKS";
/// Hash: [`crate::Addr`] to [`crate::Endpoint`]. User space writes.
pub const ENDPOINTS: &str = "ENDPOINTS";
/// Hash: network namespace cookie (u64) to [`crate::NetnsOwner`]. User space writes.
pub const NETNS: &str = "NETNS";
/// LRU hash: [`crate::FlowKey`] to [`crate::FlowState`]. The kernel writes.
pub const FLOWS: &str = "FLOWS";
/// Ring buffer of [`crate::FlowEvent`]. The kernel writes.
pub const EVENTS: &str = "EVENTS";
/// Per-CPU array: [`crate::Counter`] to u64. The kernel writes.
pub const COUNTERS: &str = "COUNTERS";
/// Per-CPU array: [`crate::DropReason`] to [`crate::DropCount`]. The kernel writes.
pub const DROPS: &str = "DROPS";
/// Array of one [`crate::Config`]. User space writes.
pub const CONFIG: &str = "CONFIG";

/// Every map that outlives the process that loaded it.
pub const PINNED: &[&str] = &[
    SERVICES,
    BACKEND_SLOTS,
    BACKENDS,
    BACKEND_COUNTERS,
    AFFINITY,
    AFFINITY_OK,
    SOURCE_RANGES,
    CLUSTER_RANGES,
    NODE_ADDRESSES,
    CONNTRACK,
    FRAGMENTS,
    CONNECTIONS,
    UDP_REVERSE,
    FLOW_LINKS,
    ENDPOINTS,
    NETNS,
    FLOWS,
    EVENTS,
    COUNTERS,
    DROPS,
    CONFIG,
];
