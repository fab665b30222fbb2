//! The answer to a packet that nobody will take: so that its sender knows at once, instead of waiting for silence to end.
//!
//! In: a frame and its headers. Out: the whole frame of the answer, hardware addresses swapped and checksums complete, written
//! where the caller says: the longest is 110 bytes, and a program's stack has 512.
//! Refuses to answer what no answer may be given to: a RST, an ICMP message, a later fragment, what was sent to many
//! or does not come from one host (RFC 9293, 3.10.7.1; RFC 1122, 3.2.2; RFC 4443, 2.4).
//!
//! A quote is the packet's IP header, without options and extension headers, and eight bytes of its transport header:
//! enough to find the socket, and of one length.

use beeline_abi::{Addr, Be32, Proto, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

use crate::Frame;
use crate::checksum::Sum;
use crate::parse::{L3, Packet, Part, proto};

/// Length of a RST over IPv4.
pub const RESET_V4_BYTES: usize = 14 + 20 + 20;
/// Length of a RST over IPv6.
pub const RESET_V6_BYTES: usize = 14 + 40 + 20;
/// Length of "port unreachable" over IPv4.
pub const UNREACHABLE_V4_BYTES: usize = 14 + 20 + 8 + 28;
/// Length of "port unreachable" over IPv6.
pub const UNREACHABLE_V6_BYTES: usize = 14 + 40 + 8 + 48;

const HOP_LIMIT: u8 = 64;
/// Type 3 (destination unreachable), code 3 (port), and their likes of ICMPv6.
const PORT_UNREACHABLE_V4: [u8; 2] = [3, 3];
const PORT_UNREACHABLE_V6: [u8; 2] = [1, 4];
/// Precedence "internetwork control", which routers give to their errors (RFC 1812, 4.3.2.5).
const ERROR_SERVICE: u8 = 0xc0;
/// How much of the transport header is quoted.
const QUOTED_BYTES: usize = 8;

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

/// A RST for a TCP packet, by value.
#[inline(always)]
pub fn tcp_reset<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
) -> Option<Answer<RESET_V4_BYTES, RESET_V6_BYTES>> {
    if packet.tuple.source_addr.is_v4() {
        let mut answer = [0; RESET_V4_BYTES];
        tcp_reset_v4(frame, packet, &mut answer).then_some(Answer::V4(answer))
    } else {
        let mut answer = [0; RESET_V6_BYTES];
        tcp_reset_v6(frame, packet, &mut answer).then_some(Answer::V6(answer))
    }
}

/// "Port unreachable" for any packet that has ports, by value.
#[inline(always)]
pub fn unreachable<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
) -> Option<Answer<UNREACHABLE_V4_BYTES, UNREACHABLE_V6_BYTES>> {
    if packet.tuple.source_addr.is_v4() {
        let mut answer = [0; UNREACHABLE_V4_BYTES];
        unreachable_v4(frame, packet, &mut answer).then_some(Answer::V4(answer))
    } else {
        let mut answer = [0; UNREACHABLE_V6_BYTES];
        unreachable_v6(frame, packet, &mut answer).then_some(Answer::V6(answer))
    }
}

/// A RST for a TCP packet over IPv4; `false` when there must be none, and then `answer` means nothing.
#[inline(always)]
pub fn tcp_reset_v4<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
    answer: &mut [u8; RESET_V4_BYTES],
) -> bool {
    ethernet(frame, answer)
        && ipv4(packet, answer, 40, Proto::Tcp, 0)
        && reset(frame, packet, answer, 34).is_some()
}

/// A RST for a TCP packet over IPv6; `false` when there must be none, and then `answer` means nothing.
#[inline(always)]
pub fn tcp_reset_v6<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
    answer: &mut [u8; RESET_V6_BYTES],
) -> bool {
    ethernet(frame, answer)
        && ipv6(packet, answer, 20, Proto::Tcp)
        && reset(frame, packet, answer, 54).is_some()
}

/// "Port unreachable" for a packet over IPv4; `false` when there must be none, and then `answer` means nothing.
#[inline(always)]
pub fn unreachable_v4<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
    answer: &mut [u8; UNREACHABLE_V4_BYTES],
) -> bool {
    if !is_quotable(packet)
        || !ethernet(frame, answer)
        || !ipv4(packet, answer, 56, Proto::Icmp, ERROR_SERVICE)
    {
        return false;
    }
    let Some(quoted) = quote_v4(frame, packet, answer, 42) else {
        return false;
    };
    let Some(transport) = quote(frame, packet.l4, answer, 62) else {
        return false;
    };
    let head = PORT_UNREACHABLE_V4;
    put(answer, 34, &[head[0], head[1], 0, 0, 0, 0, 0, 0]);
    let sum = quoted.and(transport).number(u16::from_be_bytes(head));
    put(answer, 36, &sum.checksum());
    true
}

