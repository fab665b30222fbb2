//! This node's own settings and addresses.

use aya_ebpf::maps::lpm_trie::Key;
use beeline_abi::{Addr, Config, NODE_ADDRESS_LOOPBACK, NODE_ADDRESS_PORTS, RANGE_CLUSTER};

use crate::maps::{CLUSTER_RANGES, CONFIG, NODE_ADDRESSES};

/// The settings; `None` only before user space wrote them.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// Whether a `CONFIG_*` flag is set.
#[inline(always)]
pub fn has(flag: u32) -> bool {
    config().is_some_and(|config| config.flags & flag != 0)
}

/// The node's address of the same family as `other`, if it has one.
#[inline(always)]
pub fn addr_like(other: Addr) -> Option<Addr> {
    let config = config()?;
    let own = if other.is_v4() { config.node_addr } else { config.node_addr6 };
    if own.is_none() { None } else { Some(own) }
}

/// Whether node ports answer at `addr` to callers outside.
#[inline(always)]
pub fn answers_outside(addr: Addr) -> bool {
    flags(addr) & (NODE_ADDRESS_PORTS | NODE_ADDRESS_LOOPBACK) == NODE_ADDRESS_PORTS
}

/// Whether node ports answer at `addr` to callers on this node; loopback addresses only to the node's own.
#[inline(always)]
pub fn answers_inside(addr: Addr, is_host: bool) -> bool {
    let flags = flags(addr);
    flags & NODE_ADDRESS_PORTS != 0 && (flags & NODE_ADDRESS_LOOPBACK == 0 || is_host)
}

/// What `CLUSTER_RANGES` says of an address: `RANGE_*` flags.
#[inline(always)]
pub fn range_of(addr: Addr) -> u32 {
    CLUSTER_RANGES.get(Key::new(128, addr)).copied().unwrap_or(0)
}

/// Whether an address belongs to the cluster.
#[inline(always)]
pub fn is_of_cluster(addr: Addr) -> bool {
    range_of(addr) & RANGE_CLUSTER != 0
}

#[inline(always)]
fn flags(addr: Addr) -> u32 {
    // SAFETY: not preallocated: an update swaps the whole value, and the old one stays readable until the program ends.
    unsafe { NODE_ADDRESSES.get(addr) }.copied().unwrap_or(0)
}

/// The source ports for those who take this node's address: first and last.
#[inline(always)]
pub fn snat_ports() -> (u16, u16) {
    config().map_or((1, 1), |config| {
        (config.snat_port_first.to_host(), config.snat_port_last.to_host())
    })
}
