//! The answer to a packet that nobody will take: so that its sender knows at once, instead of waiting for silence to end.
//!
//! In: a frame and its headers. Out: the whole frame of the answer, hardware addresses swapped and checksums complete.
//! Refuses to answer what no answer may be given to: a RST, an ICMP message, a later fragment, what was sent to many
//! or does not come from one host (RFC 9293, 3.10.7.1; RFC 1122, 3.2.2; RFC 4443, 2.4).
//!
//! A quote is the packet's IP header, without options and extension headers, and eight bytes of its transport header:
//! enough to find the socket, and of one length.

use beeline_abi::{Addr, Be32, Proto, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

use crate::Frame;
use crate::checksum::Sum;
use crate::nat::{octets, octets_v4};
use crate::parse::{L3, Packet, Part, proto};

const HOP_LIMIT: u8 = 64;
/// Type 3 (destination unreachable), code 3 (port), and their likes of ICMPv6.
const PORT_UNREACHABLE_V4: [u8; 2] = [3, 3];
const PORT_UNREACHABLE_V6: [u8; 2] = [1, 4];
/// Precedence "internetwork control", which routers give to their errors (RFC 1812, 4.3.2.5).
const ERROR_SERVICE: u8 = 0xc0;

/// A frame to send back where the refused one came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<const V4: usize, const V6: usize> {
    /// To an IPv4 packet.
    V4([u8; V4]),
    /// To an IPv6 packet.
    V6([u8; V6]),
}

impl<const V4: usize, const V6: usize> Answer<V4, V6> {
    /// Length of the frame.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        match self {
            Answer::V4(_) => V4,
            Answer::V6(_) => V6,
        }
    }

    /// The frame.
    #[inline(always)]
    pub const fn bytes(&self) -> &[u8] {
        match self {
            Answer::V4(bytes) => bytes,
            Answer::V6(bytes) => bytes,
        }
    }
}

/// Length of [`tcp_reset_v4`].
pub const RESET_V4_BYTES: usize = 14 + 20 + 20;
/// Length of [`tcp_reset_v6`].
pub const RESET_V6_BYTES: usize = 14 + 40 + 20;
/// Length of [`unreachable_v4`].
pub const UNREACHABLE_V4_BYTES: usize = 14 + 20 + 8 + 28;
/// Length of [`unreachable_v6`].
pub const UNREACHABLE_V6_BYTES: usize = 14 + 40 + 8 + 48;

/// A RST for a TCP packet.
#[inline(always)]
pub fn tcp_reset<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
) -> Option<Answer<RESET_V4_BYTES, RESET_V6_BYTES>> {
    if packet.tuple.source_addr.is_v4() {
        tcp_reset_v4(frame, packet).map(Answer::V4)
    } else {
        tcp_reset_v6(frame, packet).map(Answer::V6)
    }
}

/// "Port unreachable" for any packet that has ports.
#[inline(always)]
pub fn unreachable<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
) -> Option<Answer<UNREACHABLE_V4_BYTES, UNREACHABLE_V6_BYTES>> {
    if packet.tuple.source_addr.is_v4() {
        unreachable_v4(frame, packet).map(Answer::V4)
    } else {
        unreachable_v6(frame, packet).map(Answer::V6)
    }
}

/// A RST for a TCP packet over IPv4.
#[inline(always)]
pub fn tcp_reset_v4<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<[u8; RESET_V4_BYTES]> {
    let mut answer = [0; RESET_V4_BYTES];
    let tcp = reset(frame, packet)?;
    ethernet(frame, &mut answer)?;
    put(&mut answer, 14, &ipv4(packet, 40, Proto::Tcp, 0)?);
    put(&mut answer, 34, &tcp);
    Some(answer)
}

/// A RST for a TCP packet over IPv6.
#[inline(always)]
pub fn tcp_reset_v6<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<[u8; RESET_V6_BYTES]> {
    let mut answer = [0; RESET_V6_BYTES];
    let tcp = reset(frame, packet)?;
    ethernet(frame, &mut answer)?;
    put(&mut answer, 14, &ipv6(packet, 20, Proto::Tcp)?);
    put(&mut answer, 54, &tcp);
    Some(answer)
}

