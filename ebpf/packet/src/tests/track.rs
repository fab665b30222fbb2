//! The life of tracked connections, and source ports.

use std::collections::HashSet;

use beeline_abi::limits::{
    SNAT_ATTEMPTS, TRACK_CLOSING_NS, TRACK_IDLE_NS, TRACK_SEEN_NS, TRACK_SYN_NS, TRACK_TCP_IDLE_NS,
    TRACK_UNANSWERED_NS,
};
use beeline_abi::{
    Be16, FlowId, Proto, ServiceId, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, TRACK_DSR,
    TRACK_MASQUERADE, TRACK_REPLY, TRACK_SNAT, Track,
};

use super::frames::{Build, addr, packet, ping, syn, udp};
use crate::flow::Sample;
use crate::nat::{Rewrite, rewrite};
use crate::snat::candidate;
use crate::track::{Opening, advance, are_over, is_over, is_reused, opposite_key, pair};

const START: u64 = 1_000;

fn track(flags: &[u8]) -> Track {
    let mut track = Track { seen_ns: START, ..Track::default() };
    for flags in flags {
        advance(&mut track, &sample(*flags, START));
    }
    track
}

fn sample(tcp_flags: u8, now_ns: u64) -> Sample {
    Sample { bytes: 60, tcp_flags, now_ns }
}

/// Sends `request` through both entries and `reply` back, as a server would that mirrors addresses and ports.
fn through(request: &Build, reply: Vec<u8>, opening: &Opening) {
    let entries = pair(opening);
    let frame = request.frame();
    let mut sent = frame.clone();
    rewrite(&mut sent[..], &packet(&frame), &Rewrite::of(&entries.forward)).unwrap();
    assert_eq!(packet(&sent).tuple.reversed(), entries.reverse_key);
    let mut answer = request.clone();
    answer.transport = reply;
    answer.source = packet(&sent).tuple.dest_addr.into();
    answer.dest = packet(&sent).tuple.source_addr.into();
    let answer = answer.frame();
    assert_eq!(packet(&answer).tuple, entries.reverse_key, "the answer finds its entry");
    let mut back = answer.clone();
    rewrite(&mut back[..], &packet(&answer), &Rewrite::of(&entries.reverse)).unwrap();
    assert_eq!(packet(&back).tuple, opening.tuple.reversed(), "as if nothing had been rewritten");
    let proto = opening.tuple.proto;
    assert_eq!(opposite_key(&entries.forward, proto), entries.reverse_key);
    assert_eq!(opposite_key(&entries.reverse, proto), opening.tuple);
}

fn mirrored(transport: &[u8], source: u16, dest: u16) -> Vec<u8> {
    let mut mirrored = transport.to_vec();
    mirrored[..2].copy_from_slice(&source.to_be_bytes());
    mirrored[2..4].copy_from_slice(&dest.to_be_bytes());
    mirrored
}

#[test]
fn an_answer_comes_back_as_if_nothing_had_been_rewritten() {
    for (proto, transport) in [(Proto::Tcp, syn()), (Proto::Udp, udp(b"odd"))] {
        let ends = [("10.42.1.9", "192.0.2.1"), ("fd42:1::9", "2001:db8::1")];
        for (build, (backend, node)) in Build::both(proto, &transport).into_iter().zip(ends) {
            let tuple = packet(&build.frame()).tuple;
            let backend = (addr(backend), Be16::from_host(8_080));
            let node = (addr(node), Be16::from_host(50_000));
            let both = Opening::new(&tuple, backend, Some(node));
            through(&build, mirrored(&transport, 8_080, 50_000), &both);
            let preserved = Opening::new(&tuple, backend, None);
            through(&build, mirrored(&transport, 8_080, 40_000), &preserved);
        }
    }
}

#[test]
fn a_ping_leaves_under_the_nodes_address_and_its_reply_returns() {
    let pings = [
        (Build::v4(Proto::Icmp, ping(8, b"abc")), 0, "192.0.2.1"),
        (Build::v6(Proto::Icmp6, ping(128, b"abc")), 129, "2001:db8::1"),
    ];
    for (build, kind, node) in pings {
        let tuple = packet(&build.frame()).tuple;
        let node = (addr(node), Be16::from_host(50_000));
        let opening = Opening::new(&tuple, (tuple.dest_addr, tuple.dest_port), Some(node));
        let mut reply = ping(kind, b"abc");
        reply[4..6].copy_from_slice(&50_000u16.to_be_bytes());
        through(&build, reply, &opening);
    }
}

