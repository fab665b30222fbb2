//! One address type for both families.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::Be32;

/// The third word of an IPv4 address, in memory: `::ffff:a.b.c.d` (RFC 4291, section 2.5.5.2).
const MAPPED: u32 = 0xffffu32.to_be();

/// An IPv6 address as it lies in a packet header, or an IPv4 address in its mapped form: so one map and one code path
/// serve both families, and the two never meet.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr([u32; 4]);

impl Addr {
    /// All zeroes: no address at all, and IPv6's wildcard.
    pub const NONE: Addr = Addr([0; 4]);
    /// IPv4's wildcard, `0.0.0.0`.
    pub const ANY_V4: Addr = Addr::v4(Be32::ZERO);

    /// From an IPv4 address in network order.
    #[inline(always)]
    pub const fn v4(addr: Be32) -> Self {
        Addr([0, 0, MAPPED, addr.raw()])
    }

    /// From the words of an IPv6 header, as they lie there.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Addr(words)
    }

    /// The words as they lie in an IPv6 header.
    #[inline(always)]
    pub const fn words(self) -> [u32; 4] {
        self.0
    }

    /// Whether it is an IPv4 address.
    #[inline(always)]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == MAPPED
    }

    /// The last word: of an IPv4 address all of it, in network order.
    #[inline(always)]
    pub const fn last_word(self) -> Be32 {
        Be32::from_raw(self.0[3])
    }

    /// The IPv4 address, if it is one.
    #[inline(always)]
    pub const fn as_v4(self) -> Option<Be32> {
        if self.is_v4() { Some(Be32::from_raw(self.0[3])) } else { None }
    }

    /// The wildcard of its family.
    #[inline(always)]
    pub const fn any_of_family(self) -> Self {
        if self.is_v4() { Self::ANY_V4 } else { Self::NONE }
    }

    /// Whether there is none.
    #[inline(always)]
    pub const fn is_none(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0 && self.0[3] == 0
    }
}

impl From<Be32> for Addr {
    #[inline(always)]
    fn from(addr: Be32) -> Self {
        Addr::v4(addr)
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(addr: Ipv4Addr) -> Self {
        Addr::v4(addr.into())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(addr: Ipv6Addr) -> Self {
        let o = addr.octets();
        let word = |at: usize| u32::from_ne_bytes([o[at], o[at + 1], o[at + 2], o[at + 3]]);
        Addr([word(0), word(4), word(8), word(12)])
    }
}

impl From<IpAddr> for Addr {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => addr.into(),
            IpAddr::V6(addr) => addr.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        match addr.as_v4() {
            Some(addr) => IpAddr::V4(addr.into()),
            None => {
                let mut octets = [0; 16];
                for (place, word) in octets.chunks_exact_mut(4).zip(addr.0) {
                    place.copy_from_slice(&word.to_ne_bytes());
                }
                IpAddr::V6(octets.into())
            }
        }
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&IpAddr::from(*self), f)
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&IpAddr::from(*self), f)
    }
}

// SAFETY: a transparent array of integers; any bits are valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Addr {}
