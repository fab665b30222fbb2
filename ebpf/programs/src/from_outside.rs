//! tcx ingress on a link by which the world is reached: a packet has arrived.

use core::ptr::null_mut;

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::{bpf_check_mtu, bpf_redirect, bpf_redirect_neigh};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use beeline_abi::{Counter, DropReason, Endpoint, Hook};
use beeline_packet::parse::Packet;
use beeline_packet::{FrameMut, nat};

use crate::maps::{Scratch, scratch};
use crate::outside::{self, Outcome};
use crate::route::{Length, Way};
use crate::skb::{self, Skb};
use crate::{count, dsr, endpoint, flows, refusal, route};

/// Entry point.
#[classifier]
pub fn from_outside(ctx: TcContext) -> i32 {
    let Some(scratch) = scratch() else {
        return TC_ACT_OK;
    };
    if !outside::read(&Skb(&ctx), scratch) {
        return TC_ACT_OK;
    }
    match handle(&ctx, scratch) {
        Ok(action) => action,
        Err(reason) => {
            flows::dropped(&ctx, Hook::FromOutside, scratch, reason);
            TC_ACT_SHOT
        }
    }
}

#[inline(always)]
fn handle(ctx: &TcContext, scratch: &mut Scratch) -> Result<i32, DropReason> {
    match outside::arrive(&mut Skb(ctx), Hook::FromOutside, scratch)? {
        Outcome::Untouched => Ok(TC_ACT_OK),
        Outcome::Rewritten => forward(ctx, scratch),
        Outcome::Refused => {
            flows::dropped(ctx, Hook::FromOutside, scratch, DropReason::NoBackend);
            Ok(refusal::answer(ctx, &scratch.packet))
        }
    }
}

/// For a pod of this node: straight to its link. For the node itself: to the stack. For elsewhere: straight out.
#[inline(always)]
fn forward(ctx: &TcContext, scratch: &mut Scratch) -> Result<i32, DropReason> {
    if scratch.onward.is_local {
        return match endpoint::at(scratch.onward.to.dest_addr).filter(|pod| is_reachable(ctx, pod))
        {
            Some(pod) => hand_over(ctx, &scratch.packet, pod),
            None => Ok(TC_ACT_OK),
        };
    }
    let length = Length::Kernels { many: skb::is_many(ctx) };
    let way = route::next_hop(ctx.as_ptr(), skb::ifindex(ctx), length, scratch)?;
    if way == Way::Unclear {
        return Ok(TC_ACT_OK);
    }
    nat::decrement_hop_limit(&mut Skb(ctx), &scratch.packet)?;
    if scratch.onward.tells_frontend && !dsr::insert(ctx, scratch) {
        return Err(DropReason::TooLong);
    }
    if way == Way::Unresolved {
        skb::mark_done(ctx);
        // The stack would refuse it, as it comes from outside under our own address; this way it asks and sends.
        // SAFETY: no next hop given, so the kernel finds it.
        return Ok(unsafe { bpf_redirect_neigh(scratch.route.ifindex, null_mut(), 0, 0) } as i32);
    }
    send(ctx, scratch.route.ifindex, scratch.route.macs())
}

/// Whether a pod's link exists and takes packets of this size; else the stack answers.
#[inline(always)]
fn is_reachable(ctx: &TcContext, pod: &Endpoint) -> bool {
    if pod.ifindex == 0 {
        return false;
    }
    let mut mtu = 0u32;
    // SAFETY: the context is the kernel's own, the length is a live stack variable.
    let answer = unsafe { bpf_check_mtu(ctx.as_ptr(), pod.ifindex, &raw mut mtu, 0, 0) };
    if answer < 0 {
        count::one(Counter::EndpointGone);
    }
    answer == 0
}

#[inline(always)]
fn hand_over(ctx: &TcContext, packet: &Packet, pod: &Endpoint) -> Result<i32, DropReason> {
    nat::decrement_hop_limit(&mut Skb(ctx), packet)?;
    let [d0, d1, d2, d3, d4, d5] = pod.pod_mac;
    let [s0, s1, s2, s3, s4, s5] = pod.host_mac;
    send(ctx, pod.ifindex, [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5])
}

#[inline(always)]
fn send(ctx: &TcContext, ifindex: u32, macs: [u8; 12]) -> Result<i32, DropReason> {
    if !Skb(ctx).store(0, macs) {
        return Err(DropReason::RewriteFailed);
    }
    count::one(Counter::ForwardedDirectly);
    skb::mark_done(ctx);
    // SAFETY: no pointers.
    Ok(unsafe { bpf_redirect(ifindex, 0) } as i32)
}
