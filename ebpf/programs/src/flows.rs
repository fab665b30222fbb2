//! Flow records: what passes is counted under its flow, and told when it begins, goes on and ends.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::{bpf_get_socket_cookie, bpf_ktime_get_ns};
use aya_ebpf::programs::TcContext;
use beeline_abi::{
    CONFIG_NO_FLOW_RECORDS, Counter, DropReason, Endpoint, EndpointId, FlowEvent, FlowEventKind,
    FlowKey, FlowLink, FlowState, Hook, Proto, RuleId, Tuple, Verdict,
};
use beeline_packet::flow::{self, Decision, Past, Sample};
use beeline_packet::link::{self, Chosen, Known};
use beeline_packet::parse::{Packet, Part};

use crate::maps::{FLOW_LINKS, FLOWS, Scratch, scratch};
use crate::{connection, count, endpoint, events, node, skb};

/// A packet at a pod's link, after the verdict.
pub struct Sighting<'a> {
    /// The packet.
    pub packet: &'a Packet,
    /// Where.
    pub hook: Hook,
    /// Who sends, if known.
    pub source: Option<&'a Endpoint>,
    /// Who receives, if known.
    pub dest: Option<&'a Endpoint>,
    /// What becomes of it.
    pub verdict: Verdict,
    /// Why.
    pub rule_id: RuleId,
}

impl Sighting<'_> {
    /// The pod behind the link.
    #[inline(always)]
    fn endpoint_id(&self) -> EndpointId {
        let own = match self.hook {
            Hook::FromPod => self.source,
            _ => self.dest,
        };
        own.map_or(EndpointId::default(), |endpoint| endpoint.endpoint_id)
    }

    /// Whether no other hook of this node has seen the packet: it comes from a pod's link, or from outside its pods.
    #[inline(always)]
    fn is_first_here(&self) -> bool {
        matches!(self.hook, Hook::FromPod)
            || !self.source.is_some_and(|endpoint| endpoint.ifindex != 0)
    }
}

/// Counts the packet under its flow and reports what is due.
#[inline(always)]
pub fn record(ctx: &TcContext, seen: &Sighting<'_>) {
    if seen.packet.part == Part::Later {
        count::one(Counter::Fragments);
        return;
    }
    if node::has(CONFIG_NO_FLOW_RECORDS) {
        return;
    }
    // SAFETY: no arguments, callable from every program type.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let sample =
        Sample { bytes: u64::from(seen.packet.bytes), tcp_flags: seen.packet.tcp_flags, now_ns };
    let key = FlowKey {
        tuple: seen.packet.tuple,
        ifindex: skb::ifindex(ctx),
        hook: seen.hook as u8,
        pad: [0; 3],
    };
    let mut past = Past::default();
    if let Some(state) = FLOWS.get_ptr_mut(key) {
        // SAFETY: a live map value; the map is an LRU, so it may serve another flow by now: at worst that one's count is off.
        let state = unsafe { &mut *state };
        if !flow::is_reused(state, key.tuple.proto, &sample, seen.is_first_here()) {
            return go_on(seen, &key, state, &sample);
        }
        past = Past::of(state);
    }
    begin(ctx, seen, &key, &sample, &past);
}

#[inline(always)]
fn go_on(seen: &Sighting<'_>, key: &FlowKey, state: &mut FlowState, sample: &Sample) {
    count::add(&raw mut state.bytes, sample.bytes);
    count::add(&raw mut state.packets, 1);
    flow::advance(state, sample);
    report(seen, key, state, sample.now_ns);
}

#[inline(always)]
fn begin(ctx: &TcContext, seen: &Sighting<'_>, key: &FlowKey, sample: &Sample, past: &Past) {
    let Some(scratch) = scratch() else {
        return;
    };
    let chosen = link(ctx, seen, key, sample.now_ns, scratch);
    let decision = Decision {
        source_identity: endpoint::identity(seen.source),
        dest_identity: endpoint::identity(seen.dest),
        verdict: seen.verdict,
        rule_id: seen.rule_id,
    };
    scratch.flow = flow::begin(sample, &chosen, &decision);
    flow::resume(&mut scratch.flow, past);
    report(seen, key, &mut scratch.flow, sample.now_ns);
    if FLOWS.insert(key, &scratch.flow, u64::from(BPF_ANY)).is_err() {
        count::one(Counter::FlowsFull);
    }
}

