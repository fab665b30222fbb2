//! ICMPv6 asks for neighbours, routers and groups, which ARP and IGMP do for IPv4: the link's own business.

use beeline_abi::{Addr, Proto};
use beeline_packet::parse::Packet;

/// Whether a packet is talk of the link, from `::` or a link-local address.
#[inline(always)]
pub fn is_from_the_link(packet: &Packet) -> bool {
    let source = packet.tuple.source_addr;
    is_icmp6(packet) && (source.is_none() || first_bits(source, 10) == 0xfe80 >> 6)
}

/// Whether a packet is talk of the link that goes to several, as a question for a neighbour does.
#[inline(always)]
pub fn is_to_many(packet: &Packet) -> bool {
    is_icmp6(packet) && first_bits(packet.tuple.dest_addr, 8) == 0xff
}

#[inline(always)]
fn is_icmp6(packet: &Packet) -> bool {
    packet.tuple.proto == Proto::Icmp6 as u8
}

#[inline(always)]
fn first_bits(addr: Addr, bits: u32) -> u32 {
    let [first, ..] = addr.words();
    u32::from_be(first) >> (32 - bits)
}