/// "Port unreachable" for a packet over IPv4.
#[inline(always)]
pub fn unreachable_v4<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
) -> Option<[u8; UNREACHABLE_V4_BYTES]> {
    let mut answer = [0; UNREACHABLE_V4_BYTES];
    let transport = quotable(frame, packet)?;
    let quoted = quoted_v4(frame, packet)?;
    ethernet(frame, &mut answer)?;
    put(&mut answer, 14, &ipv4(packet, 56, Proto::Icmp, ERROR_SERVICE)?);
    let mut icmp = [0; 8];
    put(&mut icmp, 0, &PORT_UNREACHABLE_V4);
    let sum = Sum::default().bytes(&icmp).bytes(&quoted).bytes(&transport);
    put(&mut icmp, 2, &sum.checksum());
    put(&mut answer, 34, &icmp);
    put(&mut answer, 42, &quoted);
    put(&mut answer, 62, &transport);
    Some(answer)
}

/// "Port unreachable" for a packet over IPv6.
#[inline(always)]
pub fn unreachable_v6<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
) -> Option<[u8; UNREACHABLE_V6_BYTES]> {
    let mut answer = [0; UNREACHABLE_V6_BYTES];
    write_unreachable_v6(frame, packet, &mut answer)?;
    Some(answer)
}

/// The same into memory of the caller's, for programs whose stack is too short for it.
#[inline(always)]
pub fn write_unreachable_v6<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
    answer: &mut [u8; UNREACHABLE_V6_BYTES],
) -> Option<()> {
    let transport = quotable(frame, packet)?;
    put(answer, 102, &transport);
    let quoted = quoted_v6(frame, packet)?;
    put(answer, 62, &quoted);
    let mut icmp = [0; 8];
    put(&mut icmp, 0, &PORT_UNREACHABLE_V6);
    let sum = pseudo(packet, Proto::Icmp6, 56).bytes(&icmp).bytes(&quoted).bytes(&transport);
    put(&mut icmp, 2, &sum.checksum());
    put(answer, 54, &icmp);
    ethernet(frame, answer)?;
    put(answer, 14, &ipv6(packet, 56, Proto::Icmp6)?);
    Some(())
}

/// The TCP header of a RST that the sender of `packet` will believe.
#[inline(always)]
fn reset<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<[u8; 20]> {
    let flags = packet.tcp_flags;
    if proto(&packet.tuple) != Some(Proto::Tcp)
        || packet.part != Part::Whole
        || flags & TCP_RST != 0
    {
        return None;
    }
    let header: [u8; 20] = frame.load(usize::from(packet.l4))?;
    let mut answer = [0; 20];
    put(&mut answer, 0, &packet.tuple.dest_port.raw().to_ne_bytes());
    put(&mut answer, 2, &packet.tuple.source_port.raw().to_ne_bytes());
    answer[12] = 5 << 4;
    if flags & TCP_ACK != 0 {
        put(&mut answer, 4, &[header[8], header[9], header[10], header[11]]);
        answer[13] = TCP_RST;
    } else {
        let seq = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
        put(&mut answer, 8, &seq.wrapping_add(occupied(packet, header[12])?).to_be_bytes());
        answer[13] = TCP_RST | TCP_ACK;
    }
    let sum = pseudo(packet, Proto::Tcp, 20).bytes(&answer);
    put(&mut answer, 16, &sum.checksum());
    Some(answer)
}

/// How many sequence numbers a segment takes; `None` when its header is longer than the packet.
#[inline(always)]
fn occupied(packet: &Packet, offset: u8) -> Option<u32> {
    let payload = u32::from(packet.l4) + u32::from(offset >> 4) * 4;
    let length = packet.end.checked_sub(payload)?;
    let syn = u32::from(packet.tcp_flags & TCP_SYN != 0);
    let fin = u32::from(packet.tcp_flags & TCP_FIN != 0);
    Some(length + syn + fin)
}

/// The first eight bytes of a transport header that an ICMP error may be about.
#[inline(always)]
fn quotable<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<[u8; 8]> {
    match proto(&packet.tuple)? {
        Proto::Icmp | Proto::Icmp6 => return None,
        Proto::Tcp | Proto::Udp | Proto::Sctp => {}
    }
    if packet.part == Part::Later {
        return None;
    }
    frame.load(usize::from(packet.l4))
}

