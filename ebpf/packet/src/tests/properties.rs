//! The fuzz targets over made-up packets: deeper than bytes alone get, wider than examples.

use std::net::{Ipv4Addr, Ipv6Addr};

use beeline_abi::{Be16, Proto};
use proptest::collection::vec;
use proptest::prelude::*;

use super::frames::{Build, complaint, ping, tcp, udp};
use crate::fuzz::{self, Wish};

fn transport() -> impl Strategy<Value = (Proto, Vec<u8>)> {
    let payload = vec(any::<u8>(), 0..80);
    (0..5u8, any::<[u8; 4]>(), any::<u8>(), payload).prop_map(|(which, ports, kind, payload)| {
        let (proto, mut header) = match which {
            0 => (Proto::Tcp, tcp(kind, &payload)),
            1 => (Proto::Udp, udp(&payload)),
            2 => (Proto::Sctp, [&[0; 12][..], &payload].concat()),
            3 => (Proto::Icmp, ping(if kind < 128 { kind & 15 } else { kind }, &payload)),
            _ => (Proto::Icmp6, ping(kind, &payload)),
        };
        match proto {
            Proto::Icmp | Proto::Icmp6 => header[4..8].copy_from_slice(&ports),
            Proto::Tcp | Proto::Udp | Proto::Sctp => header[..4].copy_from_slice(&ports),
        }
        (proto, header)
    })
}

fn v4() -> impl Strategy<Value = Build> {
    let fragment = prop_oneof![4 => Just(0u16), 1 => Just(0x2000), 1 => any::<u16>()];
    (any::<u32>(), any::<u32>(), transport(), 0..11usize, fragment, any::<u8>()).prop_map(
        |(source, dest, (proto, transport), options, fragment, hop_limit)| {
            let (source, dest) = (Ipv4Addr::from_bits(source), Ipv4Addr::from_bits(dest));
            let build = Build {
                source: source.into(),
                dest: dest.into(),
                fragment,
                hop_limit,
                ..Build::v4(proto, transport)
            };
            build.between(proto as u8, &vec![1; options * 4])
        },
    )
}

fn v6() -> impl Strategy<Value = Build> {
    let headers =
        vec((prop_oneof![Just(0u8), Just(43), Just(44), Just(60)], 0..3u8, any::<u16>()), 0..5);
    (any::<u128>(), any::<u128>(), transport(), headers, any::<u8>()).prop_map(
        |(source, dest, (proto, transport), headers, hop_limit)| {
            let (source, dest) = (Ipv6Addr::from_bits(source), Ipv6Addr::from_bits(dest));
            let build = Build {
                source: source.into(),
                dest: dest.into(),
                hop_limit,
                ..Build::v6(proto, transport)
            };
            let (mut next, mut bytes) = (proto as u8, Vec::new());
            for (kind, words, field) in headers {
                let words = if kind == 44 { 0 } else { words };
                let [high, low] = if kind == 44 { field & 0xfff9 } else { 0x0104 }.to_be_bytes();
                let mut header = vec![next, words, high, low];
                header.resize(8 + usize::from(words) * 8, 0);
                bytes = [header, bytes].concat();
                next = kind;
            }
            build.between(next, &bytes)
        },
    )
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![v4(), v6()].prop_map(|build| build.frame())
}

/// An ICMP error about a packet, the quote cut anywhere.
fn error() -> impl Strategy<Value = Vec<u8>> {
    (prop_oneof![v4(), v6()], 0..5usize, any::<proptest::sample::Index>()).prop_map(
        |(about, kind, cut)| {
            let quoted = about.frame();
            let cut = 15 + cut.index(quoted.len() - 14);
            let (proto, kind) = if about.source.is_ipv4() {
                (Proto::Icmp, [3, 4, 5, 11, 12][kind])
            } else {
                (Proto::Icmp6, [1, 2, 3, 4, 1][kind])
            };
            let transport = complaint(kind, &quoted[..cut]);
            let whole = Build { transport, proto: proto as u8, fragment: 0, ..about.clone() };
            Build { source: about.dest, dest: about.source, ..whole }
                .between(proto as u8, &[])
                .frame()
        },
    )
}

fn wish() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), any::<[u8; 16]>(), any::<[u8; 16]>(), any::<u16>(), any::<u16>()).prop_map(
        |(flags, source, dest, source_port, dest_port)| {
            Wish {
                flags,
                source,
                dest,
                source_port: Be16::from_host(source_port),
                dest_port: Be16::from_host(dest_port),
            }
            .to_bytes()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn headers_lie_within_the_packet(frame in frame(), padding in 0..20usize) {
        fuzz::parse(&[&frame[..], &vec![0xee; padding]].concat());
    }

    #[test]
    fn nat_forward_then_back_is_identity(wish in wish(), frame in frame()) {
        fuzz::nat_both_ways(&[wish, frame].concat());
    }

    #[test]
    fn icmp_errors_forward_then_back_are_identity(wish in wish(), frame in error()) {
        fuzz::icmp_error(&[wish, frame].concat());
    }

    #[test]
    fn refusals_are_flawless(frame in frame()) {
        fuzz::refuse(&frame);
    }

    #[test]
    fn the_dialled_frontend_goes_in_and_out(wish in wish(), frame in frame()) {
        fuzz::dsr(&[wish, frame].concat());
    }

    #[test]
    fn random_bytes_never_panic(mut frame in frame(), changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8), wish in wish()) {
        for (at, byte) in changes {
            let at = at.index(frame.len());
            frame[at] = byte;
        }
        fuzz::parse(&frame);
        fuzz::refuse(&frame);
        let data = [wish, frame].concat();
        fuzz::nat_both_ways(&data);
        fuzz::icmp_error(&data);
        fuzz::dsr(&data);
    }
}
