//! The contents of the maps that user space writes.

use std::{collections::BTreeMap, fmt, net::Ipv4Addr};

use beeline_abi::{
    Backend, BackendId, BackendState, Be32, Endpoint, Frontend, FrontendKey, NetnsOwner, Proto,
    ServiceId, SlotKey, limits,
};

/// Every entry, by map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// `SERVICES`.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// `BACKEND_SLOTS`.
    pub slots: BTreeMap<SlotKey, BackendId>,
    /// `BACKENDS`.
    pub backends: BTreeMap<BackendId, Backend>,
    /// `ENDPOINTS`.
    pub endpoints: BTreeMap<Be32, Endpoint>,
    /// `NETNS`.
    pub netns: BTreeMap<u64, NetnsOwner>,
}

/// How full one map is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// The map's name.
    pub map: &'static str,
    /// Entries in it.
    pub entries: usize,
    /// Entries that fit.
    pub limit: u32,
}

impl Usage {
    /// Entries in per cent of the limit.
    pub fn percent(&self) -> usize {
        self.entries * 100 / (self.limit as usize).max(1)
    }
}

impl Entries {
    /// How full each map is with these entries in it.
    pub fn usage(&self) -> [Usage; 5] {
        use beeline_abi::maps;
        let usage = |map, entries, limit| Usage { map, entries, limit };
        [
            usage(maps::SERVICES, self.frontends.len(), limits::FRONTENDS_MAX),
            usage(maps::BACKEND_SLOTS, self.slots.len(), limits::SLOTS_MAX),
            usage(maps::BACKENDS, self.backends.len(), limits::BACKENDS_MAX),
            usage(maps::ENDPOINTS, self.endpoints.len(), limits::ENDPOINTS_MAX),
            usage(maps::NETNS, self.netns.len(), limits::NETNS_MAX),
        ]
    }

    /// The slots of one Service port, all generations.
    pub fn slots_of(&self, id: ServiceId) -> impl Iterator<Item = (SlotKey, BackendId)> + '_ {
        let first = SlotKey { service_id: id, generation: 0, index: 0 };
        let last = SlotKey { service_id: id, generation: u32::MAX, index: u32::MAX };
        self.slots.range(first..=last).map(|(key, backend)| (*key, *backend))
    }

    /// The backends that a frontend leads to, in the order of its slots; holes are left out.
    pub fn list_of(&self, frontend: &Frontend) -> Vec<BackendId> {
        let slot = |index| SlotKey {
            service_id: frontend.service_id,
            generation: frontend.generation,
            index,
        };
        (0..frontend.backend_count)
            .filter_map(|index| self.slots.get(&slot(index)).copied())
            .collect()
    }
}

/// One line for each entry, map by map.
impl fmt::Display for Entries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (key, value) in sorted(&self.frontends) {
            writeln!(f, "frontend {} -> {}", Key(key), List(value))?;
        }
        for (key, value) in &self.slots {
            writeln!(f, "slot {} -> backend {}", Slot(key), value.0)?;
        }
        for (id, backend) in &self.backends {
            writeln!(f, "backend {} -> {}", id.0, Target(backend))?;
        }
        for (address, endpoint) in sorted_addresses(&self.endpoints) {
            writeln!(f, "endpoint {address} -> {}", Who(endpoint))?;
        }
        for (cookie, owner) in &self.netns {
            writeln!(f, "netns {cookie} -> {}", Owner(owner))?;
        }
        Ok(())
    }
}

/// Frontends as people sort them; the map's own order is that of bytes in memory.
pub(crate) fn sorted(map: &BTreeMap<FrontendKey, Frontend>) -> Vec<(&FrontendKey, &Frontend)> {
    let mut all: Vec<_> = map.iter().collect();
    all.sort_by_key(|(key, _)| readable(key));
    all
}

pub(crate) fn sorted_addresses<V>(map: &BTreeMap<Be32, V>) -> Vec<(Ipv4Addr, &V)> {
    let mut all: Vec<_> = map.iter().map(|(key, value)| (Ipv4Addr::from(*key), value)).collect();
    all.sort_by_key(|(address, _)| *address);
    all
}

pub(crate) fn readable(key: &FrontendKey) -> (Ipv4Addr, u16, u8) {
    (key.addr.into(), key.port.to_host(), key.proto)
}

pub(crate) struct Key<'a>(pub(crate) &'a FrontendKey);
pub(crate) struct List<'a>(pub(crate) &'a Frontend);
pub(crate) struct Slot<'a>(pub(crate) &'a SlotKey);
pub(crate) struct Target<'a>(pub(crate) &'a Backend);
pub(crate) struct Who<'a>(pub(crate) &'a Endpoint);
pub(crate) struct Owner<'a>(pub(crate) &'a NetnsOwner);

fn protocol(number: u8) -> &'static str {
    Proto::from_raw(number).map_or("?", Proto::name)
}

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:{:?}/{}", self.0.addr, self.0.port, protocol(self.0.proto))
    }
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Frontend { service_id, generation, backend_count, flags: _ } = self.0;
        write!(f, "service {} generation {generation} backends {backend_count}", service_id.0)
    }
}

impl fmt::Display for Slot<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0.service_id.0, self.0.generation, self.0.index)
    }
}

impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match BackendState::from_raw(self.0.state) {
            Some(BackendState::Active) => "active",
            Some(BackendState::Terminating) => "terminating",
            Some(BackendState::Draining) => "draining",
            None => "?",
        };
        let Backend { addr, port, proto, identity, .. } = self.0;
        write!(f, "{addr:?}:{port:?}/{} {state} identity {}", protocol(*proto), identity.0)
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
        let NetnsOwner { identity, endpoint_id, addr, flags } = self.0;
        write!(f, "identity {} endpoint {} at {addr:?} flags {flags}", identity.0, endpoint_id.0)
    }
}
