//! What the sender's packets look like: small UDP datagrams over IPv4, from 198.18.0.0/15, the range for measuring.

use std::net::{Ipv4Addr, SocketAddrV4};

/// Ethernet, IPv4 and UDP headers.
const HEADERS: usize = 14 + 20 + 8;
/// The smallest Ethernet frame, without its checksum.
const LENGTH: usize = 60;
/// Where senders are: RFC 2544's range for benchmarks. The lower sixteen bits are the flow's.
const SOURCE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);

/// A packet, apart from what tells flows apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Hardware address of the next hop.
    pub to_mac: [u8; 6],
    /// Hardware address of the sender.
    pub from_mac: [u8; 6],
    /// Where to.
    pub to: SocketAddrV4,
}

impl Frame {
    /// The bytes of the first flow's packet, without IPv4 checksum.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let total = u16::try_from(LENGTH - 14).unwrap_or_default();
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend(self.to_mac);
        bytes.extend(self.from_mac);
        bytes.extend([0x08, 0x00]);
        bytes.extend([0x45, 0]);
        bytes.extend(total.to_be_bytes());
        bytes.extend([0, 0, 0, 0, 64, 17, 0, 0]);
        bytes.extend(SOURCE.octets());
        bytes.extend(self.to.ip().octets());
        bytes.extend(0u16.to_be_bytes());
        bytes.extend(self.to.port().to_be_bytes());
        bytes.extend((total - 20).to_be_bytes());
        // No UDP checksum: legal for IPv4, and the same for everybody who translates.
        bytes.extend([0, 0]);
        bytes.resize(LENGTH, 0);
        bytes
    }

    /// The headers as words in memory order, with the last one filled up by payload.
    #[must_use]
    pub fn words(&self) -> Vec<i32> {
        let bytes = self.bytes();
        let (words, _) = bytes[..HEADERS.next_multiple_of(4)].as_chunks::<4>();
        words.iter().map(|word| i32::from_ne_bytes(*word)).collect()
    }

    /// The one's complement sum of the IPv4 header as it is, in memory order: RFC 1071 lets it be summed in any.
    #[must_use]
    pub fn sum(&self) -> u16 {
        let bytes = self.bytes();
        let (halves, _) = bytes[14..34].as_chunks::<2>();
        let mut sum: u32 = halves.iter().map(|half| u32::from(u16::from_ne_bytes(*half))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        u16::try_from(sum).unwrap_or_default()
    }
}
