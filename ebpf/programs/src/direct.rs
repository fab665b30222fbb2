//! Bytes of a packet without a call into the kernel, where the verifier can follow.
//!
//! It can where the compiler knows the offset. Transport headers have no such place, but nearly always one of two: 34, behind an IPv4
//! header without options, and 54, behind an IPv6 header. Everything else is read and written through the kernel's helpers.

use core::intrinsics::is_val_statically_known;

/// Behind Ethernet and IPv4 without options; behind Ethernet and IPv6.
const L4: [usize; 2] = [34, 54];

/// Where `N` bytes at `offset` of a packet are, if they are in its first part and the place is one that can be followed.
#[inline(always)]
pub fn place<const N: usize>(data: usize, data_end: usize, offset: usize) -> Option<*mut [u8; N]> {
    if is_val_statically_known(offset) {
        at(data, data_end, offset)
    } else if offset == L4[0] {
        at(data, data_end, L4[0])
    } else if offset == L4[1] {
        at(data, data_end, L4[1])
    } else {
        None
    }
}

#[inline(always)]
fn at<const N: usize>(data: usize, data_end: usize, offset: usize) -> Option<*mut [u8; N]> {
    let start = data + offset;
    if start + N > data_end { None } else { Some(start as *mut [u8; N]) }
}
