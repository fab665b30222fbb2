//! The contents of the maps that user space writes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use beeline_abi::{
    Addr, AffinityOkKey, Backend, BackendId, Endpoint, Frontend, FrontendKey, List, ListId,
    NetnsOwner, RangeKey, ServiceId, limits,
};

/// Every entry, by map.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// `SERVICES`.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// `BACKEND_SLOTS`: the lists that frontends name.
    pub lists: BTreeMap<ListId, Run>,
    /// The highest list number in any place, named or not: new ones are above it.
    pub last_list: ListId,
    /// `BACKENDS`.
    pub backends: BTreeMap<BackendId, Backend>,
    /// `ENDPOINTS`.
    pub endpoints: BTreeMap<Addr, Endpoint>,
    /// `NETNS`.
    pub netns: BTreeMap<u64, NetnsOwner>,
    /// `AFFINITY_OK`.
    pub affinity_ok: BTreeSet<AffinityOkKey>,
    /// `SOURCE_RANGES`.
    pub source_ranges: BTreeSet<SourceRange>,
    /// `CLUSTER_RANGES`, with `RANGE_*` flags.
    pub ranges: BTreeMap<RangeKey, u32>,
    /// `NODE_ADDRESSES`, with `NODE_ADDRESS_*` flags.
    pub node_addresses: BTreeMap<Addr, u32>,
}

/// Where a list lies, and who stands in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// Its first place in the array.
    pub first: u32,
    /// Place by place; a Maglev table names each backend many times.
    pub places: Arc<[BackendId]>,
}

/// Who may call one Service port. Sorted by Service, unlike the map's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SourceRange {
    /// The Service port.
    pub service_id: ServiceId,
    /// Prefix length of the address in its 128-bit form.
    pub bits: u32,
    /// First address.
    pub addr: Addr,
}

/// How much fits into each map. [`Limits::default`] is what the kernel object declares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of `SERVICES`.
    pub frontends: u32,
    /// Of `BACKEND_SLOTS`.
    pub slots: u32,
    /// Of `BACKENDS`; the first id is one, so that one less fits.
    pub backends: u32,
    /// Of `ENDPOINTS`.
    pub endpoints: u32,
    /// Of `NETNS`.
    pub netns: u32,
    /// Of `AFFINITY_OK`.
    pub affinity_ok: u32,
    /// Of `SOURCE_RANGES`.
    pub source_ranges: u32,
    /// Of `CLUSTER_RANGES`.
    pub ranges: u32,
    /// Of `NODE_ADDRESSES`.
    pub node_addresses: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frontends: limits::FRONTENDS_MAX,
            slots: limits::SLOTS_MAX,
            backends: limits::BACKENDS_MAX,
            endpoints: limits::ENDPOINTS_MAX,
            netns: limits::NETNS_MAX,
            affinity_ok: limits::AFFINITY_OK_MAX,
            source_ranges: limits::SOURCE_RANGES_MAX,
            ranges: limits::CLUSTER_RANGES_MAX,
            node_addresses: limits::NODE_ADDRESSES_MAX,
        }
    }
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
    /// The places of a list; none when the maps hold another list there, or the empty one.
    pub fn places_of(&self, list: &List) -> &[BackendId] {
        match self.lists.get(&list.id) {
            Some(run) if run.first == list.first && run.places.len() == list.count as usize => {
                &run.places
            }
            _ => &[],
        }
    }

    /// The backends that callers on this node have behind a frontend, in the order of its list.
    pub fn inside(&self, frontend: &Frontend) -> &[BackendId] {
        self.places_of(&frontend.inside)
    }

    /// The distinct backends that callers outside have behind a frontend.
    pub fn outside(&self, frontend: &Frontend) -> BTreeSet<BackendId> {
        self.places_of(&frontend.outside).iter().copied().collect()
    }
}
