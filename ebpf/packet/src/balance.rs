//! Which slot of a backend list a connection takes.

use beeline_abi::{Addr, FrontendKey, ServiceId, Tuple};

/// Scales 32 random bits onto `0..count` without a division; `count` of zero gives zero.
#[inline(always)]
pub fn by_random(random: u32, count: u32) -> u32 {
    ((random as u64 * count as u64) >> 32) as u32
}

/// The same slot for the same socket and frontend while the list keeps its length: datagrams of one socket stay together.
#[inline(always)]
pub fn by_hash(cookie: u64, frontend: &FrontendKey, count: u32) -> u32 {
    let dialled = mix(addr(&frontend.addr, 0) ^ pack(frontend.port.raw(), 0, frontend.proto));
    by_random(high(mix(cookie ^ dialled)), count)
}

/// The same place for the same connection, on every node that has a list of the same length: a packet may arrive at any of them.
#[inline(always)]
pub fn by_tuple(tuple: &Tuple, count: u32) -> u32 {
    let ends = addr(&tuple.dest_addr, addr(&tuple.source_addr, 0));
    let ports = pack(tuple.dest_port.raw(), tuple.source_port.raw(), tuple.proto);
    by_random(high(mix(ends ^ ports)), count)
}

/// 32 bits that are the same for the same client of the same Service port: scale them with [`by_random`].
#[inline(always)]
pub fn by_client(client: &Addr, service_id: ServiceId) -> u32 {
    high(addr(client, mix(u64::from(service_id.0))))
}

/// Takes an address into a hash.
#[inline(always)]
fn addr(addr: &Addr, hash: u64) -> u64 {
    let [a, b, c, d] = addr.words();
    mix(mix(hash ^ word(a, b)) ^ word(c, d))
}

#[inline(always)]
fn word(high: u32, low: u32) -> u64 {
    (u64::from(high) << 32) | u64::from(low)
}

#[inline(always)]
fn pack(port: u16, other: u16, proto: u8) -> u64 {
    (u64::from(port) << 32) | (u64::from(other) << 16) | u64::from(proto)
}

#[inline(always)]
fn high(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The finalizer of splitmix64: every input bit reaches every output bit.
#[inline(always)]
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
