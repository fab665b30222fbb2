//! Backend lists: where they lie, and when they have to be new ones.

use std::{collections::BTreeMap, sync::Arc};

use beeline_abi::{BackendId, List, ListId, maps};

use super::{
    backends::Backends,
    port::{Port, Side},
};
use crate::{Entries, Plan, Run, maglev, plan::Overflow, runs::Runs};

/// Maglev tables are made while they leave this share of the array free; beyond it plain lists have to do, which spread as
/// evenly and only move more callers when backends change.
const TABLE_SHARE: u32 = 2;

/// The array of places.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    runs: Runs,
    /// Lists without a port: of adopted maps until a port takes them over, of removed ports until the plan is made.
    orphans: BTreeMap<ListId, Orphan>,
    last: u32,
    /// Places that found no room.
    missed: usize,
}

/// A list without a port.
#[derive(Clone, Debug)]
pub(super) struct Orphan {
    pub(super) run: Run,
    /// Whether its places are its own. Two lists in one place cannot come from us; nobody takes over the second.
    lies: bool,
}

impl Orphan {
    fn count(&self) -> u32 {
        u32::try_from(self.run.places.len()).unwrap_or(u32::MAX)
    }
}

impl Lists {
    pub(super) fn adopt(entries: &Entries, limit: u32) -> Self {
        let mut lists = Self {
            runs: Runs::new(limit),
            orphans: BTreeMap::new(),
            last: entries.last_list.0,
            missed: 0,
        };
        for (id, run) in &entries.lists {
            let mut orphan = Orphan { run: run.clone(), lies: false };
            orphan.lies = lists.runs.claim(run.first, orphan.count());
            lists.orphans.insert(*id, orphan);
            lists.last = lists.last.max(id.0);
        }
        lists
    }

    /// What did not fit, if anything.
    pub(super) fn overflow(&self) -> Option<Overflow> {
        (self.missed > 0).then(|| Overflow {
            map: maps::BACKEND_SLOTS,
            limit: self.runs.limit(),
            wanted: self.runs.used() as usize + self.missed,
        })
    }

    /// Places in use.
    pub(super) fn used(&self) -> usize {
        self.runs.used() as usize
    }

    /// The number that was given last.
    #[cfg(test)]
    pub(super) fn last(&self) -> ListId {
        ListId(self.last)
    }

    /// Lists without a port.
    #[cfg(test)]
    pub(super) fn orphans(&self) -> impl Iterator<Item = (&ListId, &Orphan)> {
        self.orphans.iter()
    }

    /// A side that begins with an orphan's list, if there is one that is whole; else without any.
    pub(super) fn take_over(&mut self, list: List) -> Side {
        let fits = |it: &Orphan| it.lies && it.run.first == list.first && it.count() == list.count;
        if !self.orphans.get(&list.id).is_some_and(fits) {
            return Side::default();
        }
        let orphan = self.orphans.remove(&list.id);
        let places = orphan.map(|it| it.run.places).unwrap_or_default();
        Side { list, places, ..Side::default() }
    }

    /// A side is no more: its list is free once the plan is carried out, unless another takes it over.
    pub(super) fn abandon(&mut self, side: &Side) {
        if side.list.count > 0 {
            let run = Run { first: side.list.first, places: Arc::clone(&side.places) };
            self.orphans.insert(side.list.id, Orphan { run, lies: true });
        }
    }

    /// New lists for a port whose backends changed, and none if no frontend leads there.
    pub(super) fn plan(
        &mut self,
        port: &mut Port,
        led_to: bool,
        backends: &Backends,
        plan: &mut Plan,
    ) {
        for side in port.sides_mut() {
            let wanted = if led_to { self.wanted(side, backends) } else { Arc::default() };
            if *side.places == *wanted {
                // The same numbers in one memory.
                side.places = wanted;
                continue;
            }
            self.abandon(side);
            let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
            side.list = self.take(count);
            if side.list.count > 0 {
                let run = Run { first: side.list.first, places: Arc::clone(&wanted) };
                plan.lists.push((side.list.id, run));
            }
            side.places = wanted;
        }
    }

    /// Plans that lists which found no port are free; they are so after [`Lists::free`].
    pub(super) fn plan_orphans(&self, plan: &mut Plan) {
        let lists = self.orphans.iter().map(|(id, orphan)| List {
            first: orphan.run.first,
            count: if orphan.lies { orphan.count() } else { 0 },
            id: *id,
        });
        plan.gone.lists.extend(lists);
    }

    /// The plan is made: the runs of its orphans are free for later ones.
    pub(super) fn free(&mut self, plan: &Plan) {
        for list in &plan.gone.lists {
            self.orphans.remove(&list.id);
            self.runs.give(list.first, list.count);
        }
    }

    /// A new list of so many places; the empty one when there is no room, which [`Lists::overflow`] tells.
    fn take(&mut self, count: u32) -> List {
        if count == 0 {
            return List::default();
        }
        let Some(first) = self.runs.take(count) else {
            self.missed += count as usize;
            return List::default();
        };
        self.last = self.last.wrapping_add(1).max(1);
        List { first, count, id: ListId(self.last) }
    }

    fn has_room_for_table(&self, size: u32) -> bool {
        u64::from(self.runs.used()) + u64::from(size) <= u64::from(self.runs.limit() / TABLE_SHARE)
    }

    /// Who is to stand where for one side; what the side has is kept where it is as good.
    fn wanted(&self, side: &Side, backends: &Backends) -> Arc<[BackendId]> {
        let size = if side.balanced { maglev::size(side.backends.len()) } else { 0 };
        let has_table = side.places.len() == size as usize;
        if size <= 1 || !(has_table || self.has_room_for_table(size)) {
            return Arc::clone(&side.backends);
        }
        let addresses: Vec<_> =
            side.backends.iter().filter_map(|id| backends.address(*id)).collect();
        let table = maglev::table(&addresses);
        table.into_iter().filter_map(|index| side.backends.get(index).copied()).collect()
    }
}
