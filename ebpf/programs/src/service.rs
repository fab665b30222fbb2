//! From a frontend to one of its backends.

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns};
use beeline_abi::{
    Backend, BackendId, Counter, DropReason, FLOW_TRANSLATED, FlowEvent, FlowEventKind, FlowId,
    Frontend, FrontendKey, Hook, Proto, RuleId, ServiceId, SlotKey, Tuple, Verdict,
};
use beeline_packet::balance;

use crate::count;
use crate::events;
use crate::maps::{BACKEND_SLOTS, BACKENDS, SERVICES};
use crate::socket::Caller;

/// Where a call to a frontend really goes.
#[derive(Clone, Copy)]
pub struct Target {
    /// The Service port.
    pub service_id: ServiceId,
    /// The backend chosen.
    pub backend_id: BackendId,
    /// Its address.
    pub backend: Backend,
}

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

/// Looks the frontend up and chooses. `None`: not a Service, the call goes on as it is.
///
/// A list can be swapped between our reads: then its slots are gone, and the frontend is read once more.
#[inline(always)]
pub fn choose(
    dialled: &FrontendKey,
    cookie: u64,
    choice: Choice,
) -> Result<Option<Target>, (DropReason, ServiceId)> {
    let Some(frontend) = frontend(dialled) else {
        return Ok(None);
    };
    if let Some(target) = pick(&frontend, dialled, cookie, choice)? {
        return Ok(Some(target));
    }
    count::one(Counter::SlotRetries);
    let Some(frontend) = self::frontend(dialled) else {
        return Ok(None);
    };
    match pick(&frontend, dialled, cookie, choice)? {
        Some(target) => Ok(Some(target)),
        None => Err((DropReason::BackendMissing, frontend.service_id)),
    }
}

#[inline(always)]
fn frontend(dialled: &FrontendKey) -> Option<Frontend> {
    // SAFETY: not preallocated: an update swaps the whole value, and the old one stays readable until the program ends.
    unsafe { SERVICES.get(dialled) }.copied()
}

#[inline(always)]
fn pick(
    frontend: &Frontend,
    dialled: &FrontendKey,
    cookie: u64,
    choice: Choice,
) -> Result<Option<Target>, (DropReason, ServiceId)> {
    if frontend.backend_count == 0 {
        return Err((DropReason::NoBackend, frontend.service_id));
    }
    let index = match choice {
        // SAFETY: no arguments, callable from every program type.
        Choice::Random => {
            balance::by_random(unsafe { bpf_get_prandom_u32() }, frontend.backend_count)
        }
        Choice::BySocket => balance::by_hash(cookie, dialled, frontend.backend_count),
    };
    let slot = SlotKey { service_id: frontend.service_id, generation: frontend.generation, index };
    // SAFETY: as in `frontend`.
    let Some(backend_id) = (unsafe { BACKEND_SLOTS.get(slot) }) else {
        return Ok(None);
    };
    // SAFETY: as in `frontend`.
    let Some(backend) = (unsafe { BACKENDS.get(backend_id) }) else {
        return Ok(None);
    };
    Ok(Some(Target { service_id: frontend.service_id, backend_id: *backend_id, backend: *backend }))
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
            source_addr: caller.owner.addr,
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