/// "Port unreachable" for a packet over IPv6; `false` when there must be none, and then `answer` means nothing.
#[inline(always)]
pub fn unreachable_v6<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
    answer: &mut [u8; UNREACHABLE_V6_BYTES],
) -> bool {
    if !is_quotable(packet) || !ethernet(frame, answer) || !ipv6(packet, answer, 56, Proto::Icmp6) {
        return false;
    }
    let Some(quoted) = quote_v6(frame, packet, answer, 62) else {
        return false;
    };
    let Some(transport) = quote(frame, packet.l4, answer, 102) else {
        return false;
    };
    let head = PORT_UNREACHABLE_V6;
    put(answer, 54, &[head[0], head[1], 0, 0, 0, 0, 0, 0]);
    let sum = pseudo(packet, Proto::Icmp6, 56)
        .and(quoted)
        .and(transport)
        .number(u16::from_be_bytes(head));
    put(answer, 56, &sum.checksum());
    true
}

/// The TCP header of a RST that the sender of `packet` will believe.
#[inline(always)]
fn reset<F: Frame + ?Sized, const N: usize>(
    frame: &F,
    packet: &Packet,
    answer: &mut [u8; N],
    at: usize,
) -> Option<()> {
    if proto(&packet.tuple) != Some(Proto::Tcp)
        || packet.part != Part::Whole
        || packet.tcp_flags & TCP_RST != 0
    {
        return None;
    }
    let (seq, ack, flags) = numbers(frame, packet)?;
    let (source, dest) = (packet.tuple.dest_port, packet.tuple.source_port);
    let control = u16::from_be_bytes([5 << 4, flags]);
    put(answer, at, &source.raw().to_ne_bytes());
    put(answer, at + 2, &dest.raw().to_ne_bytes());
    put(answer, at + 4, &seq.to_be_bytes());
    put(answer, at + 8, &ack.to_be_bytes());
    put(answer, at + 12, &control.to_be_bytes());
    put(answer, at + 14, &[0; 6]);
    let sum = pseudo(packet, Proto::Tcp, 20)
        .number(source.to_host())
        .number(dest.to_host())
        .word(seq.to_be())
        .word(ack.to_be())
        .number(control);
    put(answer, at + 16, &sum.checksum());
    Some(())
}

