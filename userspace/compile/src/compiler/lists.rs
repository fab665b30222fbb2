//! Backend lists: where they lie, when they have to be new ones, and what else hangs on a Service port's backends.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use beeline_abi::{AffinityOkKey, BackendId, List, ListId, Scope, ServiceId, maps};

use super::{
    Compiler,
    port::{Port, Side},
    touched::Touched,
};
use crate::{
    Entries, Plan, Run, SourceRange, maglev, plan::Overflow, ports::WantedPort, runs::Runs,
};

/// Maglev tables are made while they leave this share of the array free; beyond it plain lists have to do, which spread as
/// evenly and only move more callers when backends change.
const TABLE_SHARE: u32 = 2;

/// The array of places.
#[derive(Clone, Debug)]
pub(super) struct Lists {
    runs: Runs,
    lying: BTreeMap<ListId, List>,
    last: u32,
    /// Places that found no room.
    missed: usize,
}

impl Lists {
    pub(super) fn adopt(entries: &Entries, limit: u32) -> Self {
        let mut lists = Self {
            runs: Runs::new(limit),
            lying: BTreeMap::new(),
            last: entries.last_list.0,
            missed: 0,
        };
        for (id, run) in &entries.lists {
            let count = u32::try_from(run.places.len()).unwrap_or(u32::MAX);
            // Two lists in one place cannot come from us; the second is made anew elsewhere.
            if lists.runs.claim(run.first, count) {
                lists.lying.insert(*id, List { first: run.first, count, id: *id });
            }
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

    /// The run of a list is free again.
    pub(super) fn give(&mut self, id: ListId) {
        if let Some(list) = self.lying.remove(&id) {
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
        let list = List { first, count, id: ListId(self.last) };
        self.lying.insert(list.id, list);
        list
    }

    fn has_room_for_table(&self, size: u32) -> bool {
        u64::from(self.runs.used()) + u64::from(size) <= u64::from(self.runs.limit() / TABLE_SHARE)
    }

    /// Who stands where for one side; what the side had is kept where it is as good.
    fn places(&self, side: &Side, held: &[BackendId]) -> Arc<[BackendId]> {
        let size = maglev::size(side.addresses.len());
        if size <= 1 || !(held.len() == size as usize || self.has_room_for_table(size)) {
            return Arc::clone(&side.backends);
        }
        let table = maglev::table(&side.addresses);
        table.into_iter().filter_map(|index| side.backends.get(index).copied()).collect()
    }
}

impl Compiler {
    /// New lists for the ports whose backends changed, and none for those that no frontend leads to.
    pub(super) fn relist(&mut self, touched: &Touched, everything: bool, plan: &mut Plan) {
        for id in &touched.ids {
            match self.owners.get(id).and_then(|key| self.ports.remove_entry(key)) {
                Some((key, mut port)) => {
                    let led_to =
                        port.frontends.iter().any(|it| self.first_claim(*it) == Some(&key));
                    self.relist_side(&mut port.inside, led_to, plan);
                    if let Some(side) = &mut port.outside {
                        self.relist_side(side, led_to, plan);
                    }
                    self.plan_allowed(*id, Some(&port).filter(|_| led_to), plan);
                    self.ports.insert(key, port);
                }
                None => self.plan_allowed(*id, None, plan),
            }
        }
        let held = &self.entries.lists;
        plan.gone.lists.extend(touched.dropped.iter().filter(|id| held.contains_key(id)));
        if everything {
            let named: BTreeSet<ListId> = self
                .ports
                .values()
                .flat_map(|port| port.sides().map(|side| side.list.id))
                .collect();
            plan.gone.lists.extend(held.keys().filter(|id| !named.contains(id)));
        }
    }

    fn relist_side(&mut self, side: &mut Side, led_to: bool, plan: &mut Plan) {
        let held = self.entries.places_of(&side.list);
        let lies = self.lists.lying.get(&side.list.id) == Some(&side.list) || side.list.count == 0;
        let wanted = if led_to { self.lists.places(side, held) } else { Arc::default() };
        if lies && *held == *wanted && side.list.count as usize == wanted.len() {
            return;
        }
        if self.entries.lists.contains_key(&side.list.id) {
            plan.gone.lists.insert(side.list.id);
        }
        let count = u32::try_from(wanted.len()).unwrap_or(u32::MAX);
        side.list = self.lists.take(count);
        if side.list.count > 0 {
            plan.lists.insert(side.list.id, Run { first: side.list.first, places: wanted });
        }
    }

    /// Who a client may stay with, and who may call at all. `None`: nobody leads there any more.
    fn plan_allowed(&self, id: ServiceId, port: Option<&Port>, plan: &mut Plan) {
        let wanted: BTreeSet<AffinityOkKey> = port.map(affinity_of).unwrap_or_default();
        let held = affinity_held(&self.entries, id);
        plan.affinity_ok.extend(wanted.iter().filter(|key| !held.contains(key)));
        plan.gone.affinity_ok.extend(held.into_iter().filter(|key| !wanted.contains(key)));
        let ranges = port.map(|port| port.source_ranges.as_slice()).unwrap_or_default();
        let wanted: BTreeSet<SourceRange> = WantedPort::source_ranges_of(ranges, id).collect();
        let held = ranges_held(&self.entries, id);
        plan.source_ranges.extend(wanted.iter().filter(|range| !held.contains(range)));
        plan.gone.source_ranges.extend(held.into_iter().filter(|range| !wanted.contains(range)));
    }
}

fn affinity_of(port: &Port) -> BTreeSet<AffinityOkKey> {
    if port.affinity_s == 0 {
        return BTreeSet::new();
    }
    let keys = |side: &Side, scope: Scope| {
        let key = move |backend_id: &BackendId| AffinityOkKey {
            service_id: port.id,
            backend_id: *backend_id,
            scope: scope as u32,
        };
        side.backends.iter().map(key).collect::<Vec<_>>()
    };
    let inside = keys(&port.inside, Scope::Inside);
    inside.into_iter().chain(keys(port.outside(), Scope::Outside)).collect()
}

fn affinity_held(entries: &Entries, id: ServiceId) -> BTreeSet<AffinityOkKey> {
    let first = AffinityOkKey { service_id: id, ..AffinityOkKey::default() };
    let last = AffinityOkKey { service_id: id, backend_id: BackendId(u32::MAX), scope: u32::MAX };
    entries.affinity_ok.range(first..=last).copied().collect()
}

fn ranges_held(entries: &Entries, id: ServiceId) -> BTreeSet<SourceRange> {
    let first = SourceRange { service_id: id, bits: 0, addr: beeline_abi::Addr::NONE };
    let ranges = entries.source_ranges.range(first..);
    ranges.take_while(|range| range.service_id == id).copied().collect()
}
