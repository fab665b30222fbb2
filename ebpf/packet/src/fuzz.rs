//! What must hold for any input: the bodies of the fuzz targets, which the tests run over the corpora and over made-up frames.
//!
//! Each takes a fuzzer's bytes and panics when something does not hold. Frames come alone, or behind the [`Wish`] that says what
//! to make of them.

// A broken promise is reported by a panic: that is what these functions are for.
#![expect(clippy::unwrap_used, reason = "checks for tests and fuzzers")]

use std::vec::Vec;

use beeline_abi::{Addr, Be16, Be32, DropReason, Proto, TCP_RST, Tuple};

use crate::dsr::{self, Dialled};
use crate::icmp;
use crate::nat::{Rewrite, decrement_hop_limit, rewrite, rewrite_error};
use crate::parse::{ETHERNET_BYTES, Packet, Parsed, Part};
use crate::refuse::{tcp_reset, unreachable};

pub mod reference;

/// Takes a fuzzer's bytes, panics when something does not hold.
pub type Target = fn(&[u8]);

/// Every target by name: its corpus lies under that name.
pub const TARGETS: &[(&str, Target)] = &[
    ("parse", parse),
    ("nat_both_ways", nat_both_ways),
    ("icmp_error", icmp_error),
    ("refuse", refuse),
    ("dsr", dsr),
];

/// What a target is to do with the frame behind it: 37 bytes of any value.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Bit 0: make the checksums right first. Bits 1 to 4: change source address, destination address, source port, destination port.
    pub flags: u8,
    /// Address for the source; of IPv4 the first four bytes.
    pub source: [u8; 16],
    /// Address for the destination.
    pub dest: [u8; 16],
    /// Port for the source.
    pub source_port: Be16,
    /// Port for the destination.
    pub dest_port: Be16,
}

impl Wish {
    /// Length before the frame.
    pub const BYTES: usize = 37;

    /// As the bytes before a frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from([self.flags]);
        bytes.extend(self.source);
        bytes.extend(self.dest);
        bytes.extend(self.source_port.raw().to_ne_bytes());
        bytes.extend(self.dest_port.raw().to_ne_bytes());
        bytes
    }

    /// From a fuzzer's bytes, with the frame that follows.
    fn split(data: &[u8]) -> Option<(Self, Vec<u8>)> {
        let (head, frame) = data.split_at_checked(Self::BYTES)?;
        let wish = Wish {
            flags: head[0],
            source: head[1..17].try_into().ok()?,
            dest: head[17..33].try_into().ok()?,
            source_port: Be16::from_raw(u16::from_ne_bytes([head[33], head[34]])),
            dest_port: Be16::from_raw(u16::from_ne_bytes([head[35], head[36]])),
        };
        Some((wish, frame.to_vec()))
    }

    /// What a packet of that tuple is to look like: of ICMP only what can be written.
    fn rewrite(&self, tuple: &Tuple) -> Rewrite {
        let v4 = tuple.source_addr.is_v4();
        let addr = |octets: &[u8; 16]| {
            let addr = Addr::from(std::net::Ipv6Addr::from(*octets));
            // A mapped address cannot stand in an IPv6 header.
            if v4 || addr.is_v4() { first(octets, v4) } else { addr }
        };
        let mut to = Rewrite::unchanged(tuple);
        if self.flags & 2 != 0 {
            to.source_addr = addr(&self.source);
        }
        if self.flags & 4 != 0 {
            to.dest_addr = addr(&self.dest);
        }
        if self.flags & 8 != 0 {
            to.source_port = self.source_port;
        }
        if self.flags & 16 != 0 {
            to.dest_port = self.dest_port;
        }
        to
    }
}

/// An address of the wanted family that begins with these octets.
fn first(octets: &[u8; 16], v4: bool) -> Addr {
    let [a, b, c, d, ..] = *octets;
    let word = Be32::from([a, b, c, d]);
    if v4 { Addr::v4(word) } else { Addr::from_words([word.raw(), 1, 2, 3]) }
}

fn packet(frame: &[u8]) -> Option<Packet> {
    match crate::parse::parse(frame) {
        Ok(Parsed::Ip(packet)) => Some(packet),
        Ok(Parsed::Other) | Err(_) => None,
    }
}

