//! Checksums from scratch, over whole packets: slow, obvious, and nothing in common with the code they check.

use std::vec::Vec;

use beeline_abi::Proto;

use crate::icmp::Embedded;
use crate::nat::octets;
use crate::parse::{Packet, Part};

/// The checksum (RFC 1071) of bytes one after another; an odd last byte counts as the upper half.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) << 8 | u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

/// Whether the IPv4 header at `l3` sums up; an IPv6 header has nothing to be wrong.
pub fn header_is_right(frame: &[u8], l3: u16) -> bool {
    let l3 = usize::from(l3);
    frame[l3] >> 4 == 6 || checksum(&frame[l3..l3 + usize::from(frame[l3] & 0xf) * 4]) == 0
}

/// Whether the transport sums up; `None` for fragments, protocols without this checksum, and UDP that has none.
pub fn transport_is_right(frame: &[u8], packet: &Packet) -> Option<bool> {
    let at = field(packet)?;
    if packet.tuple.proto == Proto::Udp as u8 && frame[at..at + 2] == [0, 0] {
        return None;
    }
    Some(checksum(&covered(frame, packet)) == 0)
}

/// The sum of the pseudo header alone, which a sender leaves to its network card.
pub fn pseudo_sum(packet: &Packet) -> u16 {
    !checksum(&pseudo(packet))
}

/// Writes the checksums that a sender would.
pub fn fix(frame: &mut [u8], packet: &Packet) {
    fix_header(frame, 14);
    if let Some(at) = field(packet) {
        frame[at..at + 2].fill(0);
        let right = checksum(&covered(frame, packet));
        let udp = packet.tuple.proto == Proto::Udp as u8;
        frame[at..at + 2]
            .copy_from_slice(&if udp && right == 0 { 0xffff } else { right }.to_be_bytes());
    }
}

/// Writes the checksum of a quoted IPv4 header, and some transport checksum that a sender might have written.
pub fn fix_quoted(frame: &mut [u8], embedded: &Embedded) {
    fix_header(frame, embedded.l3);
    let offset = match Proto::from_raw(embedded.tuple.proto) {
        Some(Proto::Tcp) => 16,
        Some(Proto::Udp) => 6,
        Some(Proto::Icmp | Proto::Icmp6) => 2,
        Some(Proto::Sctp) | None => return,
    };
    let at = usize::from(embedded.l4) + offset;
    if let Some([high, low]) = frame.get_mut(at..at + 2)
        && (*high, *low) == (0xff, 0xff)
    {
        *low = 0xfe;
    }
}

fn fix_header(frame: &mut [u8], l3: u16) {
    let l3 = usize::from(l3);
    if frame[l3] >> 4 == 4 {
        frame[l3 + 10..l3 + 12].fill(0);
        let right = checksum(&frame[l3..l3 + usize::from(frame[l3] & 0xf) * 4]);
        frame[l3 + 10..l3 + 12].copy_from_slice(&right.to_be_bytes());
    }
}

/// Whether no checksum is written in the way that no sender would: `ffff` where it means the same as zero.
pub fn is_canonical(frame: &[u8], packet: &Packet) -> bool {
    let transport = match Proto::from_raw(packet.tuple.proto) {
        Some(Proto::Tcp) => Some(16),
        Some(Proto::Icmp | Proto::Icmp6) => Some(2),
        Some(Proto::Udp | Proto::Sctp) | None => None,
    };
    let is_usual = |at: usize| frame.get(at..at + 2) != Some(&[0xff, 0xff]);
    let header = frame[14] >> 4 == 6 || is_usual(24);
    header && transport.is_none_or(|offset| is_usual(usize::from(packet.l4) + offset))
}

/// What was right is right.
pub fn assert_kept(before: &[u8], from: &Packet, after: &[u8], to: &Packet) {
    if header_is_right(before, 14) {
        assert!(header_is_right(after, 14), "the header's checksum");
    }
    let right = transport_is_right(before, from);
    // Of zeroes alone no update can tell whether their sum is zero or its complement, but a receiver can (RFC 1624, section 3).
    let is_void =
        |frame: &[u8], packet: &Packet| covered(frame, packet).iter().all(|byte| *byte == 0);
    if right.is_some() && !is_void(before, from) && !is_void(after, to) {
        assert_eq!(transport_is_right(after, to), right, "the transport's checksum");
    }
}

/// Where the transport's checksum is, for whole packets.
fn field(packet: &Packet) -> Option<usize> {
    let v4 = packet.tuple.source_addr.is_v4();
    let offset = match Proto::from_raw(packet.tuple.proto)? {
        Proto::Tcp => 16,
        Proto::Udp => 6,
        Proto::Icmp if v4 => 2,
        Proto::Icmp6 if !v4 => 2,
        Proto::Icmp | Proto::Icmp6 | Proto::Sctp => return None,
    };
    (packet.part == Part::Whole).then(|| usize::from(packet.l4) + offset)
}

/// The bytes that the transport's checksum covers, the pseudo header of the packet's family first.
fn covered(frame: &[u8], packet: &Packet) -> Vec<u8> {
    let mut bytes = Vec::new();
    if packet.tuple.proto != Proto::Icmp as u8 {
        bytes = pseudo(packet);
    }
    bytes.extend(&frame[usize::from(packet.l4)..packet.end as usize]);
    bytes
}

fn pseudo(packet: &Packet) -> Vec<u8> {
    let first = if packet.tuple.source_addr.is_v4() { 12 } else { 0 };
    let mut bytes = Vec::new();
    bytes.extend(&octets(&packet.tuple.source_addr)[first..]);
    bytes.extend(&octets(&packet.tuple.dest_addr)[first..]);
    bytes.extend((packet.end - u32::from(packet.l4)).to_be_bytes());
    bytes.extend([0, 0, 0, packet.tuple.proto]);
    bytes
}
