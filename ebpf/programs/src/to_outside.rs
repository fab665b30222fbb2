//! tcx egress on a link by which the world is reached: a packet is about to leave, an answer of a backend here or a pod's own.

use aya_ebpf::bindings::{TC_ACT_OK, TC_ACT_SHOT};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use beeline_abi::Hook;

use crate::flows;
use crate::maps::scratch;
use crate::outside;
use crate::skb::{self, Skb};

/// Entry point.
#[classifier]
pub fn to_outside(ctx: TcContext) -> i32 {
    if skb::is_done(&ctx) {
        return TC_ACT_OK;
    }
    let Some(scratch) = scratch() else {
        return TC_ACT_OK;
    };
    if !outside::read(&Skb(&ctx), scratch) {
        return TC_ACT_OK;
    }
    match outside::leave(&mut Skb(&ctx), scratch) {
        Ok(_) => TC_ACT_OK,
        Err(reason) => {
            flows::dropped(&ctx, Hook::ToOutside, scratch, reason);
            TC_ACT_SHOT
        }
    }
}
