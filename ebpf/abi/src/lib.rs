//! The agreement between the kernel programs and user space: keys, values, events, drop reasons, limits.
//!
//! In: nothing. Out: types whose every byte is spelled out, so that both sides read the same memory.
//! Refuses: padding the compiler chose, `bool`, `usize`, pointers and enums that carry data.
//!
//! Numbers that cross the boundary are enums with a `from_raw`; inside a struct they travel as the integer,
//! because a newer kernel object may say a number that this build does not know.
//!
//! ```
//! use beeline_abi::{Addr, Be16, Be32, FrontendKey, Proto};
//! let key = FrontendKey::new(Addr::v4(Be32::from([10, 43, 0, 10])), Be16::from_host(53), Proto::Udp);
//! assert_eq!(key.port.to_host(), 53);
//! ```
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    feature = "user",
    expect(
        unsafe_code,
        reason = "marking a checked layout as plain bytes is an unsafe promise to aya"
    )
)]

/// Changes whenever a key, value or event changes its bytes or its meaning.
/// Pinned maps are adopted only when `CONFIG` holds the same number.
pub const LAYOUT_VERSION: u32 = 3;

/// Fixes size and field offsets at compile time and, for user space, marks the type as plain bytes.
macro_rules! layout {
    ($type:ty, size $size:literal, $($field:ident @ $offset:literal),+ $(,)?) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            $(assert!(core::mem::offset_of!($type, $field) == $offset);)+
        };
        // SAFETY: `repr(C)` or `repr(transparent)`, integers only, no implicit padding (the sizes above), so any bits are valid.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $type {}
    };
}

mod addr;
mod connection;
mod conntrack;
mod counter;
mod endian;
mod endpoint;
mod flow;
mod identity;
pub mod limits;
pub mod maps;
mod service;
mod verdict;

pub use addr::Addr;
pub use connection::{Connection, FlowLink, Tuple, UdpReverse, UdpReverseKey};
pub use conntrack::{
    FragmentKey, FragmentPorts, TRACK_DSR, TRACK_LOCAL, TRACK_MASQUERADE, TRACK_REPLY, TRACK_SNAT,
    Track,
};
pub use counter::{Counter, DropCount};
pub use endian::{Be16, Be32};
pub use endpoint::{
    CONFIG_DSR, CONFIG_EVERY_CALLER, CONFIG_HOST_PORTS, CONFIG_LAZY_EVENTS, CONFIG_MASQUERADE,
    CONFIG_NO_FLOW_RECORDS, Config, Endpoint, NETNS_HOST, NetnsOwner,
};
pub use flow::{
    FLOW_REPLY, FLOW_TRANSLATED, FlowEvent, FlowEventKind, FlowKey, FlowState, Hook, TCP_ACK,
    TCP_FIN, TCP_PSH, TCP_RST, TCP_SYN, TCP_URG,
};
pub use identity::{
    BackendId, EndpointId, Epoch, FlowId, Identity, ListId, Proto, RuleId, ServiceId,
};
pub use service::{
    Affinity, AffinityKey, AffinityOkKey, BACKEND_LOCAL, Backend, BackendCounters, BackendState,
    FRONTEND_EXTERNAL, FRONTEND_HAS_REMOTE, FRONTEND_LOCAL_ONLY, FRONTEND_NODE_ONLY,
    FRONTEND_SOURCE_RANGES, Frontend, FrontendKey, List, NODE_ADDRESS_LOOPBACK, NODE_ADDRESS_PORTS,
    RANGE_CLUSTER, RANGE_LOCAL_PODS, RangeKey, SOURCE_RANGE_BITS, Scope, Slot, SourceRangeKey,
};
pub use verdict::{DropReason, Verdict};

#[cfg(test)]
mod tests;
