//! Backend ids, who uses them, and their entries. Ids are places in an array: low numbers, used again as late as possible.

use std::{collections::BTreeSet, hash::BuildHasher as _, net::IpAddr};

use beeline_abi::{Addr, BACKEND_LOCAL, Backend, BackendId, BackendState, Be16, maps};
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::touched::Touched;
use crate::{Entries, Plan, candidates::Address, places::Places, plan::Overflow};

/// Every backend with an id, in lists or draining.
#[derive(Clone, Debug)]
pub(super) struct Backends {
    /// By id; the first stands for nobody.
    known: Vec<Known>,
    /// Ids by address.
    at: HashTable<BackendId>,
    hasher: RandomState,
    /// In the map and without a user.
    idle: BTreeSet<BackendId>,
    /// Became idle since somebody asked.
    left: Vec<BackendId>,
    last: u32,
    /// Ids are below.
    limit: u32,
    /// How many have an id.
    count: usize,
    /// How many are in the map.
    held: usize,
    /// Backends that found no id.
    missed: usize,
}

/// One backend and how many lists name it.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// As the map has it; with state zero it only says where the backend is.
    entry: Backend,
    local: bool,
    active: u32,
    terminating: u32,
}

impl Known {
    fn is_used(&self) -> bool {
        self.active > 0 || self.terminating > 0
    }

    fn is_held(&self) -> bool {
        self.entry.state != 0
    }

    /// Whether the id means somebody.
    fn is_taken(&self) -> bool {
        self.entry.proto != 0
    }

    fn is_at(&self, addr: Addr, port: Be16, proto: u8) -> bool {
        self.entry.addr == addr && self.entry.port == port && self.entry.proto == proto
    }

    fn uses(&mut self, terminating: bool) -> &mut u32 {
        if terminating { &mut self.terminating } else { &mut self.active }
    }

    /// Without users, the entry that it has, marked as draining.
    fn wanted(&self, places: &Places<'_>) -> Backend {
        if !self.is_used() {
            return Backend { state: BackendState::Draining as u8, ..self.entry };
        }
        let state = if self.active > 0 { BackendState::Active } else { BackendState::Terminating };
        let address = IpAddr::from(self.entry.addr);
        let local = self.local || places.facts.attached.contains_key(&address);
        Backend {
            state: state as u8,
            identity: places.identity(address),
            flags: if local { BACKEND_LOCAL } else { 0 },
            ..self.entry
        }
    }
}

impl Backends {
    pub(super) fn adopt(entries: &Entries, limit: u32) -> Self {
        let mut adopted = Self {
            known: vec![Known::default()],
            at: HashTable::new(),
            hasher: RandomState::default(),
            idle: BTreeSet::new(),
            left: Vec::new(),
            last: 0,
            limit,
            count: 0,
            held: 0,
            missed: 0,
        };
        for (id, entry) in &entries.backends {
            // What has no protocol, and what lies where no id does, cannot come from us.
            if entry.proto == 0 || id.0 == 0 || id.0 >= limit {
                continue;
            }
            adopted.put(*id, Known { entry: *entry, ..Known::default() });
            adopted.held += 1;
            adopted.idle.insert(*id);
            adopted.last = adopted.last.max(id.0);
        }
        adopted
    }

    /// What did not fit, if anything.
    pub(super) fn overflow(&self) -> Option<Overflow> {
        (self.missed > 0).then(|| Overflow {
            map: maps::BACKENDS,
            limit: self.limit.saturating_sub(1),
            wanted: self.count + self.missed,
        })
    }

