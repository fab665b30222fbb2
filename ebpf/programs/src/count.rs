//! Counting: every limit that is reached and every drop leaves a number behind.

use core::arch::asm;

use beeline_abi::limits::DROP_REPORT_INTERVAL_NS;
use beeline_abi::{Counter, DropReason};

use crate::maps::{COUNTERS, DROPS};

/// Adds to a number in map memory. Atomic, because another CPU or an interrupting program may add at the same time;
/// in assembly, because `core` has no read-modify-write atomics on a target without compare-and-swap.
#[inline(always)]
pub fn add(target: *mut u64, amount: u64) {
    // SAFETY: the caller took the pointer from a live map value, whose u64 fields are aligned to eight bytes.
    unsafe {
        asm!("lock *(u64 *)({target} + 0) += {amount}", target = in(reg) target, amount = in(reg) amount)
    };
}

/// Counts one.
#[inline(always)]
pub fn one(counter: Counter) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        add(value, 1);
    }
}

/// Counts a drop, and says whether this one is to be told: one per reason, CPU and interval.
#[inline(always)]
pub fn drop(reason: DropReason, bytes: u64, now_ns: u64) -> bool {
    let Some(count) = DROPS.get_ptr_mut(reason as u32) else {
        return false;
    };
    // SAFETY: `get_ptr_mut` returned a live value of this CPU's array slot.
    let count = unsafe { &mut *count };
    add(&raw mut count.packets, 1);
    add(&raw mut count.bytes, bytes);
    let tell = now_ns.wrapping_sub(count.reported_ns) >= DROP_REPORT_INTERVAL_NS;
    if tell {
        count.reported_ns = now_ns;
    }
    tell
}
