//! Bytes of a packet without a call into the kernel, where the verifier can follow, and in words instead of bytes.
//!
//! It can where the compiler knows the offset. Transport headers have no such place, but nearly always one of two: 34, behind an IPv4
//! header without options, and 54, behind an IPv6 header. Everything else is read and written through the kernel's helpers.
//!
//! Packets have no alignment, and for the compiler that means one instruction per byte. The kernel takes unaligned words of packets
//! on machines that do, which are all that beeline runs on; so words are read and written in assembly.

use core::arch::asm;
use core::intrinsics::is_val_statically_known;
use core::mem::transmute_copy;

/// Behind Ethernet and IPv4 without options; behind Ethernet and IPv6.
const L4: [usize; 2] = [34, 54];
/// Where UDP and TCP have their checksums, in this order, from the transport header on.
const CHECKSUMS: [usize; 2] = [6, 16];

/// `N` bytes at `offset` of a packet, if they are in its first part and the place is one that can be followed.
#[inline(always)]
pub fn load<const N: usize>(data: usize, data_end: usize, offset: usize) -> Option<[u8; N]> {
    place::<N>(data, data_end, offset).map(|place| {
        // SAFETY: `place` lies within the packet with `N` bytes behind it.
        unsafe { read::<N>(place) }
    })
}

/// Writes `N` bytes at `offset` under the same conditions; `false` when they do not hold.
#[inline(always)]
pub fn store<const N: usize>(data: usize, data_end: usize, offset: usize, bytes: &[u8; N]) -> bool {
    let Some(place) = place::<N>(data, data_end, offset) else {
        return false;
    };
    // SAFETY: `place` lies within the packet with `N` bytes behind it.
    unsafe { write(place, bytes) };
    true
}

#[inline(always)]
fn place<const N: usize>(data: usize, data_end: usize, offset: usize) -> Option<usize> {
    if is_val_statically_known(offset) {
        return at::<N>(data, data_end, offset);
    }
    // A checksum is the only thing of two bytes behind the beginning of a transport header.
    let skip: [usize; 2] = if N == 2 { CHECKSUMS } else { [0, 0] };
    if offset == L4[0] + skip[0] {
        at::<N>(data, data_end, L4[0] + skip[0])
    } else if offset == L4[1] + skip[0] {
        at::<N>(data, data_end, L4[1] + skip[0])
    } else if N == 2 && offset == L4[0] + skip[1] {
        at::<N>(data, data_end, L4[0] + skip[1])
    } else if N == 2 && offset == L4[1] + skip[1] {
        at::<N>(data, data_end, L4[1] + skip[1])
    } else {
        None
    }
}

#[inline(always)]
fn at<const N: usize>(data: usize, data_end: usize, offset: usize) -> Option<usize> {
    let start = data + offset;
    if start + N > data_end { None } else { Some(start) }
}

/// # Safety
/// `N` bytes at `place` are there to be read.
#[inline(always)]
unsafe fn read<const N: usize>(place: usize) -> [u8; N] {
    match N {
        // SAFETY: as long as the result, and the caller promises as many bytes.
        2 => unsafe { transmute_copy(&half(place)) },
        // SAFETY: as above.
        4 => unsafe { transmute_copy(&word::<0>(place)) },
        // SAFETY: as above.
        8 => unsafe { transmute_copy(&[word::<0>(place), word::<4>(place)]) },
        20 => {
            // SAFETY: as above.
            let [a, b, c] = unsafe { [word::<0>(place), word::<4>(place), word::<8>(place)] };
            // SAFETY: as above.
            let [d, e] = unsafe { [word::<12>(place), word::<16>(place)] };
            // SAFETY: as above.
            unsafe { transmute_copy(&[a, b, c, d, e]) }
        }
        // SAFETY: bytes need no alignment.
        _ => unsafe { *(place as *const [u8; N]) },
    }
}

/// # Safety
/// `N` bytes at `place` are there to be written.
#[inline(always)]
unsafe fn write<const N: usize>(place: usize, bytes: &[u8; N]) {
    match N {
        // SAFETY: `bytes` is as long as what is copied, and the caller promises as many bytes.
        2 => unsafe { put_half(place, transmute_copy(bytes)) },
        // SAFETY: as above.
        4 => unsafe { put_word::<0>(place, transmute_copy(bytes)) },
        8 => {
            // SAFETY: as above.
            let [a, b]: [u32; 2] = unsafe { transmute_copy(bytes) };
            // SAFETY: as above.
            unsafe { put_word::<0>(place, a) };
            // SAFETY: as above.
            unsafe { put_word::<4>(place, b) };
        }
        12 => {
            // SAFETY: as above.
            let [a, b, c]: [u32; 3] = unsafe { transmute_copy(bytes) };
            // SAFETY: as above.
            unsafe { put_word::<0>(place, a) };
            // SAFETY: as above.
            unsafe { put_word::<4>(place, b) };
            // SAFETY: as above.
            unsafe { put_word::<8>(place, c) };
        }
        // SAFETY: bytes need no alignment.
        _ => unsafe { *(place as *mut [u8; N]) = *bytes },
    }
}

/// # Safety
/// Four bytes at `place + AT` are there to be read.
#[inline(always)]
unsafe fn word<const AT: usize>(place: usize) -> u32 {
    let word: u64;
    // SAFETY: a load, and the caller promises the bytes.
    unsafe {
        asm!("{word} = *(u32 *)({place} + {at})", word = out(reg) word, place = in(reg) place, at = const AT,
            options(pure, readonly, nostack))
    };
    word as u32
}

/// # Safety
/// Two bytes at `place` are there to be read.
#[inline(always)]
unsafe fn half(place: usize) -> u16 {
    let half: u64;
    // SAFETY: a load, and the caller promises the bytes.
    unsafe {
        asm!("{half} = *(u16 *)({place} + 0)", half = out(reg) half, place = in(reg) place,
            options(pure, readonly, nostack))
    };
    half as u16
}

/// # Safety
/// Four bytes at `place + AT` are there to be written.
#[inline(always)]
unsafe fn put_word<const AT: usize>(place: usize, word: u32) {
    // SAFETY: a store, and the caller promises the bytes.
    unsafe {
        asm!("*(u32 *)({place} + {at}) = {word}", word = in(reg) u64::from(word), place = in(reg) place,
            at = const AT, options(nostack))
    };
}

/// # Safety
/// Two bytes at `place` are there to be written.
#[inline(always)]
unsafe fn put_half(place: usize, half: u16) {
    // SAFETY: a store, and the caller promises the bytes.
    unsafe {
        asm!("*(u16 *)({place} + 0) = {half}", half = in(reg) u64::from(half), place = in(reg) place,
            options(nostack))
    };
}
