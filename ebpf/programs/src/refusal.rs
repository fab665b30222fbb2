//! A refused packet becomes its own answer: a RST or an ICMP error, sent back where it came from.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::helpers::{bpf_redirect, bpf_skb_change_tail};
use aya_ebpf::programs::TcContext;
use beeline_abi::{Counter, Proto};
use beeline_packet::parse::Packet;
use beeline_packet::refuse;

use crate::count;
use crate::maps::ANSWER;
use crate::skb::{self, Skb};

/// Sends the answer, or drops where none may be given. The caller has counted the reason.
#[inline(always)]
pub fn answer(ctx: &TcContext, packet: &Packet) -> i32 {
    let is_tcp = packet.tuple.proto == Proto::Tcp as u8;
    let sent = match (is_tcp, packet.tuple.source_addr.is_v4()) {
        (true, true) => reset_v4(ctx, packet),
        (true, false) => reset_v6(ctx, packet),
        (false, true) => unreachable_v4(ctx, packet),
        (false, false) => unreachable_v6(ctx, packet),
    };
    if !sent {
        return TC_ACT_SHOT;
    }
    count::one(Counter::RefusedOutside);
    skb::mark_done(ctx);
    // SAFETY: no pointers.
    unsafe { bpf_redirect(skb::ifindex(ctx), 0) as i32 }
}

// Not inlined: each answer takes a good part of the stack.

#[inline(never)]
fn reset_v4(ctx: &TcContext, packet: &Packet) -> bool {
    turn(ctx, |answer| refuse::tcp_reset_v4(&Skb(ctx), packet, answer))
}

#[inline(never)]
fn reset_v6(ctx: &TcContext, packet: &Packet) -> bool {
    turn(ctx, |answer| refuse::tcp_reset_v6(&Skb(ctx), packet, answer))
}

#[inline(never)]
fn unreachable_v4(ctx: &TcContext, packet: &Packet) -> bool {
    turn(ctx, |answer| refuse::unreachable_v4(&Skb(ctx), packet, answer))
}

#[inline(never)]
fn unreachable_v6(ctx: &TcContext, packet: &Packet) -> bool {
    turn(ctx, |answer| refuse::unreachable_v6(&Skb(ctx), packet, answer))
}

/// The packet takes the answer's length and bytes, if there is one.
#[inline(always)]
fn turn<const N: usize>(ctx: &TcContext, write: impl FnOnce(&mut [u8; N]) -> bool) -> bool {
    let Some(answer) = ANSWER.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a live map value of this CPU; packet programs neither nest nor are interrupted by one another.
    let Some(answer) = (unsafe { (*answer).first_chunk_mut::<N>() }) else {
        return false;
    };
    if !write(answer) {
        return false;
    }
    // SAFETY: the context is the kernel's own.
    let resized = unsafe { bpf_skb_change_tail(ctx.as_ptr().cast(), N as u32, 0) };
    resized == 0 && Skb(ctx).store_bytes(0, answer)
}
