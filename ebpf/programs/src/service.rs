//! From a frontend to one of its backends: what all hooks share.

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::maps::lpm_trie::Key;
use beeline_abi::{
    Addr, Affinity, AffinityKey, AffinityOkKey, Backend, BackendId, Be16, CONFIG_HOST_PORTS,
    Counter, DropReason, FRONTEND_NODE_ONLY, FRONTEND_SOURCE_RANGES, Frontend, FrontendKey, List,
    SOURCE_RANGE_BITS, Scope, ServiceId, Slot,
};

use crate::maps::{
    AFFINITY, AFFINITY_OK, BACKEND_SLOTS, BACKENDS, SERVICES, SOURCE_RANGES, SourceRange,
};
use crate::{count, node};

/// Where a call to a frontend really goes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Target {
    /// The Service port.
    pub service_id: ServiceId,
    /// The backend chosen.
    pub backend_id: BackendId,
    /// Its address.
    pub backend: Backend,
    /// The frontend's `FRONTEND_*` flags.
    pub flags: u32,
}

/// Who calls, from where.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Call {
    /// What is dialled.
    pub dialled: FrontendKey,
    /// Who calls.
    pub client: Addr,
    /// From which side.
    pub scope: Scope,
    /// Whether the node itself calls.
    pub is_host: bool,
}

/// Why there is no target.
pub struct Refusal {
    /// In one word.
    pub reason: DropReason,
    /// Whose.
    pub service_id: ServiceId,
    /// The frontend's `FRONTEND_*` flags.
    pub flags: u32,
}

/// Chooses a backend for what is dialled. `Ok(None)`: not a frontend. `place` gives a place in a list of that length.
///
/// A list may be swapped between two of the look-ups; then the frontend is read once more.
#[inline(always)]
pub fn choose(
    call: &Call,
    now_ns: impl Fn() -> u64,
    place: impl Fn(u32) -> u32,
) -> Result<Option<Target>, Refusal> {
    let Some(frontend) = frontend(call) else {
        return Ok(None);
    };
    if frontend.flags & FRONTEND_NODE_ONLY != 0 && !call.is_host {
        return Ok(None);
    }
    let refusal =
        |reason| Refusal { reason, service_id: frontend.service_id, flags: frontend.flags };
    if frontend.flags & FRONTEND_SOURCE_RANGES != 0 && !admits(frontend.service_id, call.client) {
        return Err(refusal(DropReason::SourceRange));
    }
    if frontend.affinity_s != 0
        && let Some(target) = affine(&frontend, call, now_ns())
    {
        count::one(Counter::AffinityHits);
        return Ok(Some(target));
    }
    let target = match pick(&frontend, call, &place) {
        Ok(Some(target)) => Some(target),
        Ok(None) => {
            count::one(Counter::SlotRetries);
            match self::frontend(call) {
                Some(frontend) => pick(&frontend, call, &place).map_err(refusal)?,
                None => return Ok(None),
            }
        }
        Err(reason) => return Err(refusal(reason)),
    };
    let target = target.ok_or(refusal(DropReason::BackendMissing))?;
    if frontend.affinity_s != 0 {
        remember(call, &target, now_ns());
    }
    Ok(Some(target))
}

/// What is dialled, by its address or, where node ports answer, by its port alone.
#[inline(always)]
fn frontend(call: &Call) -> Option<Frontend> {
    if let Some(frontend) = at(&call.dialled) {
        return Some(frontend);
    }
    let config = node::config()?;
    let port = call.dialled.port.to_host();
    let in_range =
        config.node_port_first.to_host() <= port && port <= config.node_port_last.to_host();
    if !in_range && config.flags & CONFIG_HOST_PORTS == 0 {
        return None;
    }
    let answers = match call.scope {
        Scope::Inside => node::answers_inside(call.dialled.addr, call.is_host),
        Scope::Outside => node::answers_outside(call.dialled.addr),
    };
    if answers { at(&call.dialled.node_port()) } else { None }
}

/// Whether this node knows a frontend of that address and port: one of its own Services', or a node port of whatever node.
#[inline(always)]
pub fn is_frontend(addr: Addr, port: Be16, proto: u8) -> bool {
    let key = FrontendKey { addr, port, proto, pad: 0 };
    at(&key).is_some() || (node::is_of_cluster(addr) && at(&key.node_port()).is_some())
}

#[inline(always)]
fn at(dialled: &FrontendKey) -> Option<Frontend> {
    // SAFETY: not preallocated: an update swaps the whole value, and the old one stays readable until the program ends.
    unsafe { SERVICES.get(dialled) }.copied()
}

#[inline(always)]
fn list(frontend: &Frontend, scope: Scope) -> List {
    match scope {
        Scope::Inside => frontend.inside,
        Scope::Outside => frontend.outside,
    }
}

#[inline(always)]
fn pick(
    frontend: &Frontend,
    call: &Call,
    place: &impl Fn(u32) -> u32,
) -> Result<Option<Target>, DropReason> {
    let list = list(frontend, call.scope);
    if list.count == 0 {
        return Err(DropReason::NoBackend);
    }
    let Some(word) = BACKEND_SLOTS.get_ptr(list.first.wrapping_add(place(list.count))) else {
        return Ok(None);
    };
    // SAFETY: a live map value, aligned to eight bytes; read at once, because user space may be writing it.
    let slot = Slot::from_word(unsafe { word.read_volatile() });
    if slot.list_id != list.id {
        return Ok(None);
    }
    Ok(target(frontend, slot.backend_id))
}

#[inline(always)]
fn target(frontend: &Frontend, backend_id: BackendId) -> Option<Target> {
    let backend = *BACKENDS.get(backend_id.0)?;
    if backend.state == 0 {
        return None;
    }
    Some(Target { service_id: frontend.service_id, backend_id, backend, flags: frontend.flags })
}

/// Whether the source ranges of a Service port admit a caller.
#[inline(always)]
fn admits(service_id: ServiceId, client: Addr) -> bool {
    let key = Key::new(SOURCE_RANGE_BITS + 128, SourceRange { service_id, addr: client });
    SOURCE_RANGES.get(key).is_some()
}

#[inline(always)]
fn affinity_key(service_id: ServiceId, call: &Call) -> AffinityKey {
    AffinityKey { client: call.client, service_id, scope: call.scope as u32 }
}

/// The backend that the client had last, if that was lately and it may still serve.
#[inline(always)]
fn affine(frontend: &Frontend, call: &Call, now_ns: u64) -> Option<Target> {
    let known = AFFINITY.get_ptr_mut(affinity_key(frontend.service_id, call))?;
    // SAFETY: a live map value; the map is an LRU, so it may serve another client by now: at worst that one's clock is off.
    let known = unsafe { &mut *known };
    let patience = u64::from(frontend.affinity_s) * 1_000_000_000;
    if now_ns.saturating_sub(known.used_ns) >= patience {
        return None;
    }
    let stands = AffinityOkKey {
        service_id: frontend.service_id,
        backend_id: known.backend_id,
        scope: call.scope as u32,
    };
    // SAFETY: as in `at`.
    unsafe { AFFINITY_OK.get(stands) }?;
    let target = target(frontend, known.backend_id)?;
    known.used_ns = now_ns;
    Some(target)
}

#[inline(always)]
fn remember(call: &Call, target: &Target, now_ns: u64) {
    let value = Affinity { used_ns: now_ns, backend_id: target.backend_id, pad: 0 };
    // An LRU makes room by itself; a client that could not be remembered is balanced anew.
    let _ = AFFINITY.insert(affinity_key(target.service_id, call), value, u64::from(BPF_ANY));
}
