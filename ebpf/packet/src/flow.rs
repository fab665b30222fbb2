//! The life of one direction of a flow: begin, count, report, end.
//!
//! ```text
//! first packet ──New──> open ──every 5 s: Update──> open ──FIN or RST: End──> ended ──SYN: begins anew
//!                                          │ silence, unless TCP under way: begins anew
//! ```
//! A report that found the ring full is tried again with the next packet, because only [`reported`] moves the state on.

use beeline_abi::limits::{FLOW_IDLE_NS, FLOW_REPORT_INTERVAL_NS, FLOW_SYN_IDLE_NS};
use beeline_abi::{
    FLOW_REPLY, FLOW_TRANSLATED, FlowEvent, FlowEventKind, FlowId, FlowKey, FlowState, Identity,
    Proto, RuleId, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Verdict,
};

use crate::link::Chosen;

/// What one packet adds.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Bytes from the IP header on.
    pub bytes: u64,
    /// TCP flags; zero for everything else.
    pub tcp_flags: u8,
    /// Monotonic clock.
    pub now_ns: u64,
}

/// What is kept of a state whose tuple may be reused, until its connection is known. Scalars, and nothing of it when there was
/// no state: so the verifier walks what follows once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Past {
    flow_id: FlowId,
    bytes: u64,
    packets: u64,
    first_ns: u64,
    reported_ns: u64,
}

impl Past {
    /// What is kept of `state`. An ended flow does not go on.
    #[inline(always)]
    pub fn of(state: &FlowState) -> Self {
        Past {
            flow_id: if state.ended == 0 { state.flow_id } else { FlowId::default() },
            bytes: state.bytes,
            packets: state.packets,
            first_ns: state.first_ns,
            reported_ns: state.reported_ns,
        }
    }
}

/// What was decided about a flow when it began.
#[derive(Clone, Copy, Debug)]
pub struct Decision {
    /// Who sends.
    pub source_identity: Identity,
    /// Who receives.
    pub dest_identity: Identity,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why.
    pub rule_id: RuleId,
}

/// Whether the packet opens a TCP connection.
#[inline(always)]
pub fn is_opening(tcp_flags: u8) -> bool {
    tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST) == TCP_SYN
}

/// Whether the packet may belong to another connection than the state it was found under; [`resume`] has the last word.
///
/// A hook that is not the first of this node asks after half the silence: it sees the same packet a little later than
/// the first did, and must not go on with an old number when that one has just drawn a new one.
#[inline(always)]
pub fn is_reused(state: &FlowState, proto: u8, sample: &Sample, first_here: bool) -> bool {
    let silence = sample.now_ns.saturating_sub(state.last_ns);
    let patience = |limit: u64| if first_here { limit } else { limit / 2 };
    if proto != Proto::Tcp as u8 {
        return silence >= patience(FLOW_IDLE_NS);
    }
    is_opening(sample.tcp_flags)
        && (state.ended != 0
            || state.tcp_flags & TCP_ACK != 0
            || silence >= patience(FLOW_SYN_IDLE_NS))
}

/// Whether a direction that is not TCP was seen so lately that its connection is under way.
#[inline(always)]
pub fn is_live(state: &FlowState, now_ns: u64) -> bool {
    now_ns.saturating_sub(state.last_ns) < FLOW_IDLE_NS
}

/// The state after the first packet, which is counted.
#[inline(always)]
pub fn begin(sample: &Sample, chosen: &Chosen, decision: &Decision) -> FlowState {
    let link = &chosen.link;
    let mut flags = 0;
    if link.service_id.0 != 0 {
        flags |= FLOW_TRANSLATED;
    }
    if chosen.reply {
        flags |= FLOW_REPLY;
    }
    FlowState {
        flow_id: link.flow_id,
        bytes: sample.bytes,
        packets: 1,
        first_ns: sample.now_ns,
        last_ns: sample.now_ns,
        reported_ns: 0,
        source_identity: decision.source_identity,
        dest_identity: decision.dest_identity,
        rule_id: decision.rule_id,
        frontend_addr: link.frontend_addr,
        frontend_port: link.frontend_port,
        flags,
        service_id: link.service_id,
        backend_id: link.backend_id,
        tcp_flags: sample.tcp_flags,
        verdict: decision.verdict as u8,
        ended: 0,
        pad: [0; 5],
    }
}

/// Goes on after all, if the sender's socket, or a hook that knows, gave the new state the number of the old one.
#[inline(always)]
pub fn resume(state: &mut FlowState, past: &Past) {
    if state.flow_id == past.flow_id {
        state.bytes += past.bytes;
        state.packets += past.packets;
        state.first_ns = past.first_ns;
        state.reported_ns = past.reported_ns;
    }
}

/// Takes in a later packet. Bytes and packets are added by the caller, atomically, because two CPUs may hold the state;
/// what is changed here may lose a race with no worse effect than a report too many.
#[inline(always)]
pub fn advance(state: &mut FlowState, sample: &Sample) {
    state.tcp_flags |= sample.tcp_flags;
    state.last_ns = sample.now_ns;
}

/// What has to be reported now.
#[inline(always)]
pub fn due(state: &FlowState, now_ns: u64) -> Option<FlowEventKind> {
    if state.ended != 0 {
        None
    } else if state.tcp_flags & (TCP_FIN | TCP_RST) != 0 {
        Some(FlowEventKind::End)
    } else if state.reported_ns == 0 {
        Some(FlowEventKind::New)
    } else if now_ns.wrapping_sub(state.reported_ns) >= FLOW_REPORT_INTERVAL_NS {
        Some(FlowEventKind::Update)
    } else {
        None
    }
}

/// Remembers that a report reached the ring.
#[inline(always)]
pub fn reported(state: &mut FlowState, kind: FlowEventKind, now_ns: u64) {
    state.reported_ns = now_ns;
    if matches!(kind, FlowEventKind::End) {
        state.ended = 1;
    }
}

/// The event for a state; the caller adds the endpoint.
#[inline(always)]
pub fn event(key: &FlowKey, state: &FlowState, kind: FlowEventKind, now_ns: u64) -> FlowEvent {
    FlowEvent {
        time_ns: now_ns,
        first_ns: state.first_ns,
        flow_id: state.flow_id,
        bytes: state.bytes,
        packets: state.packets,
        cookie: 0,
        tuple: key.tuple,
        source_identity: state.source_identity,
        dest_identity: state.dest_identity,
        rule_id: state.rule_id,
        endpoint_id: Default::default(),
        ifindex: key.ifindex,
        service_id: state.service_id,
        backend_id: state.backend_id,
        frontend_addr: state.frontend_addr,
        frontend_port: state.frontend_port,
        flags: state.flags,
        drop_reason: 0,
        tcp_flags: state.tcp_flags,
        kind: kind as u8,
        hook: key.hook,
        verdict: state.verdict,
        pad: [0; 2],
    }
}
