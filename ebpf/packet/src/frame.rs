//! Byte access: a slice on the host, checked context memory in the kernel.

/// A frame that begins with its Ethernet header.
pub trait Frame {
    /// Bytes in the whole frame. May be larger than what a header says only by padding.
    fn length(&self) -> u32;

    /// `N` bytes from `offset`; `None` when the frame ends before.
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

impl Frame for [u8] {
    fn length(&self) -> u32 {
        u32::try_from(self.len()).unwrap_or(u32::MAX)
    }

    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }
}
