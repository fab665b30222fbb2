//! ICMP errors and what they quote.

use beeline_abi::{Be16, DropReason, Proto};

use super::frames::{Build, addr, complaint, everything, packet, ping, tcp, udp};
use super::nat::wish;
use crate::fuzz;
use crate::icmp::{Embedded, error};
use crate::nat::{Rewrite, rewrite, rewrite_error};
use crate::parse::Part;

/// An error about a frame, from a router, to the frame's sender.
fn about(frame: &[u8]) -> Build {
    let tuple = packet(frame).tuple;
    if tuple.source_addr.is_v4() {
        Build::new("203.0.113.1", &tuple.source_addr.to_string(), Proto::Icmp, complaint(3, frame))
    } else {
        let text = tuple.source_addr.to_string();
        Build::new("2001:db8:9::1", &text, Proto::Icmp6, complaint(1, frame))
    }
}

fn embedded(frame: &[u8]) -> Embedded {
    error(frame, &packet(frame)).unwrap().unwrap()
}

#[test]
fn an_error_names_the_packet_that_failed() {
    for frame in everything() {
        let quote = embedded(&about(&frame).frame());
        assert_eq!(quote.tuple, packet(&frame).tuple);
        assert_eq!(quote.part, packet(&frame).part);
        let before = packet(&about(&frame).frame()).l4 + 8;
        assert_eq!((quote.l3, quote.l4), (before, before + packet(&frame).l4 - 14));
    }
}

#[test]
fn eight_bytes_of_the_transport_are_enough_and_less_is_refused() {
    for build in Build::both(Proto::Tcp, &tcp(2, b"")) {
        let frame = build.frame();
        for length in 14..frame.len() {
            let mut cut = about(&frame);
            cut.transport.truncate(8 + length - 14);
            let cut = cut.frame();
            // Padding that must not be taken for the rest.
            let padded = [&cut[..], &[0xee; 90]].concat();
            let found = error(&padded[..], &packet(&padded)).unwrap();
            if length < usize::from(packet(&frame).l4) + 8 {
                assert_eq!(found, Err(DropReason::Truncated), "{length}");
            } else {
                assert_eq!(found.unwrap().tuple, packet(&frame).tuple);
            }
        }
    }
}

#[test]
fn only_errors_are_errors() {
    let quoted = [Build::v4(Proto::Udp, udp(b"")).frame(), Build::v6(Proto::Udp, udp(b"")).frame()];
    let [v4, v6] = quoted;
    for kind in 0..=255 {
        let frame = Build::v4(Proto::Icmp, complaint(kind, &v4)).frame();
        assert_eq!(error(&frame[..], &packet(&frame)).is_some(), [3, 4, 5, 11, 12].contains(&kind));
        let frame = Build::v6(Proto::Icmp6, complaint(kind, &v6)).frame();
        assert_eq!(error(&frame[..], &packet(&frame)).is_some(), [1, 2, 3, 4].contains(&kind));
    }
    assert_eq!(error(&v4[..], &packet(&v4)), None);
    let later = Build { fragment: 1, ..Build::v4(Proto::Icmp, complaint(3, &v4)) }.frame();
    assert_eq!(error(&later[..], &packet(&later)), None);
}

#[test]
fn an_error_about_a_later_fragment_has_no_ports() {
    let fragment = Build { fragment: 0x0007, ..Build::v4(Proto::Udp, udp(b"")) }.frame();
    let quote = embedded(&about(&fragment).frame());
    assert_eq!((quote.part, quote.tuple.source_port), (Part::Later, Be16::ZERO));
}

#[test]
fn any_set_of_changes_goes_there_and_back() {
    for frame in everything() {
        for flags in 0..32 {
            fuzz::icmp_error(&[wish(flags).to_bytes(), about(&frame).frame()].concat());
        }
    }
}

/// A client behind this node calls a frontend; its packet goes to a backend as the node's, and dies on the way.
fn translated(build: &Build, node: &str, backend: &str) -> (Vec<u8>, Vec<u8>, Rewrite) {
    let frame = build.frame();
    let from = packet(&frame).tuple;
    let ping = from.dest_port == Be16::ZERO;
    let to = Rewrite {
        source_addr: addr(node),
        dest_addr: addr(backend),
        source_port: Be16::from_host(50_001),
        dest_port: if ping { Be16::ZERO } else { Be16::from_host(8_443) },
    };
    let mut sent = frame.clone();
    rewrite(&mut sent[..], &packet(&frame), &to).unwrap();
    (frame, sent, Rewrite::unchanged(&from).reversed())
}

#[test]
fn the_caller_gets_an_error_about_the_packet_it_sent() {
    let mut all = Vec::new();
    for (proto, transport) in [(Proto::Tcp, tcp(2, b"")), (Proto::Udp, udp(b"odd"))] {
        let [v4, v6] = Build::both(proto, &transport);
        all.push((v4, "192.0.2.1", "10.42.1.9"));
        all.push((v6, "2001:db8::1", "fd42:1::9"));
    }
    all.push((Build::v4(Proto::Icmp, ping(8, b"")), "192.0.2.1", "192.0.2.7"));
    all.push((Build::v6(Proto::Icmp6, ping(128, b"")), "2001:db8::1", "2001:db8::7"));
    for (build, node, backend) in all {
        let (original, sent, answers) = translated(&build, node, backend);
        let came = about(&sent).frame();
        let outer =
            Rewrite { dest_addr: answers.dest_addr, ..Rewrite::unchanged(&packet(&came).tuple) };
        let mut told = came.clone();
        let quote = embedded(&came);
        rewrite_error(&mut told[..], &packet(&came), &quote, &outer, &answers.reversed()).unwrap();
        assert_eq!(told, about(&original).frame(), "as if nothing had been translated");
    }
}

#[test]
fn a_quote_of_the_other_family_or_cut_since_is_refused() {
    let v4 = about(&Build::v4(Proto::Udp, udp(b"")).frame()).frame();
    let outer = Rewrite::unchanged(&packet(&v4).tuple);
    let inner = Rewrite { source_addr: addr("fd42::1"), ..outer };
    let mut after = v4.clone();
    let refused = rewrite_error(&mut after[..], &packet(&v4), &embedded(&v4), &outer, &inner);
    assert_eq!((refused, &after), (Err(DropReason::Untranslatable), &v4));
    let quote = embedded(&v4);
    let inner = Rewrite::unchanged(&quote.tuple).reversed();
    let mut cut = v4[..v4.len() - 1].to_vec();
    assert_eq!(
        rewrite_error(&mut cut[..], &packet(&v4), &quote, &outer, &inner),
        Err(DropReason::Truncated)
    );
}
