//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
//!
//! All sums are of words as they lie in memory: a one's-complement sum does not mind the byte order as long as all words agree.

use beeline_abi::{Addr, Be16};

/// What was added to a one's-complement sum, as `bpf_csum_diff` gives it: 32 bits, not yet folded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Diff(u32);

impl Diff {
    /// Nothing changed.
    pub const NONE: Diff = Diff(0);

    /// One address instead of another of the same family.
    #[inline(always)]
    pub fn addr(from: &Addr, to: &Addr) -> Diff {
        if from == to {
            return Diff::NONE;
        }
        let (from, to) = (from.words(), to.words());
        Diff::changed(from[0], to[0])
            .and(Diff::changed(from[1], to[1]))
            .and(Diff::changed(from[2], to[2]))
            .and(Diff::changed(from[3], to[3]))
    }

    /// One port, or any other aligned 16-bit field, instead of another.
    #[inline(always)]
    pub fn port(from: Be16, to: Be16) -> Diff {
        Diff::word(u32::from(from.raw()), u32::from(to.raw()))
    }

    /// One aligned word instead of another.
    #[inline(always)]
    pub fn word(from: u32, to: u32) -> Diff {
        if from == to { Diff::NONE } else { Diff::changed(from, to) }
    }

    /// Without a branch, which the verifier would walk both ways; of equal words the other zero.
    #[inline(always)]
    fn changed(from: u32, to: u32) -> Diff {
        Diff(to).and(Diff(!from))
    }

    /// Both changes.
    #[inline(always)]
    pub fn and(self, other: Diff) -> Diff {
        let sum = u64::from(self.0) + u64::from(other.0);
        // The carry comes round, and leaves none.
        Diff((((sum & 0xffff_ffff) + (sum >> 32)) & 0xffff_ffff) as u32)
    }

    /// The number, for the kernel's helpers.
    #[inline(always)]
    pub const fn raw(self) -> u32 {
        self.0
    }

    /// The checksum after the change, both as they lie in memory.
    /// `None` when it stays as it is: nothing changed, or zero means that there is none.
    ///
    /// Wrong for one message only: when every byte under it has become zero, which takes an ICMP echo reply with identifier,
    /// sequence number and payload of zeroes.
    #[inline(always)]
    pub fn applied(self, checksum: u16, zero_means_none: bool) -> Option<u16> {
        if self.0 == 0 || (zero_means_none && checksum == 0) {
            return None;
        }
        let new = !fold(self.and(Diff(u32::from(!checksum))).0);
        Some(if zero_means_none && new == 0 { 0xffff } else { new })
    }
}

/// What changed under a transport checksum. The parts stay apart, because a packet whose checksum the network card completes
/// holds the sum of the pseudo header only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChecksumChange {
    /// What the pseudo header contributes: addresses.
    pub pseudo: Diff,
    /// What the transport header and its payload contribute: ports, identifiers, quoted packets.
    pub rest: Diff,
    /// Whether the addresses are IPv6: then no header checksum makes up for their change, which the kernel wants to know.
    pub v6: bool,
}

/// A sum from scratch, over whole 16-bit words.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u32);

impl Sum {
    /// Adds bytes that begin at an even distance; an odd last byte is left out, so `N` is even.
    #[inline(always)]
    pub(crate) fn bytes<const N: usize>(self, bytes: &[u8; N]) -> Sum {
        const { assert!(N.is_multiple_of(2) && N < 1024) };
        let mut sum = self.0;
        for pair in bytes.chunks_exact(2) {
            if let [high, low] = *pair {
                sum += u32::from(u16::from_ne_bytes([high, low]));
            }
        }
        Sum(sum)
    }

    /// Both sums.
    #[inline(always)]
    pub(crate) fn and(self, other: Sum) -> Sum {
        Sum(self.0 + other.0)
    }

    /// Adds an aligned word.
    #[inline(always)]
    pub(crate) fn word(self, word: u32) -> Sum {
        Sum(self.0 + (word & 0xffff) + (word >> 16))
    }

    /// Adds an address as it lies in an IPv6 header or, for its last word, in an IPv4 header: what maps that one, `ffff`,
    /// is nothing in one's complement.
    #[inline(always)]
    pub(crate) fn addr(self, addr: &Addr) -> Sum {
        let [a, b, c, d] = addr.words();
        self.word(a).word(b).word(c).word(d)
    }

    /// Adds a number below 65,536, which goes into the packet in network order.
    #[inline(always)]
    pub(crate) fn number(self, value: u16) -> Sum {
        Sum(self.0 + u32::from(value.to_be()))
    }

    /// The sum, not yet folded.
    #[inline(always)]
    pub(crate) const fn value(self) -> u32 {
        self.0
    }

    /// The checksum's bytes.
    #[inline(always)]
    pub(crate) fn checksum(self) -> [u8; 2] {
        (!fold(self.0)).to_ne_bytes()
    }
}

/// 32 bits to 16, carries brought round; of the sum only zero gives zero.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    // The second fold leaves no carry.
    (sum & 0xffff) as u16
}
