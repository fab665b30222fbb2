//! Packets between the world and this node: Services for callers outside, answers to them, pods that leave the cluster.
//!
//! One look-up serves a packet of a known connection, whatever its direction; only the first packet is looked at closer.
//! The same code runs at the tc hooks and in the driver. Functions that are not inlined keep the stack below its 512 bytes;
//! what they share lies in `SCRATCH`.

use beeline_abi::{
    BACKEND_LOCAL, BackendId, Be16, CONFIG_DSR, CONFIG_MASQUERADE, CONFIG_NO_FLOW_RECORDS, Counter,
    DropReason, FLOW_TRANSLATED, FRONTEND_HAS_REMOTE, FRONTEND_LOCAL_ONLY, FlowEvent,
    FlowEventKind, FrontendKey, Hook, Identity, Proto, RANGE_LOCAL_PODS, RuleId, Scope, ServiceId,
    TCP_RST, TRACK_DSR, TRACK_LOCAL, TRACK_MASQUERADE, TRACK_REPLY, TRACK_SNAT, Track, Verdict,
};
use beeline_packet::nat::{self, Rewrite};
use beeline_packet::parse::{Packet, Parsed, Part, parse};
use beeline_packet::track::Opening;
use beeline_packet::{FrameMut, balance, flow, icmp};

use crate::conntrack::Source;
use crate::maps::Scratch;
use crate::route::Route;
use crate::service::{self, Call, Refusal};
use crate::{conntrack, count, dsr, endpoint, events, fragments, node};

/// What became of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// None of ours: it goes on as it came.
    Untouched,
    /// Rewritten: `onward` says where it goes.
    Rewritten,
    /// Nobody answers for what it dialled, and its sender is to be told.
    Refused,
}

/// Where a rewritten packet goes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Onward {
    /// What it looks like now.
    pub to: Rewrite,
    /// Whether it is for this node or a pod of it.
    pub is_local: bool,
    /// Whether it has to tell the backend's node what was dialled.
    pub tells_frontend: bool,
    /// Whether its direction has an entry.
    pub is_tracked: bool,
}

/// No connection is known.
const BEGINS: i32 = 3;

/// An outcome in one register, as functions that are not inlined return it: drop reasons are below zero.
#[inline(always)]
fn pack(outcome: Result<Outcome, DropReason>) -> i32 {
    match outcome {
        Ok(outcome) => outcome as i32,
        Err(reason) => -(reason as i32),
    }
}

#[inline(always)]
fn unpack(code: i32) -> Result<Outcome, DropReason> {
    match code {
        0 => Ok(Outcome::Untouched),
        1 => Ok(Outcome::Rewritten),
        2 => Ok(Outcome::Refused),
        reason => Err(DropReason::from_raw(-reason as u16).unwrap_or(DropReason::RewriteFailed)),
    }
}

/// Reads the headers of a packet into `scratch`; `false` when it is none of ours. What is broken is the stack's to judge: it
/// may not even be for this node.
#[inline(never)]
pub fn read<F: FrameMut>(frame: &F, scratch: &mut Scratch) -> bool {
    match parse(frame) {
        Ok(Parsed::Ip(packet)) => {
            scratch.packet = packet;
            true
        }
        Ok(Parsed::Other) | Err(_) => false,
    }
}

/// A packet arrived by an uplink; it lies in `scratch`.
#[inline(always)]
pub fn arrive<F: FrameMut>(
    frame: &mut F,
    hook: Hook,
    scratch: &mut Scratch,
) -> Result<Outcome, DropReason> {
    match known(frame, scratch) {
        BEGINS if is_control(&scratch.packet) => unpack(error(frame, scratch)),
        BEGINS => match unpack(begin(frame, hook as u32, scratch))? {
            Outcome::Untouched if node::has(CONFIG_DSR) => unpack(dsr::learn(frame, scratch)),
            outcome => Ok(outcome),
        },
        code => unpack(code),
    }
}

/// The same for a whole packet that is not ICMP.
#[inline(always)]
pub fn arrive_early<F: FrameMut>(
    frame: &mut F,
    hook: Hook,
    scratch: &mut Scratch,
) -> Result<Outcome, DropReason> {
    match known(frame, scratch) {
        BEGINS => unpack(begin(frame, hook as u32, scratch)),
        code => unpack(code),
    }
}

