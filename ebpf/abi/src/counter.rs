//! Counts that the kernel keeps, one per CPU: sum them.

macro_rules! counters {
    ($($(#[$doc:meta])* $number:literal $variant:ident $name:literal,)+) => {
        /// Index into `COUNTERS` (values are u64). Append only.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Counter { $($(#[$doc])* $variant = $number,)+ }

        impl Counter {
            /// Every counter, by index.
            pub const ALL: &'static [Counter] = &[$(Counter::$variant,)+];

            /// Its name in the CLI and in metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Counter::$variant => $name,)+
                }
            }
        }
    };
}

counters! {
    /// Events that found the ring full.
    0 EventsLost "events_lost",
    /// Connections translated without a record, because `CONNECTIONS` was full.
    1 ConnectionsFull "connections_full",
    /// Datagrams not translated, because `UDP_REVERSE` refused the entry that replies need.
    2 UdpReverseFull "udp_reverse_full",
    /// Packets without a flow record, because `FLOWS` refused the entry.
    3 FlowsFull "flows_full",
    /// Flows without a link between hooks, because `FLOW_LINKS` refused the entry.
    4 LinksFull "links_full",
    /// Connections translated from a frontend to a backend.
    5 Translated "translated",
    /// Connections and datagrams refused for want of a backend.
    6 Refused "refused",
    /// Packets handed straight to a local pod.
    7 Redirected "redirected",
    /// Packets for a local pod whose link is gone; given to the stack, which answers with ICMP.
    8 EndpointGone "endpoint_gone",
    /// Later fragments, which carry no ports: forwarded, counted under no flow.
    9 Fragments "fragments",
    /// Packets neither IP nor dropped (ARP): passed to the stack.
    10 OtherProtocols "other_protocols",
    /// Frontends that had to be read twice, because their list was swapped in between.
    11 SlotRetries "slot_retries",
    /// Connections from outside translated from a frontend to a backend.
    12 TranslatedOutside "translated_outside",
    /// Connections refused with RST or ICMP.
    13 RefusedOutside "refused_outside",
    /// Connections that took this node's address.
    14 Masqueraded "masqueraded",
    /// Source ports that were taken already.
    15 SnatCollisions "snat_collisions",
    /// Packets sent on without the stack.
    16 ForwardedDirectly "forwarded_directly",
    /// ICMP errors about translated connections.
    17 IcmpErrors "icmp_errors",
    /// Datagrams in pieces whose ports were found.
    18 FragmentsJoined "fragments_joined",
    /// Clients that came back to their backend.
    19 AffinityHits "affinity_hits",
    /// Packets whose next hop was unknown; given to the stack, which asks.
    20 NextHopUnknown "next_hop_unknown",
    /// Tracking entries whose reverse entry had gone: the connection began anew.
    21 TrackRepaired "track_repaired",
}

/// Value of `DROPS`, under a [`crate::DropReason`] as index.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DropCount {
    /// Packets, or refused connections.
    pub packets: u64,
    /// Bytes; zero for connections.
    pub bytes: u64,
    /// Last event about this reason on this CPU, monotonic clock: at most one per
    /// [`crate::limits::DROP_REPORT_INTERVAL_NS`], so that a hostile pod cannot flood the ring.
    pub reported_ns: u64,
}
layout!(DropCount, size 24, packets @ 0, bytes @ 8, reported_ns @ 16);