/// The IPv4 header to quote: without its options, lengths and checksum to match.
#[inline(always)]
fn quoted_v4<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<[u8; 20]> {
    let mut header: [u8; 20] = frame.load(usize::from(L3))?;
    if header[0] & 0x0f != 5 {
        let total = packet.end.checked_sub(u32::from(packet.l4))?.checked_add(20)?;
        header[0] = 0x45;
        put(&mut header, 2, &u16::try_from(total).ok()?.to_be_bytes());
        put(&mut header, 10, &[0, 0]);
        let checksum = Sum::default().bytes(&header).checksum();
        put(&mut header, 10, &checksum);
    }
    Some(header)
}

/// The IPv6 header to quote: without extension headers, length to match.
#[inline(always)]
fn quoted_v6<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<[u8; 40]> {
    let mut header: [u8; 40] = frame.load(usize::from(L3))?;
    if header[6] != packet.tuple.proto {
        let payload = packet.end.checked_sub(u32::from(packet.l4))?;
        header[6] = packet.tuple.proto;
        put(&mut header, 4, &u16::try_from(payload).ok()?.to_be_bytes());
    }
    Some(header)
}

/// Hardware addresses swapped; `None` for a frame to many.
#[inline(always)]
fn ethernet<F: Frame + ?Sized, const N: usize>(frame: &F, answer: &mut [u8; N]) -> Option<()> {
    let header: [u8; 14] = frame.load(0)?;
    if header[0] & 1 != 0 {
        return None;
    }
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = header;
    put(answer, 0, &[s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5, t0, t1]);
    Some(())
}

#[inline(always)]
fn ipv4(packet: &Packet, total: u8, proto: Proto, service: u8) -> Option<[u8; 20]> {
    let (source, dest) = (packet.tuple.dest_addr.as_v4()?, packet.tuple.source_addr.as_v4()?);
    if !is_one_host_v4(source) || !is_one_host_v4(dest) {
        return None;
    }
    let mut header = [0; 20];
    header[0] = 0x45;
    header[1] = service;
    header[3] = total;
    // "Do not fragment": so it needs no identification (RFC 6864).
    header[6] = 0x40;
    header[8] = HOP_LIMIT;
    header[9] = proto as u8;
    put(&mut header, 12, &octets_v4(source));
    put(&mut header, 16, &octets_v4(dest));
    let checksum = Sum::default().bytes(&header).checksum();
    put(&mut header, 10, &checksum);
    Some(header)
}

#[inline(always)]
fn ipv6(packet: &Packet, payload: u8, proto: Proto) -> Option<[u8; 40]> {
    let (source, dest) = (packet.tuple.dest_addr, packet.tuple.source_addr);
    if !is_one_host_v6(&source) || !is_one_host_v6(&dest) {
        return None;
    }
    let mut header = [0; 40];
    header[0] = 0x60;
    header[5] = payload;
    header[6] = proto as u8;
    header[7] = HOP_LIMIT;
    put(&mut header, 8, &octets(&source));
    put(&mut header, 24, &octets(&dest));
    Some(header)
}

/// The sum of a pseudo header. Which address is whose makes no difference; of IPv4 only the last words count,
/// because what maps an address, `ffff`, is nothing in one's complement.
#[inline(always)]
fn pseudo(packet: &Packet, proto: Proto, length: u16) -> Sum {
    Sum::default()
        .bytes(&octets(&packet.tuple.source_addr))
        .bytes(&octets(&packet.tuple.dest_addr))
        .number(u16::from(proto as u8))
        .number(length)
}

/// Neither "this network", nor loopback, multicast, reserved or broadcast.
#[inline(always)]
fn is_one_host_v4(addr: Be32) -> bool {
    let [first, ..] = octets_v4(addr);
    first != 0 && first != 127 && first < 224
}

/// Neither unspecified nor multicast.
#[inline(always)]
fn is_one_host_v6(addr: &Addr) -> bool {
    let [first, ..] = addr.words();
    let [first, ..] = first.to_ne_bytes();
    !addr.is_none() && first != 0xff
}

/// Writes `M` bytes into an array. All places are constants, so nothing is left of the check; what would not fit is not written.
#[inline(always)]
fn put<const N: usize, const M: usize>(into: &mut [u8; N], at: usize, bytes: &[u8; M]) {
    if let Some(place) = into.get_mut(at..at + M) {
        place.copy_from_slice(bytes);
    }
}
