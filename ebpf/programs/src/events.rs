//! The event ring: what happened, once, for user space.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use beeline_abi::limits::EVENTS_WAKE_BYTES;
use beeline_abi::{CONFIG_LAZY_EVENTS, Counter, FlowEvent, FlowId};

use crate::count;
use crate::maps::{CONFIG, EVENTS};

/// Wakes the reader only for the first record that it has not read: once, however many follow before it reads.
const RB_ADAPTIVE_WAKEUP: u64 = 0;
const RB_FORCE_WAKEUP: u64 = 2;
const RB_AVAIL_DATA: u64 = 0;

/// Puts an event into the ring; `false` when it is full, which is counted.
#[inline(always)]
pub fn emit(event: FlowEvent) -> bool {
    let Some(mut entry) = EVENTS.reserve::<FlowEvent>(0) else {
        count::one(Counter::EventsLost);
        return false;
    };
    entry.write(event);
    entry.submit(wake_up());
    true
}

/// Puts an event that lies in a map into the ring; `false` when it is full, which is counted.
#[inline(always)]
pub fn emit_copy(event: &FlowEvent) -> bool {
    if EVENTS.output::<FlowEvent>(event, wake_up()).is_err() {
        count::one(Counter::EventsLost);
        return false;
    }
    true
}

/// For a reader that takes its time, once more whenever that much has gathered: with each record beyond it, a flood would pay an
/// interrupt for every connection while the reader is on its way.
#[inline(always)]
fn wake_up() -> u64 {
    let lazy = CONFIG.get(0).is_some_and(|config| config.flags & CONFIG_LAZY_EVENTS != 0);
    if lazy && is_milestone(EVENTS.query(RB_AVAIL_DATA)) {
        RB_FORCE_WAKEUP
    } else {
        RB_ADAPTIVE_WAKEUP
    }
}

/// Whether the record that follows `unread` bytes is the one with which another [`EVENTS_WAKE_BYTES`] are full.
#[inline(always)]
fn is_milestone(unread: u64) -> bool {
    const RECORD: u64 = 8 + size_of::<FlowEvent>() as u64;
    unread % EVENTS_WAKE_BYTES + RECORD >= EVENTS_WAKE_BYTES
}

/// A number for a new connection: random, so that nodes need not agree; never zero.
#[inline(always)]
pub fn fresh_flow_id() -> FlowId {
    // SAFETY: no arguments, callable from every program type.
    let high = unsafe { bpf_get_prandom_u32() };
    // SAFETY: as above.
    let low = unsafe { bpf_get_prandom_u32() };
    FlowId((u64::from(high) << 32) | u64::from(low | 1))
}
