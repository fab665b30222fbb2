use beeline_abi::limits::{FLOW_IDLE_NS, FLOW_REPORT_INTERVAL_NS, FLOW_SYN_IDLE_NS};
use beeline_abi::{
    BackendId, Be16, Be32, DropReason, FLOW_REPLY, FLOW_TRANSLATED, FlowEventKind, FlowId, FlowKey,
    FlowLink, FlowState, FrontendKey, Identity, Proto, RuleId, ServiceId, TCP_ACK, TCP_FIN,
    TCP_RST, TCP_SYN, Verdict,
};

use crate::balance::{by_hash, by_random};
use crate::flow::{
    Decision, Past, Sample, advance, begin, due, event, is_live, is_reused, reported, resume,
};
use crate::link::{Chosen, Known, choose};
use crate::parse::{Parsed, Part, parse};

const TCP: u8 = Proto::Tcp as u8;
const UDP: u8 = Proto::Udp as u8;

/// An Ethernet frame with an IPv4 header of `words` words, fragment field and payload.
fn frame(proto: u8, words: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let header = usize::from(words) * 4;
    let total = u16::try_from(header + payload.len()).unwrap();
    let mut bytes = vec![0; 12];
    bytes.extend([0x08, 0x00, 0x40 | words, 0]);
    bytes.extend(total.to_be_bytes());
    bytes.extend([0, 1]);
    bytes.extend(fragment.to_be_bytes());
    bytes.extend([64, proto, 0, 0, 10, 42, 0, 2, 10, 42, 0, 3]);
    bytes.resize(14 + header, 0);
    bytes.extend(payload);
    bytes
}

fn tcp(flags: u8) -> Vec<u8> {
    let mut header = vec![0; 20];
    header[..4].copy_from_slice(&[0x9c, 0x40, 0, 80]);
    header[12] = 0x50;
    header[13] = flags;
    header
}