#[test]
fn both_entries_carry_what_was_decided() {
    let tuple = packet(&Build::v4(Proto::Tcp, syn()).frame()).tuple;
    let opening = Opening {
        flags: TRACK_SNAT | TRACK_MASQUERADE,
        service_id: ServiceId(3),
        flow_id: FlowId(9),
        now_ns: START,
        ..Opening::new(&tuple, (tuple.dest_addr, tuple.dest_port), None)
    };
    let entries = pair(&opening);
    assert_eq!(entries.forward.flags, TRACK_SNAT | TRACK_MASQUERADE);
    assert_eq!(entries.reverse.flags, TRACK_SNAT | TRACK_MASQUERADE | TRACK_REPLY);
    for entry in [entries.forward, entries.reverse] {
        assert_eq!((entry.service_id, entry.flow_id), (ServiceId(3), FlowId(9)));
        assert_eq!((entry.ifindex, entry.seen_ns, entry.packets, entry.bytes), (0, START, 0, 0));
    }
}

#[test]
fn each_state_has_its_patience() {
    let synack = TCP_SYN | TCP_ACK;
    for (forward, reply, limit) in [
        (&[][..], &[][..], TRACK_UNANSWERED_NS),
        (&[TCP_SYN], &[], TRACK_SYN_NS),
        (&[TCP_SYN], &[synack, synack], TRACK_SYN_NS),
        (&[TCP_SYN, TCP_ACK], &[synack], TRACK_TCP_IDLE_NS),
        (&[TCP_ACK], &[], TRACK_TCP_IDLE_NS),
        (&[TCP_SYN, TCP_ACK, TCP_FIN | TCP_ACK], &[synack, TCP_ACK], TRACK_IDLE_NS),
        (&[TCP_ACK, TCP_FIN | TCP_ACK], &[TCP_FIN | TCP_ACK], TRACK_CLOSING_NS),
        (&[TCP_SYN], &[TCP_RST | TCP_ACK], TRACK_CLOSING_NS),
        (&[TCP_SYN, TCP_ACK, TCP_RST], &[synack, TCP_ACK], TRACK_CLOSING_NS),
    ] {
        let (one, other) = (track(forward), track(reply));
        for (one, other) in [(&one, &other), (&other, &one)] {
            assert!(!are_over(one, other, START + limit - 1), "{forward:?} {reply:?}");
            assert!(are_over(one, other, START + limit), "{forward:?} {reply:?}");
        }
    }
}

#[test]
fn one_direction_alone_has_the_same_patience() {
    for (flags, limit) in [
        (&[][..], TRACK_UNANSWERED_NS),
        (&[TCP_SYN], TRACK_SYN_NS),
        (&[TCP_SYN | TCP_ACK], TRACK_SYN_NS),
        (&[TCP_SYN, TCP_ACK], TRACK_TCP_IDLE_NS),
        (&[TCP_SYN, TCP_ACK, TCP_FIN | TCP_ACK], TRACK_CLOSING_NS),
        (&[TCP_RST], TRACK_CLOSING_NS),
    ] {
        assert!(!is_over(&track(flags), START + limit - 1), "{flags:?}");
        assert!(is_over(&track(flags), START + limit), "{flags:?}");
    }
    assert!(!is_over(&track(&[TCP_RST]), START - 1), "a clock read a moment earlier");
}

#[test]
fn datagrams_that_were_answered_may_pause_for_longer() {
    let spoke = |packets, flags| Track { packets, flags, ..track(&[]) };
    let reply = TRACK_REPLY;
    for (one, other, limit) in [
        (spoke(1, 0), spoke(0, reply), TRACK_UNANSWERED_NS),
        (spoke(1, 0), spoke(1, reply), TRACK_IDLE_NS),
        (spoke(1, TRACK_DSR), spoke(0, TRACK_DSR | reply), TRACK_IDLE_NS),
    ] {
        for (one, other) in [(&one, &other), (&other, &one)] {
            assert!(!are_over(one, other, START + limit - 1));
            assert!(are_over(one, other, START + limit));
        }
    }
}

