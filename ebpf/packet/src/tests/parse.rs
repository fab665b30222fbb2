//! Headers.

use beeline_abi::{DropReason, Proto, TCP_ACK, TCP_SYN};

use super::frames::{Build, addr, everything, packet, ping, syn, tcp, udp};
use crate::fuzz;
use crate::parse::{Parsed, Part, parse};

/// Extension headers: hop-by-hop, destination options and routing have one form.
fn extension(next: u8, words: u8) -> Vec<u8> {
    let mut header = vec![next, words, 1, 4];
    header.resize(usize::from(words) * 8 + 8, 0);
    header
}

fn fragment(next: u8, field: u16) -> Vec<u8> {
    let [high, low] = field.to_be_bytes();
    vec![next, 0, high, low, 0xa, 0xb, 0xc, 0xd]
}

fn ports(frame: &[u8]) -> (u16, u16) {
    let tuple = packet(frame).tuple;
    (tuple.source_port.to_host(), tuple.dest_port.to_host())
}

#[test]
fn tcp_headers_are_read_with_and_without_options() {
    for options in [0, 4, 40] {
        let packet = packet(&Build::v4(Proto::Tcp, syn()).between(6, &vec![1; options]).frame());
        assert_eq!(packet.tuple.source_addr, addr("10.42.0.2"));
        assert_eq!(packet.tuple.dest_addr, addr("192.0.2.7"));
        assert_eq!(packet.tuple.source_port.to_host(), 40_000);
        assert_eq!(packet.tuple.dest_port.to_host(), 80);
        assert_eq!((packet.tcp_flags, packet.part), (TCP_SYN, Part::Whole));
        assert_eq!(usize::from(packet.l4), 34 + options);
        assert_eq!(packet.bytes as usize, 40 + options);
        assert_eq!((packet.hop_limit, packet.fragment_id), (64, u32::from(0x1234u16.to_be())));
    }
}

#[test]
fn ipv6_is_read_behind_every_header_it_may_have() {
    let plain = packet(&Build::v6(Proto::Tcp, tcp(TCP_ACK, b"data")).frame());
    assert_eq!(
        (plain.tuple.source_addr, plain.tuple.dest_addr),
        (addr("fd42::2"), addr("2001:db8::7"))
    );
    assert_eq!((plain.l4, plain.bytes, plain.end, plain.tcp_flags), (54, 64, 78, TCP_ACK));
    let all =
        [extension(60, 0), extension(43, 1), extension(44, 2), fragment(60, 1), extension(6, 0)]
            .concat();
    let frame = Build::v6(Proto::Tcp, tcp(TCP_ACK, b"data")).between(0, &all).frame();
    let packet = packet(&frame);
    assert_eq!(packet.tuple, plain.tuple);
    assert_eq!((usize::from(packet.l4), packet.part), (54 + all.len(), Part::First));
    assert_eq!(packet.fragment_id, u32::from_ne_bytes([0xa, 0xb, 0xc, 0xd]));
    fuzz::parse(&frame);
}

#[test]
fn a_chain_of_headers_without_end_is_refused() {
    for last in [60, 44] {
        let mut chain = extension(60, 0).repeat(4);
        chain.extend(extension(last, 0));
        chain.extend(fragment(6, 0));
        let frame = Build::v6(Proto::Tcp, syn()).between(60, &chain).frame();
        assert_eq!(parse(&frame[..]), Err(DropReason::UnknownHeader));
    }
    let twice = [fragment(44, 1), fragment(6, 1)].concat();
    let frame = Build::v6(Proto::Tcp, syn()).between(44, &twice).frame();
    assert_eq!(parse(&frame[..]), Err(DropReason::Malformed));
}

#[test]
fn the_ends_of_a_ping_are_each_others_reverse() {
    let ends = [
        (Build::v4(Proto::Icmp, ping(8, b"")), Build::v4(Proto::Icmp, ping(0, b""))),
        (Build::v6(Proto::Icmp6, ping(128, b"")), Build::v6(Proto::Icmp6, ping(129, b""))),
    ];
    for (request, mut reply) in ends {
        (reply.source, reply.dest) = (request.dest, request.source);
        let request = packet(&request.frame()).tuple;
        assert_eq!((request.source_port.to_host(), request.dest_port.to_host()), (0x5678, 0));
        assert_eq!(packet(&reply.frame()).tuple, request.reversed());
    }
}

#[test]
fn other_icmp_messages_show_type_and_code() {
    let mut message = ping(13, b"");
    message[1] = 3;
    assert_eq!(ports(&Build::v4(Proto::Icmp, message.clone()).frame()), (0, 0x0d03));
    message[0] = 135;
    assert_eq!(ports(&Build::v6(Proto::Icmp6, message).frame()), (0, 0x8703));
}

#[test]
fn icmp_of_the_other_family_has_no_ports() {
    assert_eq!(ports(&Build::v6(Proto::Icmp, ping(8, b"")).frame()), (0, 0));
    assert_eq!(ports(&Build::v4(Proto::Icmp6, ping(128, b"")).frame()), (0, 0));
}

