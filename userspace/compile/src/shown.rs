//! Entries and plans as text: one line each, in an order that people expect.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use beeline_abi::{
    Addr, AffinityOkKey, BACKEND_LOCAL, Backend, BackendId, BackendState, Endpoint,
    FRONTEND_EXTERNAL, FRONTEND_HAS_REMOTE, FRONTEND_LOCAL_ONLY, FRONTEND_NODE_ONLY,
    FRONTEND_SOURCE_RANGES, Frontend, FrontendKey, List, ListId, NODE_ADDRESS_LOOPBACK,
    NODE_ADDRESS_PORTS, NetnsOwner, Proto, RANGE_CLUSTER, RANGE_LOCAL_PODS, RangeKey, Scope,
};

use crate::{Entries, Gone, Plan, Run, SourceRange};

/// One line for each entry, map by map.
impl fmt::Display for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in sorted(self.frontends.iter()) {
            writeln!(f, "frontend {} -> {}", Key(key), Value(value))?;
        }
        for (id, run) in &self.lists {
            writeln!(f, "list {} -> {}", id.0, Places(run))?;
        }
        for (id, backend) in &self.backends {
            writeln!(f, "backend {} -> {}", id.0, Target(backend))?;
        }
        for (address, endpoint) in by_address(&self.endpoints) {
            writeln!(f, "endpoint {address} -> {}", Who(endpoint))?;
        }
        for (cookie, owner) in &self.netns {
            writeln!(f, "netns {cookie} -> {}", Owner(owner))?;
        }
        for key in &self.affinity_ok {
            writeln!(f, "affinity {}", Affinity(key))?;
        }
        for range in &self.source_ranges {
            writeln!(f, "source range {}", Source(range))?;
        }
        for (range, flags) in &self.ranges {
            writeln!(f, "range {} -> {}", Range(range), RangeFlags(*flags))?;
        }
        for (address, flags) in by_address(&self.node_addresses) {
            writeln!(f, "node address {address} -> {}", NodeFlags(*flags))?;
        }
        Ok(())
    }
}

/// One line for each write, in the order of execution.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (address, endpoint) in by_address(&self.endpoints) {
            writeln!(f, "put endpoint {address} -> {}", Who(endpoint))?;
        }
        for (cookie, owner) in &self.netns {
            writeln!(f, "put netns {cookie} -> {}", Owner(owner))?;
        }
        for (range, flags) in &self.ranges {
            writeln!(f, "put range {} -> {}", Range(range), RangeFlags(*flags))?;
        }
        for (address, flags) in by_address(&self.node_addresses) {
            writeln!(f, "put node address {address} -> {}", NodeFlags(*flags))?;
        }
        for (id, backend) in by_number(&self.backends) {
            writeln!(f, "put backend {} -> {}", id.0, Target(backend))?;
        }
        for (id, run) in by_number(&self.lists) {
            writeln!(f, "put list {} -> {}", id.0, Places(run))?;
        }
        for key in &self.affinity_ok {
            writeln!(f, "put affinity {}", Affinity(key))?;
        }
        for range in &self.source_ranges {
            writeln!(f, "put source range {}", Source(range))?;
        }
        for (key, frontend) in sorted(self.frontends.iter().map(|(key, value)| (key, value))) {
            writeln!(f, "put frontend {} -> {}", Key(key), Value(frontend))?;
        }
        self.gone.fmt(f)
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut frontends: Vec<_> = self.frontends.iter().collect();
        frontends.sort_by_key(|key| readable(key));
        for key in frontends {
            writeln!(f, "remove frontend {}", Key(key))?;
        }
        for range in &self.source_ranges {
            writeln!(f, "remove source range {}", Source(range))?;
        }
        for key in &self.affinity_ok {
            writeln!(f, "remove affinity {}", Affinity(key))?;
        }
        let numbers: BTreeSet<ListId> = self.lists.iter().map(|list| list.id).collect();
        for id in numbers {
            writeln!(f, "free list {}", id.0)?;
        }
        for id in self.backends.iter().collect::<BTreeSet<_>>() {
            writeln!(f, "remove backend {}", id.0)?;
        }
        for address in &self.node_addresses {
            writeln!(f, "remove node address {address}")?;
        }
        for range in &self.ranges {
            writeln!(f, "remove range {}", Range(range))?;
        }
        for cookie in &self.netns {
            writeln!(f, "remove netns {cookie}")?;
        }
        for address in &self.endpoints {
            writeln!(f, "remove endpoint {address}")?;
        }
        Ok(())
    }
}

/// Frontends as people sort them; the map's own order is that of bytes in memory.
fn sorted<'a>(
    all: impl Iterator<Item = (&'a FrontendKey, &'a Frontend)>,
) -> Vec<(&'a FrontendKey, &'a Frontend)> {
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|(key, _)| readable(key));
    all
}

/// Entries of a plan, which come in no order.
fn by_number<K: Ord, V>(all: &[(K, V)]) -> BTreeMap<&K, &V> {
    all.iter().map(|(key, value)| (key, value)).collect()
}

fn by_address<V>(map: &BTreeMap<Addr, V>) -> Vec<(IpAddr, &V)> {
    let mut all: Vec<_> = map.iter().map(|(key, value)| (IpAddr::from(*key), value)).collect();
    all.sort_by_key(|(address, _)| *address);
    all
}