/// Headers lie within the packet, and what lies behind it has no say.
pub fn parse(data: &[u8]) {
    let Some(packet) = packet(data) else {
        return;
    };
    let end = packet.end as usize;
    assert!(usize::from(packet.l4) <= end && end <= data.len(), "{packet:?}");
    assert_eq!(packet.bytes as usize, data.len() - ETHERNET_BYTES);
    assert_eq!(packet.tuple.source_addr.is_v4(), packet.tuple.dest_addr.is_v4());
    if packet.part == Part::Later {
        assert_eq!((packet.tuple.source_port, packet.tuple.dest_port), (Be16::ZERO, Be16::ZERO));
        assert_eq!(packet.tcp_flags, 0);
    }
    if packet.tcp_flags != 0 {
        assert!(packet.tuple.proto == Proto::Tcp as u8 && end - usize::from(packet.l4) >= 20);
    }
    let bare = self::packet(&data[..end]).unwrap();
    assert_eq!(bare, Packet { bytes: bare.bytes, ..packet }, "padding changed the answer");
    for cut in [usize::from(packet.l4), end / 2, end.saturating_sub(1)] {
        if cut < end {
            assert_eq!(crate::parse::parse(&data[..cut]), Err(DropReason::Truncated));
        }
    }
}

/// Rewriting gives the tuple that was asked for, keeps right checksums right, and rewriting back gives the same bytes.
pub fn nat_both_ways(data: &[u8]) {
    let Some((wish, mut frame)) = Wish::split(data) else {
        return;
    };
    let Some(packet) = packet(&frame) else {
        return;
    };
    if wish.flags & 1 != 0 {
        reference::fix(&mut frame, &packet);
    }
    let before = frame.clone();
    let to = wish.rewrite(&packet.tuple);
    if let Err(reason) = rewrite(&mut frame[..], &packet, &to) {
        assert_eq!(reason, DropReason::Untranslatable);
        assert_eq!(frame, before, "refused, but something was written");
        return;
    }
    let after = self::packet(&frame).unwrap();
    let mut wanted = to.tuple(packet.tuple.proto);
    if packet.part == Part::Later {
        (wanted.source_port, wanted.dest_port) = (Be16::ZERO, Be16::ZERO);
    }
    assert_eq!(after, Packet { tuple: wanted, ..packet });
    reference::assert_kept(&before, &packet, &frame, &after);
    rewrite(&mut frame[..], &after, &Rewrite::unchanged(&packet.tuple)).unwrap();
    if reference::is_canonical(&before, &packet) {
        assert_eq!(frame, before, "there and back is not the same");
    }
    hop_limit(frame, &packet);
}

fn hop_limit(mut frame: Vec<u8>, packet: &Packet) {
    let before = frame.clone();
    match decrement_hop_limit(&mut frame[..], packet) {
        Err(reason) => {
            assert_eq!((reason, packet.hop_limit <= 1), (DropReason::HopLimit, true));
            assert_eq!(frame, before);
        }
        Ok(()) => {
            let after = self::packet(&frame).unwrap();
            assert_eq!(after, Packet { hop_limit: packet.hop_limit - 1, ..*packet });
            reference::assert_kept(&before, packet, &frame, &after);
        }
    }
}

/// Translating an ICMP error gives the tuples that were asked for, keeps right checksums right, and goes back.
pub fn icmp_error(data: &[u8]) {
    let Some((wish, mut frame)) = Wish::split(data) else {
        return;
    };
    let Some(packet) = packet(&frame) else {
        return;
    };
    let Some(Ok(embedded)) = icmp::error(&frame[..], &packet) else {
        return;
    };
    assert!(packet.l4 + 8 == embedded.l3 && embedded.l3 < embedded.l4);
    assert!(u32::from(embedded.l4) <= packet.end);
    if wish.flags & 1 != 0 {
        reference::fix_quoted(&mut frame, &embedded);
        reference::fix(&mut frame, &packet);
    }
    let before = frame.clone();
    let inner = wish.rewrite(&embedded.tuple);
    let outer = Rewrite { source_port: Be16::ZERO, ..wish.rewrite(&packet.tuple).reversed() };
    let Ok(()) = rewrite_error(&mut frame[..], &packet, &embedded, &outer, &inner) else {
        assert_eq!(frame, before, "refused, but something was written");
        return;
    };
    let after = self::packet(&frame).unwrap();
    let again = icmp::error(&frame[..], &after).unwrap().unwrap();
    let mut wanted = inner.tuple(embedded.tuple.proto);
    if embedded.part == Part::Later {
        (wanted.source_port, wanted.dest_port) = (Be16::ZERO, Be16::ZERO);
    }
    assert_eq!(again, icmp::Embedded { tuple: wanted, ..embedded });
    assert_eq!(after.tuple.source_addr, outer.source_addr);
    assert_eq!(after.tuple.dest_addr, outer.dest_addr);
    reference::assert_kept(&before, &packet, &frame, &after);
    if reference::header_is_right(&before, embedded.l3) {
        assert!(reference::header_is_right(&frame, embedded.l3), "checksum of the quoted header");
    }
    let (inner, outer) = (Rewrite::unchanged(&embedded.tuple), Rewrite::unchanged(&packet.tuple));
    rewrite_error(&mut frame[..], &after, &again, &outer, &inner).unwrap();
    if wish.flags & 1 != 0 && reference::is_canonical(&before, &packet) {
        assert_eq!(frame, before, "there and back is not the same");
    }
}

