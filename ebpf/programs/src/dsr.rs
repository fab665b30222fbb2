//! Direct server return: the balancing node tells the backend's node what the caller dialled, and that one answers in its name.
//!
//! The frontend travels in an IP option (packet::dsr) of the packets that open a connection, and of every datagram. What a stranger
//! puts there changes nothing but the source of answers to himself, and only to a frontend that this node knows.

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::bpf_adj_room_mode::BPF_ADJ_ROOM_NET;
use aya_ebpf::helpers::bpf_skb_adjust_room;
use aya_ebpf::programs::TcContext;
use beeline_abi::{DropReason, TRACK_DSR, TRACK_LOCAL};
use beeline_packet::nat::Rewrite;
use beeline_packet::parse::ETHERNET_BYTES;
use beeline_packet::track::Opening;
use beeline_packet::{Frame, FrameMut, dsr};

use crate::maps::Scratch;
use crate::skb::Skb;
use crate::{conntrack, events, service};

/// Puts what the caller dialled into a packet that was rewritten to go to its backend.
#[inline(never)]
pub fn insert(ctx: &TcContext, scratch: &Scratch) -> bool {
    let dialled = &scratch.packet.tuple;
    if dialled.dest_addr.is_v4() {
        let Some(header) = Skb(ctx).load::<20>(ETHERNET_BYTES) else {
            return false;
        };
        let option = dsr::encode_v4(dialled.dest_addr.last_word(), dialled.dest_port);
        dsr::insert_v4(&header, &option).is_some_and(|header| {
            grow(ctx, i32::from(dsr::V4_BYTES))
                && Skb(ctx).store(ETHERNET_BYTES, header)
                && Skb(ctx).store(ETHERNET_BYTES + 20, option)
        })
    } else {
        let Some(header) = Skb(ctx).load::<40>(ETHERNET_BYTES) else {
            return false;
        };
        let option = dsr::encode_v6(header[6], &dialled.dest_addr, dialled.dest_port);
        dsr::insert_v6(&header).is_some_and(|header| {
            grow(ctx, i32::from(dsr::V6_BYTES))
                && Skb(ctx).store(ETHERNET_BYTES, header)
                && Skb(ctx).store(ETHERNET_BYTES + 40, option)
        })
    }
}

/// Room behind the fixed part of the IP header; refused when the packet would be too long for its link.
#[inline(always)]
fn grow(ctx: &TcContext, bytes: i32) -> bool {
    // SAFETY: the context is the kernel's own.
    unsafe { bpf_skb_adjust_room(ctx.as_ptr().cast(), bytes, BPF_ADJ_ROOM_NET, 0) == 0 }
}

/// A packet for a pod of this node says what its caller dialled elsewhere: answers will carry that address.
/// The packet itself goes on as it is.
#[inline(never)]
pub fn learn<F: Frame>(frame: &F, scratch: &mut Scratch) -> i32 {
    match note(frame, scratch) {
        Ok(()) => 0,
        Err(reason) => -(reason as i32),
    }
}

#[inline(always)]
fn note<F: Frame>(frame: &F, scratch: &mut Scratch) -> Result<(), DropReason> {
    let Some(dialled) = dsr::read(frame, &scratch.packet) else {
        return Ok(());
    };
    let tuple = &scratch.packet.tuple;
    if !service::is_frontend(dialled.addr, dialled.port, tuple.proto) {
        return Ok(());
    }
    // As if the caller's packet had arrived here and been sent on to the backend.
    let mut came = *tuple;
    came.dest_addr = dialled.addr;
    came.dest_port = dialled.port;
    scratch.opening = Opening {
        tuple: came,
        rewrite: Rewrite::unchanged(tuple),
        flags: TRACK_DSR | TRACK_LOCAL,
        service_id: Default::default(),
        backend_id: Default::default(),
        flow_id: events::fresh_flow_id(),
        now_ns: conntrack::now_ns(),
    };
    conntrack::note(scratch)
}
