//! Backend ids, who uses them, and their entries.

use std::{collections::BTreeMap, net::Ipv4Addr};

use beeline_abi::{Backend, BackendId, BackendState, Be16, Proto};

use super::touched::Touched;
use crate::{Entries, Plan, places::Places};

/// Address, port and protocol number.
pub(super) type Place = (Ipv4Addr, u16, u8);

/// Every backend with an id, in slots or draining.
#[derive(Clone, Debug, Default)]
pub(super) struct Backends {
    ids: BTreeMap<Place, BackendId>,
    places: BTreeMap<BackendId, Place>,
    uses: BTreeMap<BackendId, Uses>,
    last: u32,
}

/// How many lists name a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Uses {
    active: u32,
    terminating: u32,
}

impl Backends {
    pub(super) fn adopt(entries: &Entries) -> Self {
        let mut adopted = Self::default();
        for (id, backend) in &entries.backends {
            let place = (backend.addr.into(), backend.port.to_host(), backend.proto);
            // Two entries for one place cannot come from us; the second stays without users and is drained away.
            adopted.ids.entry(place).or_insert(*id);
            adopted.places.insert(*id, place);
            adopted.last = adopted.last.max(id.0);
        }
        adopted
    }

    pub(super) fn id(&mut self, place: Place) -> BackendId {
        if let Some(id) = self.ids.get(&place) {
            return *id;
        }
        let id = self.fresh();
        self.ids.insert(place, id);
        self.places.insert(id, place);
        id
    }

    fn fresh(&mut self) -> BackendId {
        loop {
            self.last = self.last.wrapping_add(1).max(1);
            if !self.places.contains_key(&BackendId(self.last)) {
                return BackendId(self.last);
            }
        }
    }

    pub(super) fn acquire(&mut self, list: &[BackendId], terminating: bool) {
        for id in list {
            let uses = self.uses.entry(*id).or_default();
            *uses.kind(terminating) += 1;
        }
    }

    pub(super) fn release(&mut self, list: &[BackendId], terminating: bool) {
        for id in list {
            let Some(uses) = self.uses.get_mut(id) else { continue };
            let count = uses.kind(terminating);
            *count = count.saturating_sub(1);
            if *uses == Uses::default() {
                self.uses.remove(id);
            }
        }
    }

    /// Those with an entry and without a user.
    pub(super) fn idle(&self, entries: &Entries) -> Vec<BackendId> {
        entries.backends.keys().filter(|id| !self.uses.contains_key(id)).copied().collect()
    }

    /// Give an id back, unless somebody uses it.
    pub(super) fn forget(&mut self, id: BackendId) -> bool {
        if self.uses.contains_key(&id) {
            return false;
        }
        let Some(place) = self.places.remove(&id) else { return false };
        if self.ids.get(&place) == Some(&id) {
            self.ids.remove(&place);
        }
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
            if entries.backends.get(&id) != Some(&wanted) {
                plan.backends.insert(id, wanted);
            }
        }
    }

    fn at(&self, address: Ipv4Addr) -> impl Iterator<Item = BackendId> + '_ {
        self.ids.range((address, 0, 0)..=(address, u16::MAX, u8::MAX)).map(|(_, id)| *id)
    }

    /// The entry of a backend; without users, the one that it has, marked as draining.
    fn entry(&self, id: BackendId, places: &Places<'_>, entries: &Entries) -> Option<Backend> {
        let (address, port, proto) = *self.places.get(&id)?;
        let state = match self.uses.get(&id) {
            Some(Uses { active: 0, .. }) => BackendState::Terminating,
            Some(_) => BackendState::Active,
            None => {
                let held = entries.backends.get(&id)?;
                return Some(Backend { state: BackendState::Draining as u8, ..*held });
            }
        };
        let proto = Proto::from_raw(proto)?;
        let identity = places.identity(address);
        Some(Backend::new(address.into(), Be16::from_host(port), proto, state, identity))
    }
}

impl Uses {
    fn kind(&mut self, terminating: bool) -> &mut u32 {
        if terminating { &mut self.terminating } else { &mut self.active }
    }
}
