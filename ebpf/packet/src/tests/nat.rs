//! Rewriting, checked against checksums from scratch.

use beeline_abi::{Be16, DropReason, Proto};

use super::frames::{Build, addr, everything, packet, ping, tcp, udp};
use crate::fuzz::{self, Wish, reference};
use crate::nat::{Rewrite, decrement_hop_limit, rewrite};
use crate::parse::Part;
use crate::{ChecksumChange, Frame, FrameMut};

/// A wish that changes what the bits say.
pub fn wish(flags: u8) -> Wish {
    Wish {
        flags,
        source: [0xfd, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        dest: [0x20, 1, 0xd, 0xb8, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
        source_port: Be16::from_host(61_234),
        dest_port: Be16::from_host(8_080),
    }
}

/// To a backend, as a node, of the packet's family.
fn masquerade(frame: &[u8]) -> Rewrite {
    let tuple = packet(frame).tuple;
    let (node, backend) = if tuple.source_addr.is_v4() {
        (addr("192.0.2.1"), addr("10.42.1.9"))
    } else {
        (addr("2001:db8::1"), addr("fd42:1::9"))
    };
    Rewrite {
        source_addr: node,
        dest_addr: backend,
        source_port: Be16::from_host(50_000),
        dest_port: Be16::from_host(8_080),
    }
}

fn rewritten(frame: &[u8], to: &Rewrite) -> Vec<u8> {
    let mut after = frame.to_vec();
    rewrite(&mut after[..], &packet(frame), to).unwrap();
    after
}

#[test]
fn any_set_of_changes_goes_there_and_back() {
    for frame in everything() {
        for flags in 0..32 {
            fuzz::nat_both_ways(&[wish(flags).to_bytes(), frame.clone()].concat());
        }
    }
}

#[test]
fn a_rewritten_packet_is_what_the_sender_would_have_sent() {
    for (proto, transport) in [(Proto::Tcp, tcp(0x18, b"odd")), (Proto::Udp, udp(b"even"))] {
        for build in Build::both(proto, &transport) {
            let frame = build.frame();
            let to = masquerade(&frame);
            let mut wanted = build.clone();
            wanted.source = to.source_addr.into();
            wanted.dest = to.dest_addr.into();
            wanted.transport[..4].copy_from_slice(&[0xc3, 0x50, 0x1f, 0x90]);
            assert_eq!(rewritten(&frame, &to), wanted.frame());
        }
    }
}

#[test]
fn the_identifier_of_a_ping_is_rewritten_like_a_port() {
    for build in
        [Build::v4(Proto::Icmp, ping(8, b"abc")), Build::v6(Proto::Icmp6, ping(128, b"abc"))]
    {
        let frame = build.frame();
        let to = Rewrite { dest_port: Be16::ZERO, ..masquerade(&frame) };
        let after = rewritten(&frame, &to);
        assert_eq!(packet(&after).tuple, to.tuple(build.proto));
        assert_eq!(after[after.len() - 7..after.len() - 5], 50_000u16.to_be_bytes());
        assert_eq!(reference::transport_is_right(&after, &packet(&after)), Some(true));
    }
}

#[test]
fn udp_without_checksum_stays_without_and_a_sum_of_zero_is_written_as_ones() {
    let raw = Build::v4(Proto::Udp, udp(b"x")).raw();
    let after = rewritten(&raw, &masquerade(&raw));
    assert_eq!(after[40..42], [0, 0]);
    let frame = Build::v4(Proto::Udp, udp(b"x")).frame();
    let mut found = false;
    for port in 0..=u16::MAX {
        let to = Rewrite { source_port: Be16::from_host(port), ..masquerade(&frame) };
        let after = rewritten(&frame, &to);
        assert_ne!(after[40..42], [0, 0], "{port}");
        if after[40..42] == [0xff, 0xff] {
            found = true;
            assert_eq!(reference::transport_is_right(&after, &packet(&after)), Some(true));
        }
    }
    assert!(found, "no port makes the sum zero");
}

#[test]
fn later_fragments_get_addresses_only() {
    let v4 = Build { fragment: 0x2001, ..Build::v4(Proto::Udp, vec![0xaa; 24]) };
    let v6 = Build::v6(Proto::Udp, vec![0xaa; 24]).between(44, &[17, 0, 0, 9, 0, 0, 0, 1]);
    for build in [v4, v6] {
        let frame = build.frame();
        let after = rewritten(&frame, &masquerade(&frame));
        assert_eq!(packet(&after).part, Part::Later);
        assert_eq!(packet(&after).tuple.source_addr, masquerade(&frame).source_addr);
        assert_eq!(after[after.len() - 24..], [0xaa; 24]);
        assert!(reference::header_is_right(&after, 14));
    }
}

#[test]
fn what_cannot_be_written_is_refused_and_nothing_is_changed() {
    let header = [0x9c, 0x40, 0, 80, 0, 0, 0, 9, 1, 2, 3, 4];
    let sctp = Build::v4(Proto::Sctp, header.to_vec()).frame();
    let timestamp = Build::v4(Proto::Icmp, ping(13, b"")).frame();
    let neighbour = Build::v6(Proto::Icmp6, ping(135, b"")).frame();
    let gre = Build { proto: 47, ..Build::v4(Proto::Tcp, vec![0; 8]) }.frame();
    for frame in [sctp, timestamp, neighbour, gre] {
        let mut after = frame.clone();
        let to = masquerade(&frame);
        let refused = rewrite(&mut after[..], &packet(&frame), &to);
        assert_eq!(refused, Err(DropReason::Untranslatable));
        assert_eq!(after, frame);
        let addresses = Rewrite {
            source_port: packet(&frame).tuple.source_port,
            dest_port: packet(&frame).tuple.dest_port,
            ..to
        };
        assert_eq!(packet(&rewritten(&frame, &addresses)).tuple.dest_addr, to.dest_addr);
    }
    let [v4, v6] = Build::both(Proto::Tcp, &tcp(0, b"")).map(|build| build.frame());
    let mut after = v4.clone();
    let refused = rewrite(&mut after[..], &packet(&v4), &masquerade(&v6));
    assert_eq!((refused, after), (Err(DropReason::Untranslatable), v4));
}

#[test]
fn a_frame_that_became_shorter_is_refused_and_never_panics() {
    for frame in everything() {
        let packet = packet(&frame);
        let to = masquerade(&frame);
        for length in 0..frame.len() {
            let mut short = frame[..length].to_vec();
            let done = rewrite(&mut short[..], &packet, &to).is_ok();
            assert!(!done || length > 34, "{length}");
        }
    }
}

/// Counts writes.
struct Counting(Vec<u8>, u32);

impl Frame for Counting {
    fn length(&self) -> u32 {
        self.0.length()
    }
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.load(offset)
    }
}

impl FrameMut for Counting {
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> bool {
        self.1 += 1;
        self.0.store(offset, bytes)
    }
}

#[test]
fn what_stays_the_same_is_not_written() {
    for frame in everything() {
        let packet = packet(&frame);
        let mut counting = Counting(frame.clone(), 0);
        rewrite(&mut counting, &packet, &Rewrite::unchanged(&packet.tuple)).unwrap();
        assert_eq!(counting.1, 0);
    }
    let [v4, v6] = Build::both(Proto::Tcp, &tcp(0, b"")).map(|build| build.frame());
    for (frame, dest, writes) in [(v4, "10.42.1.9", 3), (v6, "fd42:1::9", 2)] {
        let packet = packet(&frame);
        let to = Rewrite { dest_addr: addr(dest), ..Rewrite::unchanged(&packet.tuple) };
        let mut counting = Counting(frame, 0);
        rewrite(&mut counting, &packet, &to).unwrap();
        assert_eq!(counting.1, writes);
    }
}

/// A packet whose checksum the network card completes: the field holds the sum of the pseudo header, and only that may change.
struct Partial(Vec<u8>);

impl Frame for Partial {
    fn length(&self) -> u32 {
        self.0.length()
    }
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.load(offset)
    }
}