/// A packet is about to leave by an uplink; it lies in `scratch`.
#[inline(always)]
pub fn leave<F: FrameMut>(frame: &mut F, scratch: &mut Scratch) -> Result<Outcome, DropReason> {
    let code = known(frame, scratch);
    if code != BEGINS {
        return unpack(code);
    }
    if is_control(&scratch.packet)
        && let Outcome::Rewritten = unpack(error(frame, scratch))?
    {
        return Ok(Outcome::Rewritten);
    }
    if node::has(CONFIG_MASQUERADE) && is_leaving(&scratch.packet) {
        return unpack(masquerade(frame, scratch));
    }
    Ok(Outcome::Untouched)
}

/// A packet of a connection under way, in either direction; [`BEGINS`] when it may begin one.
#[inline(never)]
fn known<F: FrameMut>(frame: &mut F, scratch: &mut Scratch) -> i32 {
    match go_on(frame, scratch) {
        Ok(None) => BEGINS,
        Ok(Some(outcome)) => pack(Ok(outcome)),
        Err(reason) => pack(Err(reason)),
    }
}

#[inline(always)]
fn go_on<F: FrameMut>(frame: &mut F, scratch: &mut Scratch) -> Result<Option<Outcome>, DropReason> {
    let packet = &mut scratch.packet;
    if packet.part == Part::Later && !fragments::join(packet) {
        return Ok(Some(Outcome::Untouched));
    }
    fragments::remember(packet);
    let Some(track) = conntrack::find(&packet.tuple) else {
        return Ok(None);
    };
    if !conntrack::go_on(track, packet) {
        return Ok(None);
    }
    scratch.route = Route::of(track);
    scratch.onward = Onward {
        to: Rewrite::of(track),
        is_local: stays_here(track),
        tells_frontend: tells_frontend(packet, track.flags),
        is_tracked: true,
    };
    nat::rewrite(frame, &scratch.packet, &scratch.onward.to)?;
    Ok(Some(Outcome::Rewritten))
}

/// Whether it is ICMP of either family.
#[inline(always)]
pub fn is_control(packet: &Packet) -> bool {
    packet.tuple.proto == Proto::Icmp as u8 || packet.tuple.proto == Proto::Icmp6 as u8
}

/// Whether what takes this direction ends on this node: requests to a backend here, answers to a pod that left the cluster.
#[inline(always)]
fn stays_here(track: &Track) -> bool {
    const REQUEST: u16 = TRACK_LOCAL;
    const ANSWER: u16 = TRACK_MASQUERADE | TRACK_REPLY;
    track.flags & (TRACK_LOCAL | TRACK_REPLY) == REQUEST || track.flags & ANSWER == ANSWER
}

/// An ICMP error about a packet that we rewrote: its receiver is to see what it sent.
#[inline(never)]
fn error<F: FrameMut>(frame: &mut F, scratch: &mut Scratch) -> i32 {
    pack(translate_error(frame, scratch))
}

#[inline(always)]
fn translate_error<F: FrameMut>(
    frame: &mut F,
    scratch: &mut Scratch,
) -> Result<Outcome, DropReason> {
    let packet = &scratch.packet;
    let Some(embedded) = icmp::error(frame, packet) else {
        return Ok(Outcome::Untouched);
    };
    scratch.embedded = embedded?;
    let failed = &scratch.embedded.tuple;
    // What failed left here under this tuple; an answer to it would have the reverse, under which its entry says how to go back.
    scratch.key = failed.reversed();
    let Some(track) = conntrack::find(&scratch.key) else {
        return Ok(Outcome::Untouched);
    };
    let back = Rewrite::of(track);
    // The error comes from wherever the packet failed; from its receiver, it comes from what that one stands for.
    let from_peer = packet.tuple.source_addr == failed.dest_addr;
    let source = if from_peer { back.source_addr } else { packet.tuple.source_addr };
    let outer = Rewrite {
        source_addr: source,
        dest_addr: back.dest_addr,
        source_port: packet.tuple.source_port,
        dest_port: packet.tuple.dest_port,
    };
    nat::rewrite_error(frame, packet, &scratch.embedded, &outer, &back.reversed())?;
    count::one(Counter::IcmpErrors);
    scratch.route.ifindex = 0;
    scratch.onward =
        Onward { to: outer, is_local: stays_here(track), tells_frontend: false, is_tracked: false };
    Ok(Outcome::Rewritten)
}

