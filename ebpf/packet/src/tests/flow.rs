//! The life of a flow, and which connection a packet belongs to.

use beeline_abi::limits::{FLOW_IDLE_NS, FLOW_REPORT_INTERVAL_NS, FLOW_SYN_IDLE_NS};
use beeline_abi::{
    Addr, BackendId, Be16, Be32, FLOW_REPLY, FLOW_TRANSLATED, FlowEventKind, FlowId, FlowKey,
    FlowLink, FlowState, Identity, Proto, RuleId, ServiceId, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN,
    Verdict,
};

use crate::flow::{
    Decision, Past, Sample, advance, begin, due, event, is_live, is_reused, reported, resume,
};
use crate::link::{Chosen, Known, choose};

const TCP: u8 = Proto::Tcp as u8;
const UDP: u8 = Proto::Udp as u8;

fn link(id: u64) -> FlowLink {
    FlowLink {
        flow_id: FlowId(id),
        frontend_addr: Addr::v4(Be32::from([10, 43, 0, 1])),
        frontend_port: Be16::from_host(80),
        pad: 0,
        service_id: ServiceId(3),
        backend_id: BackendId(4),
        pad2: 0,
    }
}

#[test]
fn links_are_trusted_in_order() {
    let fresh = FlowId(9);
    let (one, two, three) = (link(1), link(2), link(3));
    let all = Known { own: Some(&one), forward: Some(&two), backward: Some(&three) };
    assert_eq!(choose(true, &all, fresh), Chosen { link: link(1), reply: false, write: true });
    let agreed = Known { forward: Some(&one), ..all };
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
