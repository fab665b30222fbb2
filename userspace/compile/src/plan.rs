//! A plan: the writes from what the maps hold to what they should hold.
//!
//! The order of execution is the order of the fields, and it is safe for readers at every step: who an address is
//! comes before anything leads there; backends before slots, slots before the frontend that names them; and nothing
//! is removed before the last reader could have been told of what replaces it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use beeline_abi::{Backend, BackendId, Be32, Endpoint, Frontend, FrontendKey, NetnsOwner, SlotKey};
use beeline_tables::Epoch;

use crate::{
    Entries,
    entries::{Key, List, Owner, Slot, Target, Who, readable, sorted, sorted_addresses},
};

/// Writes, map by map, in the order in which they must happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// What the maps hold once all is written.
    pub epoch: Epoch,
    /// First: who addresses belong to.
    pub endpoints: BTreeMap<Be32, Endpoint>,
    /// Whose callers are translated.
    pub netns: BTreeMap<u64, NetnsOwner>,
    /// Backends, new and changed; a new one gets its counters too.
    pub backends: BTreeMap<BackendId, Backend>,
    /// Slots of new generations.
    pub slots: BTreeMap<SlotKey, BackendId>,
    /// The swap: frontends that name the new generations.
    pub frontends: BTreeMap<FrontendKey, Frontend>,
    /// Last: what nobody reads any more.
    pub gone: Gone,
}

/// Removals, in the order in which they must happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gone {
    /// Frontends of deleted Services.
    pub frontends: BTreeSet<FrontendKey>,
    /// Slots of generations no longer named.
    pub slots: BTreeSet<SlotKey>,
    /// Backends without slots and without connections; their counters go with them.
    pub backends: BTreeSet<BackendId>,
    /// Network namespaces that are no longer ours.
    pub netns: BTreeSet<u64>,
    /// Addresses that nobody has.
    pub endpoints: BTreeSet<Be32>,
}

impl Plan {
    /// How many entries it writes and removes.
    pub fn writes(&self) -> usize {
        let Plan { epoch: _, endpoints, netns, backends, slots, frontends, gone } = self;
        let puts = endpoints.len() + netns.len() + backends.len() + slots.len() + frontends.len();
        puts + gone.frontends.len()
            + gone.slots.len()
            + gone.backends.len()
            + gone.netns.len()
            + gone.endpoints.len()
    }

    /// Carry it out on entries in memory.
    pub fn apply_to(&self, entries: &mut Entries) {
        entries.endpoints.extend(&self.endpoints);
        entries.netns.extend(&self.netns);
        entries.backends.extend(&self.backends);
        entries.slots.extend(&self.slots);
        entries.frontends.extend(&self.frontends);
        for key in &self.gone.frontends {
            entries.frontends.remove(key);
        }
        for key in &self.gone.slots {
            entries.slots.remove(key);
        }
        for key in &self.gone.backends {
            entries.backends.remove(key);
        }
        for key in &self.gone.netns {
            entries.netns.remove(key);
        }
        for key in &self.gone.endpoints {
            entries.endpoints.remove(key);
        }
    }
}

/// One line for each write, in the order of execution.
impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (address, endpoint) in sorted_addresses(&self.endpoints) {
            writeln!(f, "put endpoint {address} -> {}", Who(endpoint))?;
        }
        for (cookie, owner) in &self.netns {
            writeln!(f, "put netns {cookie} -> {}", Owner(owner))?;
        }
        for (id, backend) in &self.backends {
            writeln!(f, "put backend {} -> {}", id.0, Target(backend))?;
        }
        for (key, backend) in &self.slots {
            writeln!(f, "put slot {} -> backend {}", Slot(key), backend.0)?;
        }
        for (key, frontend) in sorted(&self.frontends) {
            writeln!(f, "put frontend {} -> {}", Key(key), List(frontend))?;
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
        for key in &self.slots {
            writeln!(f, "remove slot {}", Slot(key))?;
        }
        for id in &self.backends {
            writeln!(f, "remove backend {}", id.0)?;
        }
        for cookie in &self.netns {
            writeln!(f, "remove netns {cookie}")?;
        }
        for address in &self.endpoints {
            writeln!(f, "remove endpoint {address:?}")?;
        }
        Ok(())
    }
}