/// Sequence number, acknowledgement and flags of a RST (RFC 9293, 3.10.7.1).
#[inline(always)]
fn numbers<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<(u32, u32, u8)> {
    let at = usize::from(packet.l4);
    if packet.tcp_flags & TCP_ACK != 0 {
        return Some((u32::from_be_bytes(frame.load(at + 8)?), 0, TCP_RST));
    }
    let seq = u32::from_be_bytes(frame.load(at + 4)?);
    let [offset] = frame.load(at + 12)?;
    Some((0, seq.wrapping_add(occupied(packet, offset)?), TCP_RST | TCP_ACK))
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

/// Whether an ICMP error may be about the packet, and its ports are there.
#[inline(always)]
fn is_quotable(packet: &Packet) -> bool {
    let has_ports = matches!(proto(&packet.tuple), Some(Proto::Tcp | Proto::Udp | Proto::Sctp));
    has_ports && packet.part != Part::Later
}

/// Quotes eight bytes; tells their sum.
#[inline(always)]
fn quote<F: Frame + ?Sized, const N: usize>(
    frame: &F,
    from: u16,
    answer: &mut [u8; N],
    at: usize,
) -> Option<Sum> {
    let bytes: [u8; QUOTED_BYTES] = frame.load(usize::from(from))?;
    put(answer, at, &bytes);
    Some(Sum::default().bytes(&bytes))
}

/// Quotes the IPv4 header without its options, lengths and checksum to match; tells its sum.
#[inline(always)]
fn quote_v4<F: Frame + ?Sized, const N: usize>(
    frame: &F,
    packet: &Packet,
    answer: &mut [u8; N],
    at: usize,
) -> Option<Sum> {
    let mut header: [u8; 20] = frame.load(usize::from(L3))?;
    if header[0] & 0x0f != 5 {
        let total = packet.end.checked_sub(u32::from(packet.l4))?.checked_add(20)?;
        let [t0, t1] = u16::try_from(total).ok()?.to_be_bytes();
        header[0] = 0x45;
        (header[2], header[3]) = (t0, t1);
        (header[10], header[11]) = (0, 0);
        let [c0, c1] = Sum::default().bytes(&header).checksum();
        (header[10], header[11]) = (c0, c1);
    }
    put(answer, at, &header);
    Some(Sum::default().bytes(&header))
}

/// Quotes the IPv6 header without extension headers, length to match; tells its sum.
#[inline(always)]
fn quote_v6<F: Frame + ?Sized, const N: usize>(
    frame: &F,
    packet: &Packet,
    answer: &mut [u8; N],
    at: usize,
) -> Option<Sum> {
    let mut head: [u8; 8] = frame.load(usize::from(L3))?;
    if head[6] != packet.tuple.proto {
        let payload = packet.end.checked_sub(u32::from(packet.l4))?;
        let [p0, p1] = u16::try_from(payload).ok()?.to_be_bytes();
        (head[4], head[5], head[6]) = (p0, p1, packet.tuple.proto);
    }
    put(answer, at, &head);
    put_addr(answer, at + 8, &packet.tuple.source_addr);
    put_addr(answer, at + 24, &packet.tuple.dest_addr);
    let (source, dest) = (&packet.tuple.source_addr, &packet.tuple.dest_addr);
    Some(Sum::default().bytes(&head).addr(source).addr(dest))
}

/// Hardware addresses swapped; `false` for a frame to many.
#[inline(always)]
fn ethernet<F: Frame + ?Sized, const N: usize>(frame: &F, answer: &mut [u8; N]) -> bool {
    let Some(header) = frame.load::<14>(0) else {
        return false;
    };
    let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, t0, t1] = header;
    put(answer, 0, &[s0, s1, s2, s3, s4, s5, d0, d1, d2, d3, d4, d5, t0, t1]);
    d0 & 1 == 0
}

#[inline(always)]
fn ipv4<const N: usize>(
    packet: &Packet,
    answer: &mut [u8; N],
    total: u8,
    proto: Proto,
    service: u8,
) -> bool {
    let (source, dest) = (packet.tuple.dest_addr.last_word(), packet.tuple.source_addr.last_word());
    // "Do not fragment": so it needs no identification (RFC 6864).
    let head = [0x45, service, 0, total, 0, 0, 0x40, 0, HOP_LIMIT, proto as u8];
    put(answer, 14, &head);
    put(answer, 26, &source.raw().to_ne_bytes());
    put(answer, 30, &dest.raw().to_ne_bytes());
    let sum = Sum::default().bytes(&head).word(source.raw()).word(dest.raw());
    put(answer, 24, &sum.checksum());
    is_one_host_v4(source) && is_one_host_v4(dest)
}

#[inline(always)]
fn ipv6<const N: usize>(packet: &Packet, answer: &mut [u8; N], payload: u8, proto: Proto) -> bool {
    let (source, dest) = (&packet.tuple.dest_addr, &packet.tuple.source_addr);
    put(answer, 14, &[0x60, 0, 0, 0, 0, payload, proto as u8, HOP_LIMIT]);
    put_addr(answer, 22, source);
    put_addr(answer, 38, dest);
    is_one_host_v6(source) && is_one_host_v6(dest)
}

/// The sum of a pseudo header; which address is whose makes no difference.
#[inline(always)]
fn pseudo(packet: &Packet, proto: Proto, length: u16) -> Sum {
    Sum::default()
        .addr(&packet.tuple.source_addr)
        .addr(&packet.tuple.dest_addr)
        .number(u16::from(proto as u8))
        .number(length)
}

/// Neither "this network", nor loopback, multicast, reserved or broadcast.
#[inline(always)]
fn is_one_host_v4(addr: Be32) -> bool {
    let [first, ..] = addr.raw().to_ne_bytes();
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

/// Writes an address as it lies in an IPv6 header.
#[inline(always)]
fn put_addr<const N: usize>(into: &mut [u8; N], at: usize, addr: &Addr) {
    let [a, b, c, d] = addr.words();
    put(into, at, &a.to_ne_bytes());
    put(into, at + 4, &b.to_ne_bytes());
    put(into, at + 8, &c.to_ne_bytes());
    put(into, at + 12, &d.to_ne_bytes());
}