    /// How many are in the map.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Every id that means somebody.
    pub(super) fn all(&self) -> impl Iterator<Item = BackendId> + '_ {
        (0..).map(BackendId).zip(&self.known).filter(|(_, it)| it.is_taken()).map(|(id, _)| id)
    }

    /// The entry of an id in the map.
    #[cfg(test)]
    pub(super) fn entry(&self, id: BackendId) -> Option<&Backend> {
        self.get(id).filter(|it| it.is_held()).map(|it| &it.entry)
    }

    /// Where a backend is.
    pub(super) fn address(&self, id: BackendId) -> Option<Address> {
        self.get(id).map(|it| (it.entry.addr.into(), it.entry.port.to_host()))
    }

    /// The id of a backend, a new one if it has none; zero when there is no room, which [`Backends::overflow`] tells.
    pub(super) fn id(&mut self, (address, port): Address, proto: u8, local: bool) -> BackendId {
        let (addr, port) = (Addr::from(address), Be16::from_host(port));
        let known = &self.known;
        let is_it = |id: &BackendId| known[id.0 as usize].is_at(addr, port, proto);
        if let Some(id) = self.at.find(self.hasher.hash_one(addr), is_it).copied() {
            self.known[id.0 as usize].local = local;
            return id;
        }
        let Some(id) = self.fresh() else { return BackendId(0) };
        let entry = Backend { addr, port, proto, ..Backend::default() };
        self.put(id, Known { entry, local, ..Known::default() });
        id
    }

    /// Those at an address.
    fn at(&self, address: IpAddr) -> impl Iterator<Item = BackendId> + '_ {
        let addr = Addr::from(address);
        let same_hash = self.at.iter_hash(self.hasher.hash_one(addr)).copied();
        same_hash.filter(move |id| self.get(*id).is_some_and(|it| it.entry.addr == addr))
    }

    fn get(&self, id: BackendId) -> Option<&Known> {
        self.known.get(id.0 as usize).filter(|it| it.is_taken())
    }

    fn put(&mut self, id: BackendId, known: Known) {
        let index = id.0 as usize;
        if index >= self.known.len() {
            self.known.resize(index + 1, Known::default());
        }
        self.known[index] = known;
        self.count += 1;
        let Backend { addr, port, proto, .. } = known.entry;
        let (all, hasher) = (&self.known, &self.hasher);
        let hash = hasher.hash_one(addr);
        // Two entries for one place cannot come from us; the second stays without users and is drained away.
        if self.at.find(hash, |id| all[id.0 as usize].is_at(addr, port, proto)).is_none() {
            let hash_of = |id: &BackendId| hasher.hash_one(all[id.0 as usize].entry.addr);
            self.at.insert_unique(hash, id, hash_of);
        }
    }

    /// The next free number, round and round, so that a number rests before it means somebody else.
    fn fresh(&mut self) -> Option<BackendId> {
        for _ in 1..self.limit {
            self.last = if self.last + 1 < self.limit { self.last + 1 } else { 1 };
            if self.get(BackendId(self.last)).is_none() {
                return Some(BackendId(self.last));
            }
        }
        self.missed += 1;
        None
    }

    pub(super) fn acquire(&mut self, list: &[BackendId], terminating: bool) {
        for id in list.iter().filter(|id| id.0 != 0) {
            let known = &mut self.known[id.0 as usize];
            if !known.is_used() && known.is_held() {
                self.idle.remove(id);
            }
            *known.uses(terminating) += 1;
        }
    }

    pub(super) fn release(&mut self, list: &[BackendId], terminating: bool) {
        for id in list.iter().filter(|id| id.0 != 0) {
            let known = &mut self.known[id.0 as usize];
            let uses = known.uses(terminating);
            *uses = uses.saturating_sub(1);
            if !known.is_used() && known.is_held() {
                self.idle.insert(*id);
                self.left.push(*id);
            }
        }
    }

    /// Those with an entry and without a user.
    pub(super) fn idle(&self) -> Vec<BackendId> {
        self.idle.iter().copied().collect()
    }

    /// Of those, which became so since this was asked last.
    pub(super) fn take_left(&mut self) -> Vec<BackendId> {
        let mut left = std::mem::take(&mut self.left);
        left.retain(|id| self.idle.contains(id));
        left.sort_unstable();
        left.dedup();
        left
    }

    /// All that are idle left, as far as is known.
    pub(super) fn everybody_idle_left(&mut self) {
        self.left = self.idle();
    }

    /// Give an id back, unless somebody uses it.
    pub(super) fn forget(&mut self, id: BackendId) -> bool {
        let Some(known) = self.get(id).copied() else { return false };
        if known.is_used() {
            return false;
        }
        let hash = self.hasher.hash_one(known.entry.addr);
        if let Ok(entry) = self.at.find_entry(hash, |it| *it == id) {
            entry.remove();
        }
        self.held -= usize::from(known.is_held());
        self.count -= 1;
        self.idle.remove(&id);
        self.known[id.0 as usize] = Known::default();
        true
    }

    pub(super) fn plan(&mut self, places: &Places<'_>, touched: &mut Touched, plan: &mut Plan) {
        let moved = touched.addresses.iter().flat_map(|address| self.at(*address));
        touched.backends.extend(moved);
        touched.backends.sort_unstable();
        touched.backends.dedup();
        for id in touched.backends.iter().copied() {
            let Some(known) = self.get(id) else { continue };
            if !known.is_held() && !known.is_used() {
                // It came and went before anybody was told of it.
                self.forget(id);
                continue;
            }
            let wanted = known.wanted(places);
            if known.entry == wanted {
                continue;
            }
            if !known.is_held() {
                self.held += 1;
                plan.fresh.push(id);
            }
            plan.backends.push((id, wanted));
            self.known[id.0 as usize].entry = wanted;
        }
    }
}
