//! XDP on a link by which the world is reached: what goes elsewhere is sent on before the kernel makes a packet of it.
//! Everything else passes, to be looked after by from_outside or the stack: what is for this node, what is refused, what is unclear.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS, XDP_TX};
use aya_ebpf::helpers::bpf_redirect;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use beeline_abi::{Counter, DropReason, Hook};
use beeline_packet::parse::Part;
use beeline_packet::{FrameMut, nat};

use crate::driver::Driver;
use crate::maps::{Scratch, scratch};
use crate::outside::{self, Outcome};
use crate::route::{Length, Way};
use crate::{conntrack, count, route};

/// Entry point.
#[xdp]
pub fn edge(ctx: XdpContext) -> u32 {
    let Some(scratch) = scratch() else {
        return XDP_PASS;
    };
    // Pieces are put in order, and errors told on, by those who have more time.
    if !outside::read(&Driver(&ctx), scratch)
        || scratch.packet.part != Part::Whole
        || outside::is_control(&scratch.packet)
    {
        return XDP_PASS;
    }
    match handle(&ctx, scratch) {
        Ok(action) => action,
        Err(reason) => {
            count::drop(reason, u64::from(scratch.packet.bytes), conntrack::now_ns());
            XDP_DROP
        }
    }
}

#[inline(always)]
fn handle(ctx: &XdpContext, scratch: &mut Scratch) -> Result<u32, DropReason> {
    match outside::arrive_early(&mut Driver(ctx), Hook::Edge, scratch)? {
        Outcome::Untouched | Outcome::Refused => Ok(XDP_PASS),
        Outcome::Rewritten if scratch.onward.is_local => Ok(XDP_PASS),
        Outcome::Rewritten if scratch.onward.tells_frontend => leave_to_tc(ctx, scratch),
        Outcome::Rewritten => forward(ctx, scratch),
    }
}

/// from_outside finds the connection that has just been made, and has the means to ask for the next hop and to make room.
#[inline(always)]
fn leave_to_tc(ctx: &XdpContext, scratch: &mut Scratch) -> Result<u32, DropReason> {
    if outside::restore(&mut Driver(ctx), scratch) {
        Ok(XDP_PASS)
    } else {
        Err(DropReason::RewriteFailed)
    }
}

#[inline(always)]
fn forward(ctx: &XdpContext, scratch: &mut Scratch) -> Result<u32, DropReason> {
    let from = ctx.ingress_ifindex() as u32;
    if route::next_hop(ctx.as_ptr(), from, Length::Ours, scratch)? != Way::Known {
        return leave_to_tc(ctx, scratch);
    }
    nat::decrement_hop_limit(&mut Driver(ctx), &scratch.packet)?;
    if !Driver(ctx).store(0, scratch.route.macs()) {
        return Err(DropReason::RewriteFailed);
    }
    count::one(Counter::ForwardedDirectly);
    if scratch.route.ifindex == from {
        return Ok(XDP_TX);
    }
    // SAFETY: no pointers.
    Ok(unsafe { bpf_redirect(scratch.route.ifindex, 0) } as u32)
}