/// The first packet of a connection, if it dials a frontend.
#[inline(never)]
fn begin<F: FrameMut>(frame: &mut F, hook: u32, scratch: &mut Scratch) -> i32 {
    pack(match choose(scratch) {
        Ok(Some(())) => translate(frame, hook, scratch),
        Ok(None) => Ok(Outcome::Untouched),
        Err(refusal) => refuse(&refusal),
    })
}

/// Finds the backend; `Ok(None)` when nothing of ours is dialled.
#[inline(always)]
fn choose(scratch: &mut Scratch) -> Result<Option<()>, Refusal> {
    let tuple = &scratch.packet.tuple;
    let Some(proto) = Proto::from_raw(tuple.proto) else {
        return Ok(None);
    };
    // What ends a connection that nobody knows begins none.
    if scratch.packet.tcp_flags & TCP_RST != 0 {
        return Ok(None);
    }
    scratch.call = Call {
        dialled: FrontendKey::new(tuple.dest_addr, tuple.dest_port, proto),
        client: tuple.source_addr,
        scope: Scope::Outside,
        is_host: false,
    };
    let place = |count| balance::by_tuple(tuple, count);
    match service::choose(&scratch.call, conntrack::now_ns, place)? {
        Some(target) => {
            scratch.target = target;
            Ok(Some(()))
        }
        None => Ok(None),
    }
}

/// Nobody anywhere: refused. Nobody here while others serve: dropped, as the balancer in front is to ask elsewhere.
#[inline(always)]
fn refuse(refusal: &Refusal) -> Result<Outcome, DropReason> {
    match refusal.reason {
        DropReason::NoBackend if refusal.flags & FRONTEND_HAS_REMOTE != 0 => {
            Err(DropReason::NoLocalBackend)
        }
        DropReason::NoBackend | DropReason::BackendMissing => Ok(Outcome::Refused),
        reason => Err(reason),
    }
}

#[inline(always)]
fn translate<F: FrameMut>(
    frame: &mut F,
    hook: u32,
    scratch: &mut Scratch,
) -> Result<Outcome, DropReason> {
    let (tuple, target) = (&scratch.packet.tuple, &scratch.target);
    let is_local = target.backend.flags & BACKEND_LOCAL != 0;
    // Answers of a backend elsewhere must come by here, unless its node knows how to answer.
    let elsewhere = !is_local && target.flags & FRONTEND_LOCAL_ONLY == 0;
    let directly = elsewhere && node::has(CONFIG_DSR);
    let through_us = elsewhere && !directly;
    let source_addr = if through_us {
        node::addr_like(tuple.dest_addr).ok_or(DropReason::NoRoute)?
    } else {
        tuple.source_addr
    };
    let local = if is_local { TRACK_LOCAL } else { 0 };
    let snat = if through_us { TRACK_SNAT } else { 0 };
    scratch.opening = Opening {
        tuple: *tuple,
        rewrite: Rewrite {
            source_addr,
            dest_addr: target.backend.addr,
            source_port: tuple.source_port,
            dest_port: target.backend.port,
        },
        flags: local | snat | if directly { TRACK_DSR } else { 0 },
        service_id: target.service_id,
        backend_id: target.backend_id,
        flow_id: events::fresh_flow_id(),
        now_ns: conntrack::now_ns(),
    };
    conntrack::begin(if through_us { Source::Node } else { Source::Caller }, scratch)?;
    count::one(Counter::TranslatedOutside);
    tell(scratch, scratch.target.backend.identity, hook);
    finish(frame, scratch, is_local)
}

/// Whether a pod of this node turns to somebody outside the cluster.
#[inline(always)]
fn is_leaving(packet: &Packet) -> bool {
    packet.part != Part::Later
        && asks(packet)
        && node::range_of(packet.tuple.source_addr) & RANGE_LOCAL_PODS != 0
        && !node::is_of_cluster(packet.tuple.dest_addr)
}

/// Whether a packet may be the first of its connection. What answers somebody who dialled the pod's own address keeps that
/// address: TCP after its SYN, and of ICMP all but a ping's request, the only message with an identifier for a source port.
#[inline(always)]
fn asks(packet: &Packet) -> bool {
    match Proto::from_raw(packet.tuple.proto) {
        Some(Proto::Tcp) => flow::is_opening(packet.tcp_flags),
        Some(Proto::Icmp | Proto::Icmp6) => packet.tuple.source_port != Be16::ZERO,
        Some(Proto::Udp | Proto::Sctp) | None => true,
    }
}