fn ipv4(bytes: &[u8]) -> crate::parse::Ipv4 {
    match parse(bytes) {
        Ok(Parsed::Ipv4(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

#[test]
fn tcp_headers_are_read_with_and_without_options() {
    for words in [5, 6, 15] {
        let packet = ipv4(&frame(TCP, words, 0, &tcp(TCP_SYN)));
        assert_eq!(packet.tuple.source_addr, Be32::from([10, 42, 0, 2]));
        assert_eq!(packet.tuple.dest_addr, Be32::from([10, 42, 0, 3]));
        assert_eq!(
            (packet.tuple.source_port.to_host(), packet.tuple.dest_port.to_host()),
            (40000, 80)
        );
        assert_eq!((packet.tcp_flags, packet.part), (TCP_SYN, Part::Whole));
        assert_eq!(packet.bytes, u32::from(words) * 4 + 20);
    }
}

#[test]
fn icmp_puts_type_and_code_into_the_destination_port() {
    let packet = ipv4(&frame(1, 5, 0, &[8, 3, 0, 0, 0, 1, 0, 1]));
    assert_eq!((packet.tuple.source_port.to_host(), packet.tuple.dest_port.to_host()), (0, 0x0803));
}

#[test]
fn later_fragments_have_no_ports_even_if_their_payload_looks_like_it() {
    let first = ipv4(&frame(UDP, 5, 0x2000, &[1, 2, 3, 4, 0, 8, 0, 0]));
    assert_eq!((first.part, first.tuple.source_port.to_host()), (Part::First, 0x0102));
    let later = ipv4(&frame(UDP, 5, 0x0001, &[1, 2, 3, 4, 0, 8, 0, 0]));
    assert_eq!((later.part, later.tuple.source_port.to_host()), (Part::Later, 0));
    assert_eq!(ipv4(&frame(TCP, 5, 0x2001, &[9])).part, Part::Later);
}

#[test]
fn every_truncation_is_refused_and_none_panics() {
    let whole = frame(TCP, 6, 0, &tcp(TCP_SYN));
    for length in 0..whole.len() {
        assert_eq!(parse(&whole[..length]), Err(DropReason::Truncated), "{length}");
    }
    assert_eq!(parse(&frame(TCP, 5, 0, &tcp(0)[..13])[..]), Err(DropReason::Truncated));
    assert_eq!(parse(&frame(UDP, 5, 0, &[0; 7])[..]), Err(DropReason::Truncated));
}

#[test]
fn contradicting_headers_are_malformed() {
    let mut version = frame(TCP, 5, 0, &tcp(0));
    version[14] = 0x65;
    assert_eq!(parse(&version[..]), Err(DropReason::Malformed));
    let mut short_header = frame(TCP, 5, 0, &tcp(0));
    short_header[14] = 0x44;
    assert_eq!(parse(&short_header[..]), Err(DropReason::Malformed));
    let mut short_total = frame(TCP, 5, 0, &tcp(0));
    short_total[16..18].copy_from_slice(&[0, 19]);
    assert_eq!(parse(&short_total[..]), Err(DropReason::Malformed));
}

#[test]
fn padding_after_the_packet_is_allowed() {
    let mut bytes = frame(UDP, 5, 0, &[0; 8]);
    bytes.resize(60, 0);
    assert_eq!(ipv4(&bytes).tuple.proto, UDP);
}

#[test]
fn arp_and_ipv6_are_the_stacks_business() {
    for ethertype in [[0x08, 0x06], [0x86, 0xdd]] {
        let mut bytes = frame(TCP, 5, 0, &[]);
        bytes[12..14].copy_from_slice(&ethertype);
        assert_eq!(parse(&bytes[..]), Ok(Parsed::Other));
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 0x1234_5678_9abc_def0usize;
    for _ in 0..20_000 {
        let mut bytes = frame(TCP, 5, 0, &tcp(TCP_SYN));
        for _ in 0..4 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let at = 12 + (seed >> 8) % (bytes.len() - 12);
            bytes[at] = seed.to_le_bytes()[0];
        }
        let _ = parse(&bytes[..(seed >> 16) % (bytes.len() + 1)]);
    }
}

#[test]
fn slots_are_in_range_and_even() {
    assert_eq!(by_random(u32::MAX, 0), 0);
    assert_eq!((by_random(0, 3), by_random(u32::MAX, 3)), (0, 2));
    let key = FrontendKey::new(Be32::from([10, 43, 0, 10]), Be16::from_host(53), Proto::Udp);
    let mut hits = [0u32; 4];
    for cookie in 0..40_000 {
        hits[by_hash(cookie, &key, 4) as usize] += 1;
        assert_eq!(by_hash(cookie, &key, 4), by_hash(cookie, &key, 4));
    }
    for hit in hits {
        assert!((9_500..10_500).contains(&hit), "{hits:?}");
    }
    assert!((0..100).any(|cookie| by_hash(cookie, &key, 4) != by_hash(cookie, &key, 3)));
}

fn link(id: u64) -> FlowLink {
    FlowLink {
        flow_id: FlowId(id),
        frontend_addr: Be32::from([10, 43, 0, 1]),
        frontend_port: Be16::from_host(80),
        pad: 0,
        service_id: ServiceId(3),
        backend_id: BackendId(4),
    }
}

#[test]
fn links_are_trusted_in_order() {
    let fresh = FlowId(9);
    let all = Known { own: Some(link(1)), forward: Some(link(2)), backward: Some(link(3)) };
    assert_eq!(choose(true, &all, fresh), Chosen { link: link(1), reply: false, write: true });
    let agreed = Known { forward: Some(link(1)), ..all };
    assert!(!choose(true, &agreed, fresh).write);
    let written = Known { own: None, ..all };
    assert_eq!(
        choose(false, &written, fresh),
        Chosen { link: link(2), reply: false, write: false }
    );
    let opposite = Known { forward: None, ..written };
    assert_eq!(
        choose(false, &opposite, fresh),
        Chosen { link: link(3), reply: true, write: false }
    );
    let unknown = Chosen {
        link: FlowLink { flow_id: fresh, ..FlowLink::default() },
        reply: false,
        write: true,
    };
    assert_eq!(choose(false, &Known::default(), fresh), unknown);
    assert_eq!(
        choose(true, &written, fresh),
        unknown,
        "an old link must not name a new connection"
    );
}

fn sample(tcp_flags: u8, now_ns: u64) -> Sample {
    Sample { bytes: 60, tcp_flags, now_ns }
}

fn started(tcp_flags: u8, reply: bool) -> FlowState {
    let decision = Decision {
        source_identity: Identity(300),
        dest_identity: Identity::WORLD,
        verdict: Verdict::Forward,
        rule_id: RuleId::DEFAULT_ALLOW,
    };
    begin(&sample(tcp_flags, 1_000), &Chosen { link: link(5), reply, write: false }, &decision)
}

#[test]
fn a_flow_reports_new_update_and_end_once_each() {
    let mut state = started(TCP_SYN, false);
    assert_eq!(due(&state, 1_000), Some(FlowEventKind::New));
    reported(&mut state, FlowEventKind::New, 1_000);
    advance(&mut state, &sample(TCP_ACK, 2_000));
    assert_eq!(due(&state, 2_000), None);
    assert_eq!(due(&state, 1_000 + FLOW_REPORT_INTERVAL_NS), Some(FlowEventKind::Update));
    advance(&mut state, &sample(TCP_FIN | TCP_ACK, 3_000));
    assert_eq!(due(&state, 3_000), Some(FlowEventKind::End));
    reported(&mut state, FlowEventKind::End, 3_000);
    advance(&mut state, &sample(TCP_ACK, 4_000));
    assert_eq!(due(&state, u64::MAX), None);
}

#[test]
fn a_lost_report_is_tried_again() {
    let mut state = started(TCP_SYN, false);
    advance(&mut state, &sample(TCP_ACK, 2_000));
    assert_eq!(due(&state, 2_000), Some(FlowEventKind::New));
    advance(&mut state, &sample(TCP_FIN, 3_000));
    advance(&mut state, &sample(TCP_ACK, 4_000));
    assert_eq!(due(&state, 4_000), Some(FlowEventKind::End));
}

#[test]
fn a_refusal_ends_at_once() {
    assert_eq!(due(&started(TCP_RST | TCP_ACK, true), 1_000), Some(FlowEventKind::End));
}

#[test]
fn a_syn_on_a_used_tuple_is_another_flow_but_a_repeated_syn_is_not() {
    let mut state = started(TCP_SYN, false);
    let reused = |state: &FlowState, flags| is_reused(state, TCP, &sample(flags, 2_000), true);
    assert!(!reused(&state, TCP_SYN));
    advance(&mut state, &sample(TCP_ACK, 2_000));
    assert!(reused(&state, TCP_SYN));
    assert!(!reused(&state, TCP_SYN | TCP_ACK));
    let mut refused = started(TCP_SYN, false);
    refused.ended = 1;
    assert!(reused(&refused, TCP_SYN));
}

#[test]
fn silence_ends_what_no_packet_ends() {
    const ICMP: u8 = 1;
    let seen = 1_000;
    let reused = |state: &FlowState, proto, flags, silence| {
        is_reused(state, proto, &sample(flags, seen + silence), true)
    };
    let datagrams = started(0, false);
    for proto in [UDP, ICMP] {
        assert!(!reused(&datagrams, proto, 0, FLOW_IDLE_NS - 1));
        assert!(reused(&datagrams, proto, 0, FLOW_IDLE_NS));
    }
    assert!(is_live(&datagrams, seen + FLOW_IDLE_NS - 1));
    assert!(!is_live(&datagrams, seen + FLOW_IDLE_NS));
    let unanswered = started(TCP_SYN, false);
    assert!(!reused(&unanswered, TCP, TCP_SYN, FLOW_SYN_IDLE_NS - 1));
    assert!(reused(&unanswered, TCP, TCP_SYN, FLOW_SYN_IDLE_NS));
    assert!(!reused(&unanswered, TCP, TCP_ACK, FLOW_SYN_IDLE_NS), "it opens nothing");
    let mut quiet = started(TCP_SYN, false);
    advance(&mut quiet, &sample(TCP_ACK, seen));
    assert!(!reused(&quiet, TCP, TCP_ACK, 100 * FLOW_SYN_IDLE_NS), "TCP may be silent for days");
}

#[test]
fn a_clock_read_on_another_cpu_a_moment_earlier_is_no_silence() {
    let state = started(0, false);
    assert!(!is_reused(&state, UDP, &sample(0, 999), true));
    assert!(is_live(&state, 999));
}

#[test]
fn a_later_hook_asks_earlier_and_goes_on_when_the_number_is_the_same() {
    let state = started(0, false);
    let half = sample(0, 1_000 + FLOW_IDLE_NS / 2);
    assert!(!is_reused(&state, UDP, &half, true));
    assert!(is_reused(&state, UDP, &half, false));
    let again = |id| FlowState { flow_id: FlowId(id), first_ns: 9_000, ..started(0, false) };
    let resumed = |id, state: &FlowState| {
        let mut again = again(id);
        resume(&mut again, &Past::of(state));
        again
    };
    let told = FlowState { reported_ns: 1_000, packets: 7, ..state };
    let same = resumed(5, &told);
    assert_eq!((same.packets, same.bytes, same.first_ns, same.reported_ns), (8, 120, 1_000, 1_000));
    assert_eq!(resumed(6, &told), again(6));
    let ended = FlowState { ended: 1, ..told };
    assert_eq!(resumed(5, &ended), again(5), "an ended flow reports nothing more");
}

#[test]
fn an_event_carries_the_whole_state() {
    let state = started(TCP_SYN, true);
    let key = FlowKey { ifindex: 7, hook: 2, ..FlowKey::default() };
    let event = event(&key, &state, FlowEventKind::New, 5_000);
    assert_eq!((event.flow_id, event.bytes, event.packets), (FlowId(5), 60, 1));
    assert_eq!(event.flags, FLOW_TRANSLATED | FLOW_REPLY);
    assert_eq!((event.service_id, event.backend_id), (ServiceId(3), BackendId(4)));
    assert_eq!((event.ifindex, event.hook, event.time_ns, event.first_ns), (7, 2, 5_000, 1_000));
    assert_eq!((event.kind(), event.verdict()), (Some(FlowEventKind::New), Some(Verdict::Forward)));
}
