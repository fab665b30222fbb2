//! A socket's call to a frontend: chosen, told, refused. What connect and sendmsg share.

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use beeline_abi::{
    Addr, CONFIG_NO_FLOW_RECORDS, Counter, DropReason, FLOW_TRANSLATED, FlowEvent, FlowEventKind,
    FlowId, FrontendKey, Hook, NETNS_HOST, Proto, RuleId, Scope, ServiceId, Tuple, Verdict,
};
use beeline_packet::balance;

use crate::service::{self, Call, Refusal, Target};
use crate::socket::Caller;
use crate::{count, events, node};

/// How a backend is chosen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Evenly, anew for each connection.
    Random,
    /// The same for each call of one socket, while the list stays as it is.
    BySocket,
}

impl Choice {
    /// Connections are balanced one by one; datagrams of one socket stay together.
    #[inline(always)]
    pub fn of(dialled: &FrontendKey) -> Self {
        if dialled.proto == Proto::Udp as u8 { Choice::BySocket } else { Choice::Random }
    }
}

/// The backend for a socket's call.
#[inline(always)]
pub fn choose(
    dialled: &FrontendKey,
    caller: &Caller,
    choice: Choice,
) -> Result<Option<Target>, Refusal> {
    let call = Call {
        dialled: *dialled,
        client: client(dialled, caller),
        scope: Scope::Inside,
        is_host: caller.owner.flags & NETNS_HOST != 0,
    };
    // SAFETY: no arguments, callable from every program type.
    let now_ns = || unsafe { bpf_ktime_get_ns() };
    service::choose(&call, now_ns, |count| match choice {
        // SAFETY: no arguments, callable from every program type.
        Choice::Random => balance::by_random(unsafe { bpf_get_prandom_u32() }, count),
        Choice::BySocket => balance::by_hash(caller.cookie, dialled, count),
    })
}

/// Who calls, as affinity and source ranges see it: the address that the packets will have. A caller whose address nobody
/// told is known by its namespace, in a range that no address is from.
#[inline(always)]
fn client(dialled: &FrontendKey, caller: &Caller) -> Addr {
    let own = caller.owner.addr_like(dialled.addr);
    if !own.is_none() {
        return own;
    }
    Addr::from_words([0, 0, (caller.netns >> 32) as u32, caller.netns as u32])
}

/// Tells that a call was translated.
#[inline(always)]
pub fn tell_translated(
    hook: Hook,
    caller: &Caller,
    dialled: &FrontendKey,
    target: &Target,
    flow_id: FlowId,
    now_ns: u64,
) {
    count::one(Counter::Translated);
    if node::has(CONFIG_NO_FLOW_RECORDS) {
        return;
    }
    let mut event = event(hook, caller, dialled, now_ns);
    event.flow_id = flow_id;
    event.tuple.dest_addr = target.backend.addr;
    event.tuple.dest_port = target.backend.port;
    event.dest_identity = target.backend.identity;
    event.service_id = target.service_id;
    event.backend_id = target.backend_id;
    event.flags = FLOW_TRANSLATED;
    event.kind = FlowEventKind::New as u8;
    event.verdict = Verdict::Translate as u8;
    events::emit(event);
}

/// Counts a refused call, and tells unless the same was told just now.
#[inline(always)]
pub fn tell_refused(
    hook: Hook,
    caller: &Caller,
    dialled: &FrontendKey,
    reason: DropReason,
    service_id: ServiceId,
) {
    // SAFETY: no arguments, callable from every program type.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    if !count::drop(reason, 0, now_ns) {
        return;
    }
    let mut event = event(hook, caller, dialled, now_ns);
    event.service_id = service_id;
    event.drop_reason = reason as u16;
    event.kind = FlowEventKind::Drop as u8;
    event.verdict = Verdict::Refuse as u8;
    events::emit(event);
}

#[inline(always)]
fn event(hook: Hook, caller: &Caller, dialled: &FrontendKey, now_ns: u64) -> FlowEvent {
    FlowEvent {
        time_ns: now_ns,
        first_ns: now_ns,
        cookie: caller.cookie,
        tuple: Tuple {
            source_addr: caller.owner.addr_like(dialled.addr),
            dest_addr: dialled.addr,
            dest_port: dialled.port,
            proto: dialled.proto,
            ..Tuple::default()
        },
        source_identity: caller.owner.identity,
        dest_identity: beeline_abi::Identity::SERVICE,
        rule_id: RuleId::SERVICE,
        endpoint_id: caller.owner.endpoint_id,
        frontend_addr: dialled.addr,
        frontend_port: dialled.port,
        hook: hook as u8,
        ..FlowEvent::default()
    }
}
