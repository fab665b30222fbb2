//! A packet in a tc hook, as bytes.

use aya_ebpf::programs::TcContext;
use beeline_packet::Frame;

/// The frame behind a context.
pub struct Skb<'a>(pub &'a TcContext);

impl Frame for Skb<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.len()
    }

    /// Copies through the kernel, which checks the bounds and reaches bytes outside the linear part too.
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.0.load(offset).ok()
    }
}

/// The link whose hook runs.
#[inline(always)]
pub fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: a field of the context the kernel passed to this program.
    unsafe { (&raw const (*ctx.skb.skb).ifindex).read_volatile() }
}
