//! One Service port: who has its number, its frontends and its backends. And all of them.

use std::{hash::BuildHasher as _, sync::Arc};

use beeline_abi::{Addr, BackendId, Frontend, FrontendKey, List, ServiceId};
use beeline_tables::ObjectName;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use slab::Slab;
use smallvec::SmallVec;

use super::backends::Backends;
use crate::{PortKey, candidates::Chosen};

/// Where a port is kept; another port has it once that one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PortIndex(u32);

/// A Service port as compiled.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) key: PortKey,
    /// Zero until it is put for the first time.
    pub(super) id: ServiceId,
    pub(super) affinity_s: u32,
    pub(super) frontends: SmallVec<[FrontendKey; 1]>,
    pub(super) inside: Side,
    /// `None`: the same as inside.
    pub(super) outside: Option<Box<Side>>,
    pub(super) source_ranges: Box<[(u32, Addr)]>,
}

/// The backends of callers of one side.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    /// Where the list lies.
    pub(super) list: List,
    /// Who stands in its places.
    pub(super) places: Arc<[BackendId]>,
    /// Who may serve, each once, in the order of addresses.
    pub(super) backends: Arc<[BackendId]>,
    /// All nodes must agree who stands where.
    pub(super) balanced: bool,
    pub(super) terminating: bool,
}

impl Port {
    fn new(key: PortKey) -> Self {
        Self {
            key,
            id: ServiceId(0),
            affinity_s: 0,
            frontends: SmallVec::new(),
            inside: Side::default(),
            outside: None,
            source_ranges: Box::default(),
        }
    }

    /// What callers outside have.
    pub(super) fn outside(&self) -> &Side {
        self.outside.as_deref().unwrap_or(&self.inside)
    }

    /// Both sides, the second only if it is another.
    pub(super) fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.inside).chain(self.outside.as_deref())
    }

    /// The same, to change them.
    pub(super) fn sides_mut(&mut self) -> impl Iterator<Item = &mut Side> {
        std::iter::once(&mut self.inside).chain(self.outside.as_deref_mut())
    }

    /// The entry of a frontend that it leads.
    pub(super) fn frontend(&self, flags: u32) -> Frontend {
        Frontend {
            service_id: self.id,
            flags,
            inside: self.inside.list,
            outside: self.outside().list,
            affinity_s: self.affinity_s,
        }
    }
}

impl Side {
    /// Takes the backends that were chosen now. The list stays the one that it has until lists are planned.
    pub(super) fn choose(
        &mut self,
        chosen: &Chosen,
        proto: u8,
        backends: &mut Backends,
        touched: &mut Vec<BackendId>,
    ) {
        let ids = chosen.backends.iter();
        let ids: SmallVec<[BackendId; 8]> =
            ids.map(|(address, local)| backends.id(*address, proto, *local)).collect();
        backends.acquire(&ids, chosen.terminating);
        self.leave(backends, touched);
        touched.extend_from_slice(&ids);
        self.terminating = chosen.terminating;
        if *ids != *self.backends {
            self.backends = Arc::from(ids.as_slice());
        }
    }

    /// Uses its backends no longer.
    pub(super) fn leave(&self, backends: &mut Backends, touched: &mut Vec<BackendId>) {
        backends.release(&self.backends, self.terminating);
        touched.extend_from_slice(&self.backends);
    }
}

/// All ports, found by Service and by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Ports {
    all: Slab<Port>,
    of_service: HashTable<PortIndex>,
    of_id: HashTable<PortIndex>,
    hasher: RandomState,
    /// The number that was given last.
    last: u32,
}

impl Ports {
    /// None yet; numbers are above `last`.
    pub(super) fn after(last: u32) -> Self {
        Self { last, ..Self::default() }
    }

    /// Makes room for so many at once; most changes need less than there is.
    pub(super) fn reserve(&mut self, more: usize) {
        let missing = more.saturating_sub(self.all.capacity());
        self.all.reserve(missing);
        let (all, hasher) = (&self.all, &self.hasher);
        self.of_service.reserve(missing, |it| hasher.hash_one(&all[it.0 as usize].key.service));
        self.of_id.reserve(missing, |it| hasher.hash_one(all[it.0 as usize].id));
    }

    /// A port that stands.
    ///
    /// # Panics
    /// When the port was removed: its index is not to be kept.
    pub(super) fn get(&self, index: PortIndex) -> &Port {
        &self.all[index.0 as usize]
    }

    /// The same, to change it. Its Service and its number stay.
    pub(super) fn get_mut(&mut self, index: PortIndex) -> &mut Port {
        &mut self.all[index.0 as usize]
    }

    /// The same, if it stands still.
    pub(super) fn find(&self, index: PortIndex) -> Option<&Port> {
        self.all.get(index.0 as usize)
    }

    /// Every port that stands.
    #[cfg(test)]
    pub(super) fn all(&self) -> impl Iterator<Item = &Port> {
        self.all.iter().map(|(_, port)| port)
    }

    /// Those of a Service, in no order.
    pub(super) fn of_service(&self, name: &ObjectName) -> SmallVec<[PortIndex; 2]> {
        let same_hash = self.of_service.iter_hash(self.hasher.hash_one(name)).copied();
        same_hash.filter(|index| self.get(*index).key.service == *name).collect()
    }

    /// The one with a number.
    pub(super) fn of_id(&self, id: ServiceId) -> Option<PortIndex> {
        self.of_id.find(self.hasher.hash_one(id), |index| self.get(*index).id == id).copied()
    }

    /// A new one, without a number and claims.
    pub(super) fn add(&mut self, key: PortKey) -> PortIndex {
        let hash = self.hasher.hash_one(&key.service);
        let index = self.all.insert(Port::new(key));
        // There are fewer ports than frontends fit.
        let index = PortIndex(u32::try_from(index).unwrap_or(u32::MAX));
        let (all, hasher) = (&self.all, &self.hasher);
        let hash_of = |it: &PortIndex| hasher.hash_one(&all[it.0 as usize].key.service);
        self.of_service.insert_unique(hash, index, hash_of);
        index
    }

    /// Gives a number that nobody has, or a new one, to a port without one.
    pub(super) fn number(&mut self, index: PortIndex, id: Option<ServiceId>) {
        let id = id.unwrap_or_else(|| self.fresh_id());
        self.get_mut(index).id = id;
        let (all, hasher) = (&self.all, &self.hasher);
        let hash_of = |it: &PortIndex| hasher.hash_one(all[it.0 as usize].id);
        self.of_id.insert_unique(hasher.hash_one(id), index, hash_of);
    }

    /// Forget a port.
    pub(super) fn remove(&mut self, index: PortIndex) -> Port {
        let port = self.all.remove(index.0 as usize);
        let by_service = self.hasher.hash_one(&port.key.service);
        if let Ok(entry) = self.of_service.find_entry(by_service, |it| *it == index) {
            entry.remove();
        }
        if let Ok(entry) = self.of_id.find_entry(self.hasher.hash_one(port.id), |it| *it == index) {
            entry.remove();
        }
        port
    }

    fn fresh_id(&mut self) -> ServiceId {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            let id = ServiceId(self.last);
            if self.of_id(id).is_none() {
                return id;
            }
        }
    }
}