impl FrameMut for Partial {
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> bool {
        self.0.store(offset, bytes)
    }
    fn adjust_checksum(&mut self, offset: usize, change: &ChecksumChange, _: bool) -> bool {
        let held = u16::from_ne_bytes(self.0.load(offset).unwrap());
        let new = change.pseudo.applied(!held, false).map_or(held, |complement| !complement);
        self.0.store(offset, new.to_ne_bytes())
    }
}

#[test]
fn a_checksum_that_the_card_completes_is_right_in_the_end() {
    for build in Build::both(Proto::Tcp, &tcp(0x18, b"payload")) {
        let mut frame = build.frame();
        let (from, at) = (packet(&frame), frame.len() - 11);
        // What the stack leaves: the folded sum of the pseudo header, as if the field's other inputs were zero.
        frame[at..at + 2].fill(0);
        let pseudo = reference::pseudo_sum(&from);
        frame[at..at + 2].copy_from_slice(&pseudo.to_be_bytes());
        let to = masquerade(&frame);
        let mut partial = Partial(frame);
        rewrite(&mut partial, &from, &to).unwrap();
        // The card: the sum over the transport, field included.
        let mut frame = partial.0;
        let sum = reference::checksum(&frame[usize::from(from.l4)..]);
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(reference::transport_is_right(&frame, &packet(&frame)), Some(true));
    }
}

#[test]
fn a_router_takes_one_hop_and_never_the_last() {
    for build in Build::both(Proto::Udp, &udp(b"x")) {
        for hop_limit in [0, 1, 2, 64, 255] {
            let frame = Build { hop_limit, ..build.clone() }.frame();
            let mut after = frame.clone();
            let done = decrement_hop_limit(&mut after[..], &packet(&frame));
            if hop_limit <= 1 {
                assert_eq!((done, after), (Err(DropReason::HopLimit), frame));
            } else {
                let wanted = Build { hop_limit: hop_limit - 1, ..build.clone() }.frame();
                assert_eq!((done, after), (Ok(()), wanted));
            }
        }
    }
}