/// Which connection this is; tells the other hooks when this is the first to know.
#[inline(always)]
fn link(
    ctx: &TcContext,
    seen: &Sighting<'_>,
    key: &FlowKey,
    now_ns: u64,
    scratch: &mut Scratch,
) -> Chosen {
    let tuple = &key.tuple;
    scratch.reversed = FlowKey { tuple: tuple.reversed(), ..*key };
    let reversed = &scratch.reversed.tuple;
    // SAFETY: the context the kernel passed to this program; a packet without a socket gives zero.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.as_ptr()) };
    let own = connection::link_of(cookie, tuple, &mut scratch.own);
    let known = Known {
        own: if own { Some(&scratch.own) } else { None },
        forward: written(tuple),
        backward: written(reversed),
    };
    let opens_here = seen.is_first_here()
        && if tuple.proto == Proto::Tcp as u8 {
            flow::is_opening(seen.packet.tcp_flags)
        } else {
            !is_answering(seen, &mut scratch.reversed, now_ns)
        };
    let chosen = link::choose(opens_here, &known, events::fresh_flow_id());
    if chosen.write {
        // Of TCP it stays: a socket that closes still looks for its backend there.
        if tuple.proto != Proto::Tcp as u8 {
            // An error says that there is none.
            let _ = FLOW_LINKS.remove(&scratch.reversed.tuple);
        }
        if FLOW_LINKS.insert(tuple, chosen.link, u64::from(BPF_ANY)).is_err() {
            count::one(Counter::LinksFull);
        }
    }
    chosen
}

/// Whether the opposite direction, which passes the same link at the other hook, is live.
#[inline(always)]
fn is_answering(seen: &Sighting<'_>, reversed: &mut FlowKey, now_ns: u64) -> bool {
    let other = match seen.hook {
        Hook::FromPod => Hook::ToPod,
        _ => Hook::FromPod,
    };
    reversed.hook = other as u8;
    // SAFETY: preallocated: a value may be reused while it is read, which at worst gives a flow another number.
    unsafe { FLOWS.get(&*reversed) }.is_some_and(|state| flow::is_live(state, now_ns))
}

#[inline(always)]
fn written(tuple: &Tuple) -> Option<&'static FlowLink> {
    // SAFETY: preallocated: a value may be reused while it is read, which at worst gives a flow another's number.
    unsafe { FLOW_LINKS.get(tuple) }
}

#[inline(always)]
fn report(seen: &Sighting<'_>, key: &FlowKey, state: &mut FlowState, now_ns: u64) {
    let Some(kind) = flow::due(state, now_ns) else {
        return;
    };
    let mut event = flow::event(key, state, kind, now_ns);
    event.endpoint_id = seen.endpoint_id();
    if events::emit(event) {
        flow::reported(state, kind, now_ns);
    }
}

/// Counts a dropped packet, and tells unless the same was told just now. `tuple` is empty when the headers are unreadable.
#[inline(always)]
pub fn dropped_at_pod(
    ctx: &TcContext,
    hook: Hook,
    tuple: &Tuple,
    reason: DropReason,
    rule_id: RuleId,
) {
    // SAFETY: no arguments, callable from every program type.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let bytes = u64::from(ctx.len());
    if !count::drop(reason, bytes, now_ns) {
        return;
    }
    let Some(scratch) = scratch() else {
        return;
    };
    scratch.event = FlowEvent::default();
    let event = &mut scratch.event;
    event.time_ns = now_ns;
    event.first_ns = now_ns;
    event.bytes = bytes;
    event.packets = 1;
    event.tuple = *tuple;
    event.source_identity = endpoint::identity(endpoint::at(tuple.source_addr));
    event.dest_identity = endpoint::identity(endpoint::at(tuple.dest_addr));
    event.rule_id = rule_id;
    event.ifindex = skb::ifindex(ctx);
    event.drop_reason = reason as u16;
    event.kind = FlowEventKind::Drop as u8;
    event.hook = hook as u8;
    event.verdict = Verdict::Drop as u8;
    events::emit_copy(event);
}

/// The same for a packet from or to the world, which lies in `scratch` as it came.
#[inline(always)]
pub fn dropped(ctx: &TcContext, hook: Hook, scratch: &Scratch, reason: DropReason) {
    dropped_at_pod(ctx, hook, &scratch.packet.tuple, reason, RuleId::SERVICE);
}
