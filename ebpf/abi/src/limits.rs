//! How much fits, and why. User space may lower a map's limit when it loads the object, never raise it unseen.
//!
//! Hash maps are not preallocated: an empty one costs its buckets (16 bytes for each entry it may hold).
//! LRU maps are always preallocated, so their limits are what memory an idle node pays.

/// Frontends. The 200,000 Services of the scale goal with room for node ports; 4 MiB of buckets.
pub const FRONTENDS_MAX: u32 = 262_144;
/// Slots over all Services, twice during a swap: two backends for each of 200,000 Services; 8 MiB of buckets.
pub const SLOTS_MAX: u32 = 524_288;
/// Backends: 110 pods on each of 2,000 nodes; 4 MiB of buckets.
pub const BACKENDS_MAX: u32 = 262_144;
/// Translated sockets open at once on one node. Beyond it connections are still translated, and counted as unrecorded.
pub const CONNECTIONS_MAX: u32 = 262_144;
/// Datagram exchanges of unconnected sockets; about 100 bytes each: 3 MiB.
pub const UDP_REVERSE_MAX: u32 = 32_768;
/// Connections joined across hooks; about 100 bytes each: 6 MiB.
pub const FLOW_LINKS_MAX: u32 = 65_536;
/// Addresses with a name: as many as backends could have; 4 MiB of buckets.
pub const ENDPOINTS_MAX: u32 = 262_144;
/// Network namespaces of one agent: its pods and itself.
pub const NETNS_MAX: u32 = 4_096;
/// Directions of flows remembered; about 170 bytes each: 11 MiB. The oldest make room; their last counts were reported.
pub const FLOWS_MAX: u32 = 65_536;
/// Ring bytes. 4 MiB hold 34,900 events of 120 bytes: a reader that keeps up with a million events per second
/// may be away for 35 ms, several scheduling slices, before one is lost.
pub const EVENTS_BYTES: u32 = 4 * 1024 * 1024;
/// Entries of `COUNTERS`: room to append without a new layout.
pub const COUNTERS_MAX: u32 = 64;
/// Entries of `DROPS`: room to append without a new layout.
pub const DROPS_MAX: u32 = 256;
/// An `Update` for a flow comes at most this often: the figures in a live view are five seconds old at worst,
/// and 65,536 busy flows make 13,000 events a second.
pub const FLOW_REPORT_INTERVAL_NS: u64 = 5_000_000_000;
/// Silence after which a flow that is not TCP is over: nothing on the wire says so, and the tuple's next packet is another exchange.
/// 30 s is what the kernel's own connection tracking gives an unanswered datagram; keep-alives come more often (25 s and less).
pub const FLOW_IDLE_NS: u64 = 30_000_000_000;
/// Silence after which a TCP flow that showed nothing but SYNs is over: nobody answered, or the refusal ran the other way.
/// The longest pause between two SYNs of one attempt is 32 s (`tcp_syn_retries` 6), 64 s with one of them lost on its way here.
pub const FLOW_SYN_IDLE_NS: u64 = 65_000_000_000;
/// A drop event for one reason comes at most this often on one CPU; `DROPS` counts all of them.
pub const DROP_REPORT_INTERVAL_NS: u64 = 1_000_000;
/// With [`crate::CONFIG_LAZY_EVENTS`], how many unread bytes wake the reader: 1/128 of the ring, 270 events.
pub const EVENTS_WAKE_BYTES: u64 = 32 * 1024;