#[test]
fn one_direction_that_speaks_keeps_both() {
    let mut busy = track(&[]);
    advance(&mut busy, &sample(0, START + TRACK_UNANSWERED_NS));
    assert!(!are_over(&track(&[]), &busy, START + TRACK_UNANSWERED_NS));
    assert!(!are_over(&busy, &track(&[]), START + 2 * TRACK_UNANSWERED_NS - 1));
    assert!(are_over(&busy, &track(&[]), START + 2 * TRACK_UNANSWERED_NS));
}

#[test]
fn a_way_is_kept_until_the_entry_has_another_time() {
    let mut entry = Track { ifindex: 7, ..track(&[TCP_ACK]) };
    advance(&mut entry, &sample(TCP_ACK, START + TRACK_SEEN_NS - 1));
    assert_eq!(entry.ifindex, 7);
    advance(&mut entry, &sample(TCP_ACK, START + TRACK_SEEN_NS));
    assert_eq!(entry.ifindex, 0);
    entry.ifindex = 7;
    advance(&mut entry, &sample(TCP_FIN, START + TRACK_SEEN_NS));
    assert_eq!(entry.ifindex, 0);
}

#[test]
fn an_entry_is_written_only_when_there_is_something_to_say() {
    let mut entry = track(&[TCP_ACK]);
    advance(&mut entry, &sample(TCP_ACK, START + TRACK_SEEN_NS - 1));
    assert_eq!(entry.seen_ns, START);
    advance(&mut entry, &sample(TCP_ACK, START + TRACK_SEEN_NS));
    assert_eq!(entry.seen_ns, START + TRACK_SEEN_NS);
    advance(&mut entry, &sample(TCP_FIN, START + TRACK_SEEN_NS + 1));
    assert_eq!((entry.seen_ns, entry.tcp_flags), (START + TRACK_SEEN_NS + 1, TCP_ACK | TCP_FIN));
}

#[test]
fn a_syn_begins_anew_only_when_the_old_connection_is_over() {
    let reused = |flags: &[u8], sent, after| is_reused(&track(flags), &sample(sent, START + after));
    assert!(!reused(&[TCP_SYN], TCP_SYN, 1), "sent again");
    assert!(!reused(&[TCP_SYN, TCP_ACK], TCP_SYN, 1), "the peer decides");
    assert!(reused(&[TCP_SYN, TCP_ACK, TCP_FIN], TCP_SYN, 1));
    assert!(reused(&[TCP_SYN, TCP_RST], TCP_SYN, 1));
    assert!(reused(&[TCP_SYN], TCP_SYN, TRACK_SYN_NS));
    assert!(!reused(&[TCP_SYN, TCP_ACK, TCP_FIN], TCP_SYN | TCP_ACK, 1));
    assert!(!reused(&[TCP_SYN, TCP_ACK, TCP_FIN], TCP_ACK, TRACK_CLOSING_NS));
}

#[test]
fn the_callers_own_port_comes_first_if_it_is_in_the_range() {
    let own = Be16::from_host(40_000);
    assert_eq!(candidate(0, own, 32_768, 60_999, 7), own);
    assert_eq!(candidate(0, Be16::from_host(32_768), 32_768, 60_999, 7).to_host(), 32_768);
    assert_ne!(candidate(0, Be16::from_host(80), 32_768, 60_999, 7).to_host(), 80);
}

#[test]
fn every_port_of_the_range_has_its_turn_before_one_comes_twice() {
    for (first, last) in
        [(0, 65_535), (32_768, 60_999), (1_000, 8_918), (2_000, 17_837), (5, 5), (1, 2)]
    {
        let count = usize::from(last - first) + 1;
        for random in [0, 1, u32::MAX / 3, u32::MAX] {
            let ports: HashSet<u16> = (1..=u32::try_from(count).unwrap())
                .map(|attempt| candidate(attempt, Be16::ZERO, first, last, random).to_host())
                .collect();
            assert!(ports.iter().all(|port| (first..=last).contains(port)));
            assert_eq!(ports.len(), count, "{first}..={last}");
        }
    }
}

#[test]
fn two_connections_try_different_ports() {
    let tried = |random| -> HashSet<u16> {
        (1..SNAT_ATTEMPTS)
            .map(|attempt| candidate(attempt, Be16::ZERO, 32_768, 60_999, random).to_host())
            .collect()
    };
    assert_eq!(tried(1 << 30).len() + 1, SNAT_ATTEMPTS as usize);
    assert!(tried(1 << 30).is_disjoint(&tried(1 << 31)));
    assert_eq!(candidate(3, Be16::ZERO, 10, 5, 9).to_host(), 10, "an empty range is one port");
}
