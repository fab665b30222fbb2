//! A packet in a driver hook, as bytes.

use core::arch::asm;

use aya_ebpf::programs::XdpContext;
use beeline_packet::{Frame, FrameMut};

/// The frame behind a context. Checksums in it are complete: no network card is going to see it again.
pub struct Driver<'a>(pub &'a XdpContext);

/// No frame that is translated here is longer; the verifier wants offsets to have an end.
const OFFSET_MAX: usize = 0x3fff;

impl Driver<'_> {
    /// Where `N` bytes at `offset` are; `None` when the frame ends before.
    #[inline(always)]
    fn place<const N: usize>(&self, offset: usize) -> Option<*mut [u8; N]> {
        if offset > OFFSET_MAX {
            return None;
        }
        let mut start = self.0.data() + offset;
        // SAFETY: does nothing; so the verifier sees the very number checked that is used, not an equal one.
        unsafe { asm!("{start} = {start}", start = inout(reg) start, options(nomem, nostack)) };
        if start + N > self.0.data_end() {
            return None;
        }
        Some(start as *mut [u8; N])
    }
}

impl Frame for Driver<'_> {
    #[inline(always)]
    fn length(&self) -> u32 {
        (self.0.data_end() - self.0.data()) as u32
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        // SAFETY: within the frame, as just checked; bytes need no alignment.
        self.place(offset).map(|place| unsafe { *place })
    }
}

impl FrameMut for Driver<'_> {
    #[inline(always)]
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> bool {
        let Some(place) = self.place(offset) else {
            return false;
        };
        // SAFETY: within the frame, as just checked; bytes need no alignment.
        unsafe { *place = bytes };
        true
    }
}
