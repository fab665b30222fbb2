//! Byte access: a slice on the host, checked context memory in the kernel.

use crate::checksum::ChecksumChange;

/// A frame that begins with its Ethernet header.
pub trait Frame {
    /// Bytes in the whole frame. May be larger than what a header says only by padding.
    fn length(&self) -> u32;

    /// `N` bytes from `offset`; `None` when the frame ends before.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

/// A frame that can be changed in place.
pub trait FrameMut: Frame {
    /// Writes `bytes` at `offset`; `false` when the frame ends before, and then nothing is written.
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> bool;

    /// Brings the 16-bit transport checksum at `offset` up to date; `false` when the frame ends before.
    ///
    /// With `zero_means_none` (UDP) a zero stays zero, and a sum that becomes zero is written as `0xffff`.
    /// What is here holds for bytes whose checksum is complete. The kernel's packets may hold the sum of the pseudo header only
    /// and leave the rest to the network card: there this is `bpf_l4_csum_replace`, once for each part of `change`.
    #[inline(always)]
    fn adjust_checksum(
        &mut self,
        offset: usize,
        change: &ChecksumChange,
        zero_means_none: bool,
    ) -> bool {
        let Some(old) = self.load::<2>(offset) else {
            return false;
        };
        match change.pseudo.and(change.rest).applied(u16::from_ne_bytes(old), zero_means_none) {
            Some(new) => self.store(offset, new.to_ne_bytes()),
            None => true,
        }
    }
}

impl Frame for [u8] {
    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }
}

impl FrameMut for [u8] {
    fn store<const N: usize>(&mut self, offset: usize, bytes: [u8; N]) -> bool {
        let Some(end) = offset.checked_add(N) else {
            return false;
        };
        match self.get_mut(offset..end) {
            Some(place) => {
                place.copy_from_slice(&bytes);
                true
            }
            None => false,
        }
    }
}