/// A pod leaves the cluster: under this node's address, since nobody outside knows the way to its own.
#[inline(never)]
fn masquerade<F: FrameMut>(frame: &mut F, scratch: &mut Scratch) -> i32 {
    let tuple = &scratch.packet.tuple;
    let Some(source_addr) = node::addr_like(tuple.dest_addr) else {
        return pack(Err(DropReason::NoRoute));
    };
    scratch.opening = Opening {
        tuple: *tuple,
        rewrite: Rewrite { source_addr, ..Rewrite::unchanged(tuple) },
        flags: TRACK_MASQUERADE | TRACK_SNAT,
        service_id: ServiceId(0),
        backend_id: BackendId(0),
        flow_id: events::fresh_flow_id(),
        now_ns: conntrack::now_ns(),
    };
    if let Err(reason) = conntrack::begin(Source::Node, scratch) {
        return pack(Err(reason));
    }
    count::one(Counter::Masqueraded);
    tell(scratch, Identity::WORLD, Hook::ToOutside as u32);
    pack(finish(frame, scratch, false))
}

/// The first packet of a connection that is tracked from now on.
#[inline(always)]
fn finish<F: FrameMut>(
    frame: &mut F,
    scratch: &mut Scratch,
    is_local: bool,
) -> Result<Outcome, DropReason> {
    let (to, flags) = (scratch.opening.rewrite, scratch.opening.flags);
    nat::rewrite(frame, &scratch.packet, &to)?;
    let tells_frontend = tells_frontend(&scratch.packet, flags);
    scratch.route.ifindex = 0;
    scratch.onward = Onward { to, is_local, tells_frontend, is_tracked: true };
    Ok(Outcome::Rewritten)
}

/// Of a connection that its backend's node answers directly, what opens it and every datagram says what was dialled.
#[inline(always)]
fn tells_frontend(packet: &Packet, flags: u16) -> bool {
    const AWAY: u16 = TRACK_DSR;
    flags & (TRACK_DSR | TRACK_LOCAL | TRACK_REPLY) == AWAY
        && packet.part != Part::Later
        && (packet.tuple.proto != Proto::Tcp as u8 || flow::is_opening(packet.tcp_flags))
}

/// Makes a rewritten packet what it was when it came; `false` when it cannot be.
#[inline(never)]
pub fn restore<F: FrameMut>(frame: &mut F, scratch: &mut Scratch) -> bool {
    let came = Rewrite::unchanged(&scratch.packet.tuple);
    let proto = scratch.packet.tuple.proto;
    scratch.packet.tuple = scratch.onward.to.tuple(proto);
    nat::rewrite(frame, &scratch.packet, &came).is_ok()
}

/// Tells that a connection was translated.
#[inline(always)]
fn tell(scratch: &mut Scratch, dest_identity: Identity, hook: u32) {
    if node::has(CONFIG_NO_FLOW_RECORDS) {
        return;
    }
    let (packet, opening) = (&scratch.packet, &scratch.opening);
    let tuple = &opening.tuple;
    scratch.event = FlowEvent::default();
    let event = &mut scratch.event;
    event.time_ns = opening.now_ns;
    event.first_ns = opening.now_ns;
    event.flow_id = opening.flow_id;
    event.bytes = u64::from(packet.bytes);
    event.packets = 1;
    event.tuple.source_addr = tuple.source_addr;
    event.tuple.source_port = tuple.source_port;
    event.tuple.dest_addr = opening.rewrite.dest_addr;
    event.tuple.dest_port = opening.rewrite.dest_port;
    event.tuple.proto = tuple.proto;
    event.source_identity = endpoint::identity(endpoint::at(tuple.source_addr));
    event.dest_identity = dest_identity;
    event.rule_id = RuleId::SERVICE;
    event.service_id = opening.service_id;
    event.backend_id = opening.backend_id;
    if opening.service_id.0 != 0 {
        event.frontend_addr = tuple.dest_addr;
        event.frontend_port = tuple.dest_port;
    }
    event.flags = FLOW_TRANSLATED;
    event.tcp_flags = packet.tcp_flags;
    event.kind = FlowEventKind::New as u8;
    event.hook = hook as u8;
    event.verdict = Verdict::Translate as u8;
    events::emit_copy(event);
}
