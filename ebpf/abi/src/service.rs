//! Services: from a frontend to one of its backends, in three lookups whatever the number of Services.
//!
//! The backend list of a Service is swapped as a whole. The writer fills the slots of a new generation,
//! then writes the frontend once with that generation, then deletes the old slots. A reader therefore sees
//! the old list or the new one. A reader caught with the old frontend and deleted slots asks for the frontend once more.

use crate::{BackendId, Be16, Be32, Identity, Proto, ServiceId};

/// Key of `SERVICES`: what a caller dials.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrontendKey {
    /// Service address: ClusterIP, external address or node address.
    pub addr: Be32,
    /// Port.
    pub port: Be16,
    /// Protocol number.
    pub proto: u8,
    /// Zero.
    pub pad: u8,
}
layout!(FrontendKey, size 8, addr @ 0, port @ 4, proto @ 6, pad @ 7);

impl FrontendKey {
    /// A key with its padding zeroed.
    #[inline(always)]
    pub const fn new(addr: Be32, port: Be16, proto: Proto) -> Self {
        FrontendKey { addr, port, proto: proto as u8, pad: 0 }
    }
}

/// Value of `SERVICES`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Frontend {
    /// The Service port; frontends that share a backend list share it.
    pub service_id: ServiceId,
    /// Which list of slots is in force.
    pub generation: u32,
    /// Slots `0..backend_count` exist in that generation; zero refuses connections.
    pub backend_count: u32,
    /// Zero; reserved for affinity and traffic policy.
    pub flags: u32,
}
layout!(Frontend, size 16, service_id @ 0, generation @ 4, backend_count @ 8, flags @ 12);

/// Key of `BACKEND_SLOTS`; the value is a [`BackendId`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotKey {
    /// The Service port.
    pub service_id: ServiceId,
    /// The list.
    pub generation: u32,
    /// Place in the list.
    pub index: u32,
}
layout!(SlotKey, size 12, service_id @ 0, generation @ 4, index @ 8);

/// Value of `BACKENDS`, under a [`BackendId`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Backend {
    /// Where it listens.
    pub addr: Be32,
    /// Where it listens.
    pub port: Be16,
    /// Protocol number.
    pub proto: u8,
    /// A [`BackendState`].
    pub state: u8,
    /// Who it is.
    pub identity: Identity,
    /// Zero.
    pub pad: u32,
}
layout!(Backend, size 16, addr @ 0, port @ 4, proto @ 6, state @ 7, identity @ 8, pad @ 12);

impl Backend {
    /// A backend with its padding zeroed.
    pub const fn new(
        addr: Be32,
        port: Be16,
        proto: Proto,
        state: BackendState,
        identity: Identity,
    ) -> Self {
        Backend { addr, port, proto: proto as u8, state: state as u8, identity, pad: 0 }
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

/// Value of `BACKEND_COUNTS`, one per CPU, under a [`BackendId`]. Only the kernel writes, except that user space
/// creates the zeroed entry with the backend and deletes it with the backend. Open connections: `opened - closed`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendCounters {
    /// Connections translated to this backend.
    pub opened: u64,
    /// Of those, how many ended. May be counted on another CPU than `opened`: sum first, then subtract.
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

const _: () = assert!(size_of::<BackendId>() == 4);
