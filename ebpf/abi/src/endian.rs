//! Byte order as a type: what is on the wire stays so until somebody asks for the number.

use core::fmt;

/// A 16-bit number in network order, as it lies in a packet header.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Be16(u16);

/// A 32-bit number in network order; an IPv4 address as it lies in a packet header.
#[repr(transparent)]
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Be32(u32);

impl Be16 {
    /// Zero, the same in every order.
    pub const ZERO: Be16 = Be16(0);

    /// From a number as the machine counts.
    #[inline(always)]
    pub const fn from_host(value: u16) -> Self {
        Be16(value.to_be())
    }

    /// To a number as the machine counts.
    #[inline(always)]
    pub const fn to_host(self) -> u16 {
        u16::from_be(self.0)
    }

    /// From memory that already is in network order.
    #[inline(always)]
    pub const fn from_raw(value: u16) -> Self {
        Be16(value)
    }

    /// The memory, still in network order.
    #[inline(always)]
    pub const fn raw(self) -> u16 {
        self.0
    }
}

impl Be32 {
    /// Zero, the same in every order.
    pub const ZERO: Be32 = Be32(0);

    /// From a number as the machine counts.
    #[inline(always)]
    pub const fn from_host(value: u32) -> Self {
        Be32(value.to_be())
    }

    /// To a number as the machine counts.
    #[inline(always)]
    pub const fn to_host(self) -> u32 {
        u32::from_be(self.0)
    }

    /// From memory that already is in network order.
    #[inline(always)]
    pub const fn from_raw(value: u32) -> Self {
        Be32(value)
    }

    /// The memory, still in network order.
    #[inline(always)]
    pub const fn raw(self) -> u32 {
        self.0
    }
}

impl From<[u8; 4]> for Be32 {
    #[inline(always)]
    fn from(octets: [u8; 4]) -> Self {
        Be32(u32::from_ne_bytes(octets))
    }
}

impl From<core::net::Ipv4Addr> for Be32 {
    fn from(address: core::net::Ipv4Addr) -> Self {
        address.octets().into()
    }
}

impl From<Be32> for core::net::Ipv4Addr {
    fn from(address: Be32) -> Self {
        address.0.to_ne_bytes().into()
    }
}

impl fmt::Debug for Be16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_host().fmt(f)
    }
}

impl fmt::Debug for Be32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::net::Ipv4Addr::from(*self).fmt(f)
    }
}

// SAFETY: a transparent integer; any bits are valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Be16 {}
// SAFETY: a transparent integer; any bits are valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Be32 {}
