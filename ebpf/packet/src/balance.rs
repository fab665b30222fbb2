//! Which slot of a backend list a connection takes.

use beeline_abi::FrontendKey;

/// Scales 32 random bits onto `0..count` without a division; `count` of zero gives zero.
#[inline(always)]
pub fn by_random(random: u32, count: u32) -> u32 {
    ((random as u64 * count as u64) >> 32) as u32
}

/// The same slot for the same socket and frontend while the list keeps its length: datagrams of one socket stay together.
#[inline(always)]
pub fn by_hash(cookie: u64, frontend: &FrontendKey, count: u32) -> u32 {
    let dialled = ((frontend.addr.raw() as u64) << 32)
        | ((frontend.port.raw() as u64) << 8)
        | frontend.proto as u64;
    let high = (mix(cookie ^ mix(dialled)) >> 32) as u32;
    by_random(high, count)
}

/// The finalizer of splitmix64: every input bit reaches every output bit.
#[inline(always)]
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
