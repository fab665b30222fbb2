//! Where a rewritten packet goes next, asked of the kernel's own routing table, at most once a second for each direction of a connection.

use aya_ebpf::bindings::bpf_fib_lookup;
use aya_ebpf::helpers::bpf_fib_lookup as fib_lookup;
use beeline_abi::{Counter, DropReason, Track};

use crate::maps::Scratch;
use crate::{conntrack, count};

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
    /// Out by the link in `scratch.route`, to the hardware address there.
    Known,
    /// Out by the link in `scratch.route`, to a hardware address that has to be asked for.
    Unresolved,
    /// The stack is to look after it: it is too long for the link, or this node does not forward.
    Unclear,
}

/// The way out of this node.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Route {
    /// Out by this link; zero when nothing is known.
    pub ifindex: u32,
    /// The hardware address of the next hop.
    pub next_mac: [u8; 6],
    /// The hardware address of our link.
    pub own_mac: [u8; 6],
    /// The longest packet, from the IP header on.
    pub mtu_bytes: u32,
    /// For what came in by this link.
    pub from_ifindex: u32,
}

impl Route {
    /// What an entry keeps.
    #[inline(always)]
    pub fn of(track: &Track) -> Self {
        Route {
            ifindex: track.ifindex,
            next_mac: track.next_mac,
            own_mac: track.own_mac,
            mtu_bytes: track.mtu_bytes,
            from_ifindex: track.from_ifindex,
        }
    }

    /// Hardware addresses of the next hop and of our link, as an Ethernet header has them.
    #[inline(always)]
    pub fn macs(&self) -> [u8; 12] {
        let [d0, d1, d2, d3, d4, d5] = self.next_mac;
        let [s0, s1, s2, s3, s4, s5] = self.own_mac;
        [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]
    }
}

/// Who knows how long a packet is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// We: the routing table is asked about a packet as long as the one at hand.
    Ours,
    /// The kernel, which looks at the packet itself. It may be many in one, of which none is too long for where it came from.
    Kernels { many: bool },
}

/// The way of a rewritten packet that came in by `ifindex`, into `scratch.route`: the one that its entry keeps, or the routing table's.
#[inline(always)]
pub fn next_hop(
    ctx: *mut core::ffi::c_void,
    ifindex: u32,
    length: Length,
    scratch: &mut Scratch,
) -> Result<Way, DropReason> {
    let route = &scratch.route;
    if route.ifindex != 0
        && route.from_ifindex == ifindex
        && scratch.packet.bytes <= route.mtu_bytes
        && length != (Length::Kernels { many: true })
    {
        return Ok(Way::Known);
    }
    let way = ask(ctx, ifindex, length, scratch)?;
    if way == Way::Known && scratch.onward.is_tracked {
        conntrack::keep_route(&scratch.packet.tuple, &scratch.route);
    }
    Ok(way)
}

#[inline(always)]
fn ask(
    ctx: *mut core::ffi::c_void,
    ifindex: u32,
    length: Length,
    scratch: &mut Scratch,
) -> Result<Way, DropReason> {
    let (to, question) = (&scratch.onward.to, &mut scratch.fib);
    // SAFETY: integers, arrays and unions of them: all zeroes is a value.
    *question = unsafe { core::mem::zeroed() };
    question.ifindex = ifindex;
    question.__bindgen_anon_1.tot_len = match length {
        Length::Ours => scratch.packet.bytes as u16,
        Length::Kernels { .. } => 0,
    };
    if to.dest_addr.is_v4() {
        question.family = AF_INET;
        question.__bindgen_anon_3.ipv4_src = to.source_addr.last_word().raw();
        question.__bindgen_anon_4.ipv4_dst = to.dest_addr.last_word().raw();
    } else {
        question.family = AF_INET6;
        question.__bindgen_anon_3.ipv6_src = to.source_addr.words();
        question.__bindgen_anon_4.ipv6_dst = to.dest_addr.words();
    }
    let size = size_of::<bpf_fib_lookup>() as i32;
    // SAFETY: the context is the kernel's own, the question is a live map value of the size given.
    let answer = unsafe { fib_lookup(ctx, &raw mut *question, size, 0) };
    scratch.route = Route {
        ifindex: question.ifindex,
        next_mac: question.dmac,
        own_mac: question.smac,
        // SAFETY: a number either way; with an answer the kernel has written this one.
        mtu_bytes: u32::from(unsafe { question.__bindgen_anon_1.mtu_result }),
        from_ifindex: ifindex,
    };
    match answer {
        SUCCESS => Ok(Way::Known),
        BLACKHOLE | UNREACHABLE | PROHIBIT => Err(DropReason::NoRoute),
        NO_NEIGHBOUR => {
            count::one(Counter::NextHopUnknown);
            Ok(Way::Unresolved)
        }
        _ => Ok(Way::Unclear),
    }
}
