//! How much fits unless the owner of a node says otherwise, and why. What user space then made is what holds.
//!
//! Hash maps are not preallocated: an empty one costs its buckets (16 bytes for each entry it may hold).
//! LRU maps are always preallocated, so their limits are what memory an idle node pays.

/// Frontends. The 200,000 Services of the scale goal with room for node ports; 4 MiB of buckets.
pub const FRONTENDS_MAX: u32 = 262_144;
/// Places of all backend lists, twice during a swap: two for each of 200,000 Services, or Maglev tables of a few thousand; 4 MiB.
pub const SLOTS_MAX: u32 = 524_288;
/// Backends: four for each of 30,000 Services; 4 MiB, and 6 MiB of counters.
pub const BACKENDS_MAX: u32 = 131_072;
/// Clients that stay with their backend; about 110 bytes each: 1.8 MiB. The one that called longest ago makes room.
pub const AFFINITY_MAX: u32 = 16_384;
/// Places in lists of Services with affinity; 1 MiB of buckets.
pub const AFFINITY_OK_MAX: u32 = 65_536;
/// Source ranges of all Services; allocated as needed.
pub const SOURCE_RANGES_MAX: u32 = 65_536;
/// Pod ranges and node addresses of the cluster; allocated as needed.
pub const CLUSTER_RANGES_MAX: u32 = 16_384;
/// Addresses of one node.
pub const NODE_ADDRESSES_MAX: u32 = 1_024;
/// Directions of connections from outside, and of pods with the world: 131,072 connections; 4 MiB of buckets, 192 bytes for each in use.
/// A full table refuses new connections and breaks no old one.
pub const CONNTRACK_MAX: u32 = 262_144;
/// Datagrams in pieces under way; about 100 bytes each: 0.8 MiB.
pub const FRAGMENTS_MAX: u32 = 8_192;
/// Translated sockets open at once on one node. Beyond it connections are still translated, and counted as unrecorded.
pub const CONNECTIONS_MAX: u32 = 262_144;
/// Datagram exchanges of unconnected sockets; about 130 bytes each: 2 MiB.
pub const UDP_REVERSE_MAX: u32 = 16_384;
/// Connections joined across hooks; about 140 bytes each: 4.5 MiB.
pub const FLOW_LINKS_MAX: u32 = 32_768;
/// Addresses with a name: as many as backends could have; 4 MiB of buckets.
pub const ENDPOINTS_MAX: u32 = 262_144;
/// Network namespaces of one agent: its pods and itself.
pub const NETNS_MAX: u32 = 4_096;
/// Directions of flows remembered; about 200 bytes each: 6.5 MiB. The oldest make room; their last counts were reported.
pub const FLOWS_MAX: u32 = 32_768;
/// Ring bytes. 4 MiB hold 27,500 events of 152 bytes: a reader that keeps up with a million events per second
/// may be away for 27 ms, several scheduling slices, before one is lost.
pub const EVENTS_BYTES: u32 = 4 * 1024 * 1024;
/// Entries of `COUNTERS`: room to append without a new layout.
pub const COUNTERS_MAX: u32 = 64;
/// Entries of `DROPS`: room to append without a new layout.
pub const DROPS_MAX: u32 = 256;
/// An `Update` for a flow comes at most this often: the figures in a live view are five seconds old at worst,
/// and 32,768 busy flows make 6,500 events a second.
pub const FLOW_REPORT_INTERVAL_NS: u64 = 5_000_000_000;
/// Silence after which a flow that is not TCP is over: nothing on the wire says so, and the tuple's next packet is another exchange.
/// 30 s is what the kernel's own connection tracking gives an unanswered datagram; keep-alives come more often (25 s and less).
pub const FLOW_IDLE_NS: u64 = 30_000_000_000;
/// Silence after which a TCP flow that showed nothing but SYNs is over: nobody answered, or the refusal ran the other way.
/// The longest pause between two SYNs of one attempt is 32 s (`tcp_syn_retries` 6), 64 s with one of them lost on its way here.
pub const FLOW_SYN_IDLE_NS: u64 = 65_000_000_000;
/// A drop event for one reason comes at most this often on one CPU; `DROPS` counts all of them.
pub const DROP_REPORT_INTERVAL_NS: u64 = 1_000_000;
/// With [`crate::CONFIG_LAZY_EVENTS`], how many unread bytes wake the reader: 1/128 of the ring, 215 events.
pub const EVENTS_WAKE_BYTES: u64 = 32 * 1024;
/// A tracking entry says when it was last used to this precision: less often written, less often shared between CPUs.
pub const TRACK_SEEN_NS: u64 = 1_000_000_000;
/// Silence after which a tracked TCP connection is over: 6 h, as long as any keep-alive leaves between two probes (2 h) and more.
pub const TRACK_TCP_IDLE_NS: u64 = 6 * 3_600 * 1_000_000_000;
/// Silence after which an exchange of datagrams is over: what the kernel gives one that was answered.
pub const TRACK_IDLE_NS: u64 = 120 * 1_000_000_000;
/// The same for one that was never answered: what the kernel gives it, so that a flood to nobody holds ports and entries as briefly.
pub const TRACK_UNANSWERED_NS: u64 = 30 * 1_000_000_000;
/// Silence after which a TCP connection that never was established is over.
pub const TRACK_SYN_NS: u64 = 60 * 1_000_000_000;
/// Silence after which a TCP connection that saw FIN or RST is over.
pub const TRACK_CLOSING_NS: u64 = 10 * 1_000_000_000;
/// Source ports tried for one connection that takes this node's address.
pub const SNAT_ATTEMPTS: u32 = 32;
