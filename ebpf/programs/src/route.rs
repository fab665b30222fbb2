//! Where a rewritten packet goes next, asked of the kernel's own routing table.

use aya_ebpf::bindings::bpf_fib_lookup;
use aya_ebpf::helpers::bpf_fib_lookup as fib_lookup;
use beeline_abi::{Counter, DropReason};

use crate::count;
use crate::maps::Scratch;

/// `BPF_FIB_LKUP_RET_*` of linux/bpf.h.
const SUCCESS: i64 = 0;
const BLACKHOLE: i64 = 1;
const UNREACHABLE: i64 = 2;
const PROHIBIT: i64 = 3;
const NO_NEIGHBOUR: i64 = 7;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;

/// What the routing table says of a packet.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Out by the link in `scratch.fib`, to the hardware address there.
    Known,
    /// Out by the link in `scratch.fib`, to a hardware address that has to be asked for.
    Unresolved,
    /// The stack is to look after it: it is too long for the link, or this node does not forward.
    Unclear,
}

/// Asks for the way of a rewritten packet that came in by `ifindex`. Of `bytes`, zero means that the kernel is to look at the
/// packet itself, which may be many in one.
#[inline(always)]
pub fn next_hop(
    ctx: *mut core::ffi::c_void,
    ifindex: u32,
    bytes: u32,
    scratch: &mut Scratch,
) -> Result<Way, DropReason> {
    let (onward, ask) = (&scratch.onward, &mut scratch.fib);
    // SAFETY: integers, arrays and unions of them: all zeroes is a value.
    *ask = unsafe { core::mem::zeroed() };
    ask.ifindex = ifindex;
    ask.__bindgen_anon_1.tot_len = bytes as u16;
    if onward.dest.is_v4() {
        ask.family = AF_INET;
        ask.__bindgen_anon_3.ipv4_src = onward.source.last_word().raw();
        ask.__bindgen_anon_4.ipv4_dst = onward.dest.last_word().raw();
    } else {
        ask.family = AF_INET6;
        ask.__bindgen_anon_3.ipv6_src = onward.source.words();
        ask.__bindgen_anon_4.ipv6_dst = onward.dest.words();
    }
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context is the kernel's own, the question is a live map value of the size given.
    match unsafe { fib_lookup(ctx, &raw mut *ask, size, 0) } {
        SUCCESS => Ok(Way::Known),
        BLACKHOLE | UNREACHABLE | PROHIBIT => Err(DropReason::NoRoute),
        NO_NEIGHBOUR => {
            count::one(Counter::NextHopUnknown);
            Ok(Way::Unresolved)
        }
        _ => Ok(Way::Unclear),
    }
}

/// Hardware addresses of the next hop and of our link, as an Ethernet header has them.
#[inline(always)]
pub fn macs(answer: &bpf_fib_lookup) -> [u8; 12] {
    let [d0, d1, d2, d3, d4, d5] = answer.dmac;
    let [s0, s1, s2, s3, s4, s5] = answer.smac;
    [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]
}