/// Answers are whole packets that reach the sender and are never answered again.
pub fn refuse(data: &[u8]) {
    let Some(packet) = packet(data) else {
        return;
    };
    if let Some(answer) = tcp_reset(data, &packet) {
        let bytes = answer.bytes();
        let reset = answered(data, bytes);
        assert_eq!(reset.tuple, packet.tuple.reversed());
        assert!(reset.tcp_flags & TCP_RST != 0 && packet.tcp_flags & TCP_RST == 0);
        assert_eq!(tcp_reset(bytes, &reset), None, "a RST was answered");
    }
    if let Some(answer) = unreachable(data, &packet) {
        let bytes = answer.bytes();
        let error = answered(data, bytes);
        let embedded = icmp::error(bytes, &error).unwrap().unwrap();
        assert_eq!(embedded.tuple, packet.tuple);
        assert_eq!(error.tuple.dest_addr, packet.tuple.source_addr);
        assert_eq!(unreachable(bytes, &error), None, "an error was answered");
    }
}

/// The packet of an answer, which must be flawless and go where the question came from.
fn answered(question: &[u8], answer: &[u8]) -> Packet {
    let packet = packet(answer).unwrap();
    assert_eq!(packet.end as usize, answer.len());
    assert_eq!((&answer[..6], &answer[6..12]), (&question[6..12], &question[..6]));
    assert!(reference::header_is_right(answer, 14));
    assert_eq!(reference::transport_is_right(answer, &packet), Some(true));
    packet
}

/// The option can be put in, read and taken out, and the packet is the same otherwise.
pub fn dsr(data: &[u8]) {
    if let Some(option) = data.first_chunk::<24>()
        && let Some((dialled, next)) = dsr::decode_v6(option)
    {
        let encoded = dsr::encode_v6(next, &dialled.addr, dialled.port);
        assert_eq!(dsr::decode_v6(&encoded), Some((dialled, next)));
    }
    let Some((wish, frame)) = Wish::split(data) else {
        return;
    };
    let Some(packet) = packet(&frame) else {
        return;
    };
    // Never panics, whatever is there already.
    let _ = dsr::read(&frame[..], &packet);
    let to = Wish { flags: 0x1f, ..wish }.rewrite(&packet.tuple);
    let dialled = Dialled { addr: to.dest_addr, port: to.dest_port };
    if packet.tuple.source_addr.is_v4() {
        dsr_v4(&frame, &packet, dialled);
    } else {
        dsr_v6(&frame, &packet, dialled);
    }
}

fn dsr_v4(frame: &[u8], packet: &Packet, dialled: Dialled) {
    let option = dsr::encode_v4(dialled.addr.as_v4().unwrap(), dialled.port);
    let header: [u8; 20] = frame[14..34].try_into().unwrap();
    let Some(longer) = dsr::insert_v4(&header, &option) else {
        return;
    };
    let marked = [&frame[..14], &longer, &option, &frame[34..]].concat();
    let found = self::packet(&marked).unwrap();
    moved(packet, &found, dsr::V4_BYTES);
    assert_eq!(dsr::read(&marked[..], &found), Some(dialled));
    if reference::header_is_right(frame, 14) {
        assert!(reference::header_is_right(&marked, 14));
        assert_eq!(dsr::remove_v4(&longer, &option), Some(header));
    }
}

fn dsr_v6(frame: &[u8], packet: &Packet, dialled: Dialled) {
    let option = dsr::encode_v6(frame[20], &dialled.addr, dialled.port);
    let header: [u8; 40] = frame[14..54].try_into().unwrap();
    let Some(longer) = dsr::insert_v6(&header) else {
        return;
    };
    let marked = [&frame[..14], &longer, &option, &frame[54..]].concat();
    match crate::parse::parse(&marked[..]) {
        Ok(Parsed::Ip(found)) => {
            moved(packet, &found, dsr::V6_BYTES);
            assert_eq!(dsr::read(&marked[..], &found), Some(dialled));
            assert_eq!(dsr::remove_v6(&longer, &option), Some(header));
        }
        other => assert_eq!(other, Err(DropReason::UnknownHeader)),
    }
}

/// The same packet, its transport header further back.
fn moved(packet: &Packet, found: &Packet, by: u16) {
    let by_bytes = u32::from(by);
    let wanted = Packet {
        l4: packet.l4 + by,
        end: packet.end + by_bytes,
        bytes: packet.bytes + by_bytes,
        ..*packet
    };
    assert_eq!(*found, wanted);
}
