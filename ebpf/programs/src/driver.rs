//! A packet in a driver hook, as bytes.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_xdp_load_bytes, bpf_xdp_store_bytes};
use aya_ebpf::programs::XdpContext;
use beeline_packet::{Frame, FrameMut};

use crate::direct;

/// The frame behind a context. Checksums in it are complete: no network card is going to see it again.
pub struct Driver<'a>(pub &'a XdpContext);

impl Frame for Driver<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        (self.0.data_end() - self.0.data()) as u32
    }

    /// Directly, else through the kernel, which checks the bounds and reaches bytes outside the first buffer too.
    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if let Some(bytes) = direct::load(self.0.data(), self.0.data_end(), offset) {
            return Some(bytes);
        }
        let mut bytes = [0u8; N];
        // SAFETY: the context is the kernel's own; the array is live and `N` bytes long.
        let answer = unsafe {
            bpf_xdp_load_bytes(
                self.0.as_ptr().cast(),
                offset as u32,
                bytes.as_mut_ptr().cast(),
                N as u32,
            )
        };
        if answer == 0 { Some(bytes) } else { None }
    }
}

impl FrameMut for Driver<'_> {
    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> bool {
        if direct::store(self.0.data(), self.0.data_end(), offset, &bytes) {
            return true;
        }
        // SAFETY: the context is the kernel's own; the array is live and `N` bytes long.
        let answer = unsafe {
            bpf_xdp_store_bytes(
                self.0.as_ptr().cast(),
                offset as u32,
                bytes.as_ptr().cast_mut().cast(),
                N as u32,
            )
        };
        answer == 0
    }
}
