//! Answers to the refused.

use beeline_abi::{Proto, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN};

use super::frames::{Build, complaint, everything, packet, ping, syn, tcp, udp};
use crate::fuzz;
use crate::icmp::error;
use crate::refuse::{tcp_reset, unreachable};

/// Sequence number and acknowledgement of a RST, and its flags.
fn reset(frame: &[u8]) -> Option<(u32, u32, u8)> {
    let answer = tcp_reset(frame, &packet(frame))?;
    let tcp = &answer.bytes()[usize::from(packet(answer.bytes()).l4)..];
    let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
    Some((number(4), number(8), tcp[13]))
}

#[test]
fn a_reset_takes_the_numbers_its_receiver_expects() {
    let (seq, ack) = (0x0102_0304, 0x5162_7384);
    for build in Build::both(Proto::Tcp, &[]) {
        let reset = |flags, payload: &[u8]| {
            reset(&Build { transport: tcp(flags, payload), ..build.clone() }.frame())
        };
        assert_eq!(reset(TCP_SYN, b""), Some((0, seq + 1, TCP_RST | TCP_ACK)));
        assert_eq!(reset(TCP_SYN, b"fast open"), Some((0, seq + 10, TCP_RST | TCP_ACK)));
        assert_eq!(reset(TCP_FIN, b"xy"), Some((0, seq + 3, TCP_RST | TCP_ACK)));
        assert_eq!(reset(TCP_ACK, b"late"), Some((ack, 0, TCP_RST)));
        assert_eq!(reset(TCP_SYN | TCP_ACK, b""), Some((ack, 0, TCP_RST)));
        assert_eq!(reset(TCP_RST, b""), None);
        assert_eq!(reset(TCP_RST | TCP_ACK, b""), None);
    }
}

#[test]
fn padding_is_no_payload() {
    for build in Build::both(Proto::Tcp, &syn()) {
        let mut frame = build.frame();
        frame.resize(frame.len() + 6, 0);
        assert_eq!(reset(&frame), Some((0, 0x0102_0305, TCP_RST | TCP_ACK)));
    }
}

#[test]
fn a_header_longer_than_its_packet_gets_no_reset() {
    let mut transport = syn();
    transport[12] = 0x60;
    for build in Build::both(Proto::Tcp, &transport) {
        assert_eq!(reset(&build.frame()), None);
    }
}

#[test]
fn an_error_quotes_the_packet_as_it_came() {
    for (build, quote, length) in Build::both(Proto::Udp, &udp(b"question"))
        .into_iter()
        .zip([42, 62])
        .zip([70, 110])
        .map(|((build, quote), length)| (build, quote, length))
    {
        let frame = build.frame();
        let answer = unreachable(&frame[..], &packet(&frame)).unwrap();
        assert_eq!(answer.length(), length);
        assert_eq!(answer.bytes()[quote..], frame[14..14 + length - quote]);
    }
}

#[test]
fn options_and_extension_headers_are_left_out_of_the_quote() {
    let options = Build::v4(Proto::Udp, udp(b"question")).between(17, &[1; 12]).frame();
    let headers =
        Build::v6(Proto::Udp, udp(b"question")).between(60, &[17, 0, 1, 4, 0, 0, 0, 0]).frame();
    for (frame, plain) in [
        (options, Build::v4(Proto::Udp, udp(b"question")).frame()),
        (headers, Build::v6(Proto::Udp, udp(b"question")).frame()),
    ] {
        let answer = unreachable(&frame[..], &packet(&frame)).unwrap();
        assert_eq!(answer, unreachable(&plain[..], &packet(&plain)).unwrap());
    }
}

#[test]
fn every_answer_is_flawless_and_goes_back() {
    for frame in everything() {
        fuzz::refuse(&frame);
        let is_icmp = [1, 58].contains(&packet(&frame).tuple.proto);
        assert_eq!(unreachable(&frame[..], &packet(&frame)).is_none(), is_icmp);
        let is_tcp = packet(&frame).tuple.proto == 6;
        assert_eq!(tcp_reset(&frame[..], &packet(&frame)).is_some(), is_tcp);
    }
}

#[test]
fn what_must_not_be_answered_is_not() {
    let silent = |frame: &[u8]| {
        assert_eq!(tcp_reset(frame, &packet(frame)), None, "{frame:02x?}");
        assert_eq!(unreachable(frame, &packet(frame)), None, "{frame:02x?}");
    };
    for (source, dest) in [
        ("10.42.0.2", "224.0.0.251"),
        ("10.42.0.2", "255.255.255.255"),
        ("0.0.0.0", "10.42.0.3"),
        ("127.0.0.1", "10.42.0.3"),
        ("239.1.1.1", "10.42.0.3"),
        ("fd42::2", "ff02::fb"),
        ("::", "fd42::3"),
    ] {
        for (proto, transport) in [(Proto::Tcp, syn()), (Proto::Udp, udp(b"x"))] {
            silent(&Build::new(source, dest, proto, transport).frame());
        }
    }
    for (proto, transport) in [(Proto::Tcp, syn()), (Proto::Udp, udp(b"x"))] {
        for build in Build::both(proto, &transport) {
            let mut frame = build.frame();
            frame[0] |= 1;
            silent(&frame);
        }
        silent(&Build { fragment: 1, ..Build::v4(proto, transport) }.frame());
    }
    let about = Build::v4(Proto::Udp, udp(b"")).frame();
    silent(&Build::v4(Proto::Icmp, complaint(3, &about)).frame());
    silent(&Build::v6(Proto::Icmp6, ping(128, b"")).frame());
}

#[test]
fn a_first_fragment_gets_an_error_but_no_reset() {
    let frame = Build { fragment: 0x2000, ..Build::v4(Proto::Tcp, syn()) }.frame();
    assert_eq!(tcp_reset(&frame[..], &packet(&frame)), None);
    let answer = unreachable(&frame[..], &packet(&frame)).unwrap();
    let quote = error(answer.bytes(), &packet(answer.bytes())).unwrap().unwrap();
    assert_eq!(quote.tuple, packet(&frame).tuple);
}