#[test]
fn later_fragments_have_no_ports_even_if_their_payload_looks_like_it() {
    for (field, part, source) in
        [(0x2000, Part::First, 40_000), (1, Part::Later, 0), (0x2001, Part::Later, 0)]
    {
        let packet = packet(&Build { fragment: field, ..Build::v4(Proto::Udp, udp(b"")) }.frame());
        assert_eq!((packet.part, packet.tuple.source_port.to_host()), (part, source));
    }
    for (field, part, source) in [
        (0, Part::Whole, 40_000),
        (1, Part::First, 40_000),
        (8, Part::Later, 0),
        (9, Part::Later, 0),
    ] {
        let build = Build::v6(Proto::Udp, udp(b"")).between(44, &fragment(17, field));
        let packet = packet(&build.frame());
        assert_eq!((packet.part, packet.tuple.source_port.to_host()), (part, source));
        assert_eq!((packet.l4, packet.tuple.proto), (62, 17));
    }
    let one_byte = Build { fragment: 0x2001, ..Build::v4(Proto::Tcp, vec![9]) };
    assert_eq!(packet(&one_byte.frame()).part, Part::Later);
}

#[test]
fn every_truncation_is_refused_and_none_panics() {
    for frame in everything() {
        for length in 0..frame.len() {
            assert_eq!(parse(&frame[..length]), Err(DropReason::Truncated), "{length}");
        }
        fuzz::parse(&frame);
    }
}

#[test]
fn nothing_is_read_from_beyond_the_end_that_the_header_names() {
    for (proto, shortest) in [(Proto::Tcp, 20), (Proto::Udp, 8), (Proto::Sctp, 8)] {
        for build in Build::both(proto, &[]) {
            for length in 0..=20 {
                let mut frame = Build { transport: vec![0xee; length], ..build.clone() }.frame();
                // Padding that looks like ports.
                frame.resize(200, 0xee);
                let parsed = parse(&frame[..]);
                if length < shortest {
                    assert_eq!(parsed, Err(DropReason::Truncated), "{proto:?} {length}");
                } else {
                    assert!(matches!(parsed, Ok(Parsed::Ip(_))), "{proto:?} {length}");
                }
                fuzz::parse(&frame);
            }
        }
    }
    let beyond = Build::v6(Proto::Udp, vec![17, 9, 1, 4]).between(60, &[]).frame();
    assert_eq!(parse(&[beyond, vec![0; 200]].concat()[..]), Err(DropReason::Truncated));
}

#[test]
fn contradicting_headers_are_malformed() {
    let v4 = Build::v4(Proto::Tcp, syn()).frame();
    let v6 = Build::v6(Proto::Tcp, syn()).frame();
    let changed = |frame: &[u8], at: usize, bytes: &[u8]| {
        let mut frame = frame.to_vec();
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        parse(&frame[..])
    };
    assert_eq!(changed(&v4, 14, &[0x65]), Err(DropReason::Malformed), "version");
    assert_eq!(changed(&v6, 14, &[0x45]), Err(DropReason::Malformed), "version");
    assert_eq!(changed(&v4, 14, &[0x44]), Err(DropReason::Malformed), "header length");
    assert_eq!(changed(&v4, 16, &[0, 19]), Err(DropReason::Malformed), "total length");
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 42, 0, 2];
    assert_eq!(changed(&v6, 22, &mapped), Err(DropReason::Malformed), "IPv4 in disguise");
    assert_eq!(changed(&v6, 38, &mapped), Err(DropReason::Malformed), "IPv4 in disguise");
}

#[test]
fn padding_after_the_packet_is_allowed() {
    for build in Build::both(Proto::Udp, &udp(b"")) {
        let mut frame = build.frame();
        let end = frame.len();
        frame.resize(end + 18, 0);
        assert_eq!(packet(&frame).tuple.proto, 17);
        assert_eq!(packet(&frame).end as usize, end);
        assert_eq!(packet(&frame).bytes as usize, end + 18 - 14);
    }
}

#[test]
fn of_aggregated_packets_beyond_64_kib_only_the_frame_knows_the_length() {
    for (build, length_at) in Build::both(Proto::Tcp, &syn()).into_iter().zip([16, 18]) {
        let mut frame = build.frame();
        frame[length_at..length_at + 2].fill(0);
        assert!(parse(&frame[..]).is_err());
        frame.resize(70_000, 7);
        assert_eq!((packet(&frame).end, packet(&frame).bytes), (70_000, 69_986));
    }
}

#[test]
fn what_is_not_ip_is_the_stacks_business() {
    for ethertype in [[0x08, 0x06], [0x88, 0xcc], [0x81, 0x00]] {
        let mut frame = Build::v4(Proto::Tcp, syn()).frame();
        frame[12..14].copy_from_slice(&ethertype);
        assert_eq!(parse(&frame[..]), Ok(Parsed::Other));
    }
}
