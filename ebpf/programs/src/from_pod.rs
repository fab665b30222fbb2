//! tcx ingress on a pod's host-side link: a packet has left the pod.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::helpers::{bpf_check_mtu, bpf_redirect};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use beeline_abi::{Counter, DropReason, Endpoint, Hook, RuleId, Tuple, Verdict};
use beeline_packet::parse::{Packet, Parsed, parse};

use crate::flows::{self, Sighting};
use crate::skb::Skb;
use crate::{count, endpoint, neighbours, skb};

/// Entry point.
#[classifier]
pub fn from_pod(ctx: TcContext) -> i32 {
    let packet = match parse(&Skb(&ctx)) {
        Ok(Parsed::Ip(packet)) => packet,
        Ok(Parsed::Other) => {
            count::one(Counter::OtherProtocols);
            return TC_ACT_OK;
        }
        Err(reason) => return drop(&ctx, Tuple::default(), reason, RuleId::NONE),
    };
    // Before a pod has its address, and from link-local ones: the link's own business, like ARP.
    if neighbours::is_from_the_link(&packet) {
        count::one(Counter::OtherProtocols);
        return TC_ACT_OK;
    }
    match handle(&ctx, &packet) {
        Ok(action) => action,
        Err(DropReason::SpoofedSource) => {
            drop(&ctx, packet.tuple, DropReason::SpoofedSource, RuleId::SOURCE_CHECK)
        }
        Err(reason) => drop(&ctx, packet.tuple, reason, RuleId::NONE),
    }
}

#[inline(always)]
fn handle(ctx: &TcContext, packet: &Packet) -> Result<i32, DropReason> {
    let source = endpoint::behind(ctx, packet.tuple.source_addr)?;
    let dest = endpoint::at(packet.tuple.dest_addr);
    let local = dest.filter(|dest| is_reachable(ctx, dest));
    let verdict = if local.is_some() { Verdict::Redirect } else { Verdict::Forward };
    let seen = Sighting {
        packet,
        hook: Hook::FromPod,
        source: Some(source),
        dest,
        verdict,
        rule_id: RuleId::DEFAULT_ALLOW,
    };
    flows::record(ctx, &seen);
    match local {
        Some(dest) => hand_over(ctx, dest),
        None => Ok(TC_ACT_OK),
    }
}

/// Whether the destination is another pod of this node whose link exists and takes packets of this size.
/// What is too long goes to the stack, which answers with ICMP; so does what is for a link that vanished, which is counted.
#[inline(always)]
fn is_reachable(ctx: &TcContext, dest: &Endpoint) -> bool {
    if dest.ifindex == 0 || dest.ifindex == skb::ifindex(ctx) {
        return false;
    }
    let mut mtu = 0u32;
    // SAFETY: the context is the kernel's own, the length is a live stack variable.
    let answer = unsafe { bpf_check_mtu(ctx.as_ptr(), dest.ifindex, &raw mut mtu, 0, 0) };
    if answer < 0 {
        count::one(Counter::EndpointGone);
    }
    answer == 0
}

/// Straight to the destination's link, addressed as if the host had routed it.
#[inline(always)]
fn hand_over(ctx: &TcContext, dest: &Endpoint) -> Result<i32, DropReason> {
    let [d0, d1, d2, d3, d4, d5] = dest.pod_mac;
    let [s0, s1, s2, s3, s4, s5] = dest.host_mac;
    ctx.store(0, &[d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5], 0)
        .map_err(|_| DropReason::RewriteFailed)?;
    count::one(Counter::Redirected);
    // SAFETY: no pointers.
    Ok(unsafe { bpf_redirect(dest.ifindex, 0) } as i32)
}

#[inline(always)]
fn drop(ctx: &TcContext, tuple: Tuple, reason: DropReason, rule_id: RuleId) -> i32 {
    flows::dropped_at_pod(ctx, Hook::FromPod, &tuple, reason, rule_id);
    TC_ACT_SHOT
}
