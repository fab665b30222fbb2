//! A plan: the writes from what the maps hold to what they should hold.
//!
//! The order of execution is the order of the fields, and it is safe for readers at every step: who an address is
//! comes before anything leads there; backends before lists, lists before the frontend that names them; and nothing
//! is removed before the last reader could have been told of what replaces it.

use std::collections::{BTreeMap, BTreeSet};

use beeline_abi::{
    Addr, AffinityOkKey, Backend, BackendId, Endpoint, Frontend, FrontendKey, List, ListId,
    NetnsOwner, RangeKey,
};
use beeline_tables::Epoch;

use crate::{Entries, Run, SourceRange};

/// Writes, map by map, in the order in which they must happen. No key occurs twice in the same field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What the maps hold once all is written.
    pub epoch: Epoch,
    /// First: who addresses belong to.
    pub endpoints: BTreeMap<Addr, Endpoint>,
    /// Whose callers are translated.
    pub netns: BTreeMap<u64, NetnsOwner>,
    /// What belongs to the cluster.
    pub ranges: BTreeMap<RangeKey, u32>,
    /// This node's own addresses.
    pub node_addresses: BTreeMap<Addr, u32>,
    /// Backends, new and changed.
    pub backends: Vec<(BackendId, Backend)>,
    /// Those of them that start counting from zero.
    pub fresh: Vec<BackendId>,
    /// New lists, in runs that nobody reads.
    pub lists: Vec<(ListId, Run)>,
    /// Backends that a client may stay with.
    pub affinity_ok: BTreeSet<AffinityOkKey>,
    /// Who may call.
    pub source_ranges: BTreeSet<SourceRange>,
    /// The swap: frontends that name the new lists.
    pub frontends: Vec<(FrontendKey, Frontend)>,
    /// Last: what nobody reads any more.
    pub gone: Gone,
    /// A table that is too small for the plan: it must not be carried out.
    pub overflow: Option<Overflow>,
}

/// A table that is too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow {
    /// Its name.
    pub map: &'static str,
    /// What fits.
    pub limit: u32,
    /// What would have been needed at least.
    pub wanted: usize,
}

/// Removals, in the order in which they must happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Frontends of deleted Services.
    pub frontends: Vec<FrontendKey>,
    /// Source ranges no longer asked for.
    pub source_ranges: BTreeSet<SourceRange>,
    /// Backends that a client may no longer stay with.
    pub affinity_ok: BTreeSet<AffinityOkKey>,
    /// Lists no longer named. Nothing is written: their runs are free for other lists.
    pub lists: Vec<List>,
    /// Backends without places and without connections.
    pub backends: Vec<BackendId>,
    /// Addresses that this node no longer has.
    pub node_addresses: BTreeSet<Addr>,
    /// Ranges that left the cluster.
    pub ranges: BTreeSet<RangeKey>,
    /// Network namespaces that are no longer ours.
    pub netns: BTreeSet<u64>,
    /// Addresses that nobody has.
    pub endpoints: BTreeSet<Addr>,
}

impl Plan {
    /// How many entries it writes and removes.
    pub fn writes(&self) -> usize {
        let Plan {
            epoch: _,
            endpoints,
            netns,
            ranges,
            node_addresses,
            backends,
            fresh: _,
            lists,
            affinity_ok,
            source_ranges,
            frontends,
            gone,
            overflow: _,
        } = self;
        let places: usize = lists.iter().map(|(_, run)| run.places.len()).sum();
        let who = endpoints.len() + netns.len() + ranges.len() + node_addresses.len();
        let allowed = affinity_ok.len() + source_ranges.len();
        who + backends.len() + places + allowed + frontends.len() + gone.writes()
    }

    /// Carry it out on entries in memory.
    pub fn apply_to(&self, entries: &mut Entries) {
        entries.endpoints.extend(&self.endpoints);
        entries.netns.extend(&self.netns);
        entries.ranges.extend(&self.ranges);
        entries.node_addresses.extend(&self.node_addresses);
        entries.backends.extend(self.backends.iter().copied());
        entries.lists.extend(self.lists.iter().map(|(id, run)| (*id, run.clone())));
        let last = self.lists.iter().map(|(id, _)| *id).max();
        entries.last_list = entries.last_list.max(last.unwrap_or_default());
        entries.affinity_ok.extend(&self.affinity_ok);
        entries.source_ranges.extend(&self.source_ranges);
        entries.frontends.extend(self.frontends.iter().copied());
        self.gone.apply_to(entries);
    }
}

impl Gone {
    /// How many entries of a map go, so that for a moment old and new ones are there.
    pub fn leaving(&self, map: &str) -> usize {
        use beeline_abi::maps;
        match map {
            maps::SERVICES => self.frontends.len(),
            maps::SOURCE_RANGES => self.source_ranges.len(),
            maps::AFFINITY_OK => self.affinity_ok.len(),
            maps::ENDPOINTS => self.endpoints.len(),
            maps::NETNS => self.netns.len(),
            maps::CLUSTER_RANGES => self.ranges.len(),
            maps::NODE_ADDRESSES => self.node_addresses.len(),
            _ => 0,
        }
    }

    fn writes(&self) -> usize {
        let Gone {
            frontends,
            source_ranges,
            affinity_ok,
            lists: _,
            backends,
            node_addresses,
            ranges,
            netns,
            endpoints,
        } = self;
        let who = endpoints.len() + netns.len() + ranges.len() + node_addresses.len();
        who + frontends.len() + source_ranges.len() + affinity_ok.len() + backends.len()
    }

    fn apply_to(&self, entries: &mut Entries) {
        for key in &self.frontends {
            entries.frontends.remove(key);
        }
        for range in &self.source_ranges {
            entries.source_ranges.remove(range);
        }
        for key in &self.affinity_ok {
            entries.affinity_ok.remove(key);
        }
        for list in &self.lists {
            entries.lists.remove(&list.id);
        }
        for id in &self.backends {
            entries.backends.remove(id);
        }
        for address in &self.node_addresses {
            entries.node_addresses.remove(address);
        }
        for range in &self.ranges {
            entries.ranges.remove(range);
        }
        for cookie in &self.netns {
            entries.netns.remove(cookie);
        }
        for address in &self.endpoints {
            entries.endpoints.remove(address);
        }
    }
}
