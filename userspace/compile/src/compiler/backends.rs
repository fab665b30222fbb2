//! Backend ids, who uses them, and their entries. Ids are places in an array: low numbers, used again as late as possible.

use std::{collections::BTreeMap, net::IpAddr};

use beeline_abi::{BACKEND_LOCAL, Backend, BackendId, BackendState, Be16, Proto, maps};

use super::touched::Touched;
use crate::{Entries, Plan, places::Places, plan::Overflow};

/// Address, port and protocol number.
pub(super) type Place = (IpAddr, u16, u8);

/// Every backend with an id, in lists or draining.
#[derive(Clone, Debug)]
pub(super) struct Backends {
    ids: BTreeMap<Place, BackendId>,
    known: BTreeMap<BackendId, Known>,
    last: u32,
    /// Ids are below.
    limit: u32,
    /// Backends that found no id.
    missed: usize,
}

/// One backend and how many lists name it.
#[derive(Clone, Copy, Debug)]
struct Known {
    place: Place,
    local: bool,
    active: u32,
    terminating: u32,
}

impl Known {
    fn new(place: Place) -> Self {
        Self { place, local: false, active: 0, terminating: 0 }
    }

    fn is_used(&self) -> bool {
        self.active > 0 || self.terminating > 0
    }

    fn uses(&mut self, terminating: bool) -> &mut u32 {
        if terminating { &mut self.terminating } else { &mut self.active }
    }
}

impl Backends {
    pub(super) fn adopt(entries: &Entries, limit: u32) -> Self {
        let mut adopted =
            Self { ids: BTreeMap::new(), known: BTreeMap::new(), last: 0, limit, missed: 0 };
        for (id, backend) in &entries.backends {
            let place = (backend.addr.into(), backend.port.to_host(), backend.proto);
            // Two entries for one place cannot come from us; the second stays without users and is drained away.
            adopted.ids.entry(place).or_insert(*id);
            adopted.known.insert(*id, Known::new(place));
            adopted.last = adopted.last.max(id.0);
        }
        adopted
    }

    /// What did not fit, if anything.
    pub(super) fn overflow(&self) -> Option<Overflow> {
        (self.missed > 0).then(|| Overflow {
            map: maps::BACKENDS,
            limit: self.limit.saturating_sub(1),
            wanted: self.known.len() + self.missed,
        })
    }

    /// The id of a backend, a new one if it has none; zero when there is no room, which [`Backends::overflow`] tells.
    pub(super) fn id(&mut self, place: Place, local: bool) -> BackendId {
        let id = match self.ids.get(&place) {
            Some(id) => *id,
            None => {
                let Some(id) = self.fresh() else { return BackendId(0) };
                self.ids.insert(place, id);
                self.known.insert(id, Known::new(place));
                id
            }
        };
        if let Some(known) = self.known.get_mut(&id) {
            known.local = local;
        }
        id
    }

    /// The next free number, round and round, so that a number rests before it means somebody else.
    fn fresh(&mut self) -> Option<BackendId> {
        for _ in 1..self.limit {
            self.last = if self.last + 1 < self.limit { self.last + 1 } else { 1 };
            if !self.known.contains_key(&BackendId(self.last)) {
                return Some(BackendId(self.last));
            }
        }
        self.missed += 1;
        None
    }

    pub(super) fn acquire(&mut self, list: &[BackendId], terminating: bool) {
        for id in list {
            if let Some(known) = self.known.get_mut(id) {
                *known.uses(terminating) += 1;
            }
        }
    }

    pub(super) fn release(&mut self, list: &[BackendId], terminating: bool) {
        for id in list {
            if let Some(known) = self.known.get_mut(id) {
                let uses = known.uses(terminating);
                *uses = uses.saturating_sub(1);
            }
        }
    }

    /// Those with an entry and without a user.
    pub(super) fn idle(&self, entries: &Entries) -> Vec<BackendId> {
        let idle = |id: &&BackendId| self.known.get(id).is_none_or(|known| !known.is_used());
        entries.backends.keys().filter(idle).copied().collect()
    }

    /// Give an id back, unless somebody uses it.
    pub(super) fn forget(&mut self, id: BackendId) -> bool {
        let Some(known) = self.known.get(&id) else { return false };
        if known.is_used() {
            return false;
        }
        if self.ids.get(&known.place) == Some(&id) {
            self.ids.remove(&known.place);
        }
        self.known.remove(&id);
        true
    }

    pub(super) fn plan(
        &self,
        places: &Places<'_>,
        entries: &Entries,
        touched: &Touched,
        plan: &mut Plan,
    ) {
        let moved = touched.addresses.iter().flat_map(|address| self.at(*address));
        for id in touched.backends.iter().copied().chain(moved) {
            let Some(wanted) = self.entry(id, places, entries) else { continue };
            let held = entries.backends.get(&id);
            if held.is_none() {
                plan.fresh.insert(id);
            }
            if held != Some(&wanted) {
                plan.backends.insert(id, wanted);
            }
        }
    }

    fn at(&self, address: IpAddr) -> impl Iterator<Item = BackendId> + '_ {
        self.ids.range((address, 0, 0)..=(address, u16::MAX, u8::MAX)).map(|(_, id)| *id)
    }

    /// The entry of a backend; without users, the one that it has, marked as draining.
    fn entry(&self, id: BackendId, places: &Places<'_>, entries: &Entries) -> Option<Backend> {
        let known = self.known.get(&id)?;
        if !known.is_used() {
            let held = entries.backends.get(&id)?;
            return Some(Backend { state: BackendState::Draining as u8, ..*held });
        }
        let state = if known.active > 0 { BackendState::Active } else { BackendState::Terminating };
        let (address, port, proto) = known.place;
        let proto = Proto::from_raw(proto)?;
        let identity = places.identity(address);
        let entry = Backend::new(address.into(), Be16::from_host(port), proto, state, identity);
        let local = known.local || places.facts.attached.contains_key(&address);
        Some(Backend { flags: if local { BACKEND_LOCAL } else { 0 }, ..entry })
    }
}
