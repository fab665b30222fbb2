//! A packet in a tc hook, as bytes.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_l4_csum_replace, bpf_skb_load_bytes, bpf_skb_store_bytes};
use aya_ebpf::programs::TcContext;
use beeline_packet::checksum::ChecksumChange;
use beeline_packet::{Frame, FrameMut};

use crate::direct;

/// The frame behind a context.
pub struct Skb<'a>(pub &'a TcContext);

/// `BPF_F_PSEUDO_HDR`, `BPF_F_MARK_MANGLED_0` and `BPF_F_IPV6` of linux/bpf.h.
const PSEUDO_HEADER: u64 = 1 << 4;
const ZERO_MEANS_NONE: u64 = 1 << 5;
const IPV6: u64 = 1 << 7;

impl Frame for Skb<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        self.0.len()
    }

    /// Directly, else through the kernel, which checks the bounds and reaches bytes outside the linear part too.
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = direct::load(self.0.data(), self.0.data_end(), offset) {
            return Some(bytes);
        }
        let mut bytes = [0u8; N];
        // SAFETY: the context is the kernel's own; the array is live and `N` bytes long.
        let answer = unsafe {
            bpf_skb_load_bytes(self.0.as_ptr(), offset as u32, bytes.as_mut_ptr().cast(), N as u32)
        };
        if answer == 0 { Some(bytes) } else { None }
    }
}

impl FrameMut for Skb<'_> {
    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> bool {
        self.store_bytes(offset, &bytes)
    }

    /// The kernel knows whether the network card is to complete the sum: then only the pseudo header's part is there to change.
    #[inline(always)]
    fn adjust_checksum(
        &mut self,
        offset: usize,
        change: &ChecksumChange,
        zero_means_none: bool,
    ) -> bool {
        let zero = if zero_means_none { ZERO_MEANS_NONE } else { 0 };
        let pseudo = change.pseudo.raw();
        let done = pseudo == 0 || {
            let flags = PSEUDO_HEADER | zero;
            // Kernels before 6.16 do not know the flag, which says that no header checksum makes up for the addresses.
            (change.v6 && self.replace(offset, pseudo, flags | IPV6))
                || self.replace(offset, pseudo, flags)
        };
        let rest = change.rest.raw();
        done && (rest == 0 || self.replace(offset, rest, zero))
    }
}

impl Skb<'_> {
    /// Writes bytes that lie elsewhere; `false` when the frame ends before.
    #[inline(always)]
    pub fn store_bytes<const N: usize>(&self, offset: usize, bytes: &[u8; N]) -> bool {
        if direct::store(self.0.data(), self.0.data_end(), offset, bytes) {
            return true;
        }
        // SAFETY: the context is the kernel's own; the array is live and `N` bytes long.
        let answer = unsafe {
            bpf_skb_store_bytes(
                self.0.as_ptr().cast(),
                offset as u32,
                bytes.as_ptr().cast(),
                N as u32,
                0,
            )
        };
        answer == 0
    }

    #[inline(always)]
    fn replace(&self, offset: usize, diff: u32, flags: u64) -> bool {
        // SAFETY: the context is the kernel's own; a size of zero in the flags means that `to` is a difference.
        let answer = unsafe {
            bpf_l4_csum_replace(self.0.as_ptr().cast(), offset as u32, 0, u64::from(diff), flags)
        };
        answer == 0
    }
}

/// The link whose hook runs.
#[inline(always)]
pub fn ifindex(ctx: &TcContext) -> u32 {
    // SAFETY: a field of the context the kernel passed to this program.
    unsafe { (&raw const (*ctx.skb.skb).ifindex).read_volatile() }
}

/// Whether it is several segments of a connection in one.
#[inline(always)]
pub fn is_many(ctx: &TcContext) -> bool {
    // SAFETY: a field of the context the kernel passed to this program.
    unsafe { (&raw const (*ctx.skb.skb).gso_segs).read_volatile() != 0 }
}

/// What from_outside leaves on a packet that it sends out by a link of this node: to_outside has nothing to add.
const DONE: u16 = 0xbee1;

/// Marks a packet as done.
#[inline(always)]
pub fn mark_done(ctx: &TcContext) {
    // SAFETY: a field of the context that packet programs may write.
    unsafe { (&raw mut (*ctx.skb.skb).tc_index).write_volatile(u32::from(DONE)) };
}

/// Whether a packet is marked as done.
#[inline(always)]
pub fn is_done(ctx: &TcContext) -> bool {
    // SAFETY: a field of the context the kernel passed to this program.
    unsafe { (&raw const (*ctx.skb.skb).tc_index).read_volatile() == u32::from(DONE) }
}
