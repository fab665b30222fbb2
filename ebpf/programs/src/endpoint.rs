//! Who is at an address.

use aya_ebpf::programs::TcContext;
use beeline_abi::{Addr, DropReason, Endpoint, Identity};

use crate::maps::ENDPOINTS;
use crate::skb;

/// Who is there; `None` when nobody told this node.
#[inline(always)]
pub fn at(addr: Addr) -> Option<&'static Endpoint> {
    // SAFETY: not preallocated: an update swaps the whole value, and the old one stays readable until the program ends.
    unsafe { ENDPOINTS.get(addr) }
}

/// The pod that sent from `addr`: it must be the one behind this link.
#[inline(always)]
pub fn behind(ctx: &TcContext, addr: Addr) -> Result<&'static Endpoint, DropReason> {
    match at(addr) {
        Some(endpoint) if endpoint.ifindex == skb::ifindex(ctx) => Ok(endpoint),
        _ => Err(DropReason::SpoofedSource),
    }
}

/// Its identity; what nobody told this node is the world.
#[inline(always)]
pub fn identity(endpoint: Option<&Endpoint>) -> Identity {
    endpoint.map_or(Identity::WORLD, |endpoint| endpoint.identity)
}