fn readable(key: &FrontendKey) -> (IpAddr, u16, u8) {
    (key.addr.into(), key.port.to_host(), key.proto)
}

struct Key<'a>(&'a FrontendKey);
struct Value<'a>(&'a Frontend);
struct Listed<'a>(&'a List);
struct Places<'a>(&'a Run);
struct Target<'a>(&'a Backend);
struct Who<'a>(&'a Endpoint);
struct Owner<'a>(&'a NetnsOwner);
struct Affinity<'a>(&'a AffinityOkKey);
struct Source<'a>(&'a SourceRange);
struct Range<'a>(&'a RangeKey);
struct RangeFlags(u32);
struct NodeFlags(u32);

fn protocol(number: u8) -> &'static str {
    Proto::from_raw(number).map_or("?", Proto::name)
}

/// The names of the flags that are set, each after a space.
fn flags(f: &mut fmt::Formatter<'_>, set: u32, names: &[(u32, &str)]) -> fmt::Result {
    names.iter().filter(|(bit, _)| set & bit != 0).try_for_each(|(_, name)| write!(f, " {name}"))
}

fn socket(f: &mut fmt::Formatter<'_>, addr: Addr, port: u16, proto: u8) -> fmt::Result {
    match IpAddr::from(addr) {
        IpAddr::V4(addr) => write!(f, "{addr}:{port}/{}", protocol(proto)),
        IpAddr::V6(addr) => write!(f, "[{addr}]:{port}/{}", protocol(proto)),
    }
}

fn prefix(f: &mut fmt::Formatter<'_>, addr: Addr, bits: u32) -> fmt::Result {
    let bits = if addr.is_v4() { bits.saturating_sub(96) } else { bits };
    write!(f, "{addr}/{bits}")
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        socket(f, self.0.addr, self.0.port.to_host(), self.0.proto)
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frontend { service_id, flags: set, inside, outside, affinity_s } = self.0;
        write!(f, "service {} {}", service_id.0, Listed(inside))?;
        if outside != inside {
            write!(f, " outside {}", Listed(outside))?;
        }
        if *affinity_s > 0 {
            write!(f, " affinity {affinity_s} s")?;
        }
        let names = [
            (FRONTEND_EXTERNAL, "external"),
            (FRONTEND_LOCAL_ONLY, "local-only"),
            (FRONTEND_HAS_REMOTE, "has-remote"),
            (FRONTEND_SOURCE_RANGES, "source-ranges"),
            (FRONTEND_NODE_ONLY, "node-only"),
        ];
        flags(f, *set, &names)
    }
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.count {
            0 => write!(f, "nobody"),
            count => write!(f, "list {} ({count} at {})", self.0.id.0, self.0.first),
        }
    }
}

/// Short lists place by place, Maglev tables as shares.
impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { first, places } = self.0;
        write!(f, "at {first}: backend")?;
        let distinct: BTreeSet<BackendId> = places.iter().copied().collect();
        if distinct.len() == places.len() {
            return places.iter().try_for_each(|id| write!(f, " {}", id.0));
        }
        distinct.iter().try_for_each(|id| {
            let share = places.iter().filter(|place| *place == id).count();
            write!(f, " {} ({share}x)", id.0)
        })
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Backend { addr, port, proto, state, identity, flags: set, pad: _ } = self.0;
        let state = match BackendState::from_raw(*state) {
            Some(BackendState::Active) => "active",
            Some(BackendState::Terminating) => "terminating",
            Some(BackendState::Draining) => "draining",
            None => "?",
        };
        socket(f, *addr, port.to_host(), *proto)?;
        write!(f, " {state} identity {}", identity.0)?;
        flags(f, *set, &[(BACKEND_LOCAL, "local")])
    }
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "identity {}", self.0.identity.0)?;
        if self.0.ifindex != 0 {
            write!(f, " link {}", self.0.ifindex)?;
        }
        Ok(())
    }
}

impl fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NetnsOwner { identity, endpoint_id, flags, addr, addr6 } = self.0;
        write!(f, "identity {} endpoint {} at", identity.0, endpoint_id.0)?;
        for addr in [addr, addr6].into_iter().filter(|addr| !addr.is_none()) {
            write!(f, " {addr}")?;
        }
        write!(f, " flags {flags}")
    }
}

impl fmt::Display for Affinity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = if self.0.scope == Scope::Inside as u32 { "inside" } else { "outside" };
        write!(f, "service {} backend {} {scope}", self.0.service_id.0, self.0.backend_id.0)
    }
}

impl fmt::Display for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        prefix(f, self.0.addr, self.0.bits)?;
        write!(f, " of service {}", self.0.service_id.0)
    }
}

impl fmt::Display for Range<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        prefix(f, self.0.addr, self.0.bits)
    }
}

impl fmt::Display for RangeFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cluster")?;
        flags(f, self.0 & !RANGE_CLUSTER, &[(RANGE_LOCAL_PODS, "local-pods")])
    }
}

impl fmt::Display for NodeFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this node")?;
        flags(f, self.0, &[(NODE_ADDRESS_PORTS, "ports"), (NODE_ADDRESS_LOOPBACK, "loopback")])
    }
}
