//! What the maps hold beside Services, their lists and backends: who is where, and who may call.

use std::collections::{BTreeMap, BTreeSet};

use beeline_abi::{
    Addr, AffinityOkKey, BackendId, Endpoint, NetnsOwner, RangeKey, Scope, ServiceId,
};

use super::{
    port::{Port, Side},
    touched::Touched,
};
use crate::{Entries, Plan, SourceRange, places::Places, ports::WantedPort};

/// The entries, as in [`Entries`].
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    pub(super) endpoints: BTreeMap<Addr, Endpoint>,
    pub(super) netns: BTreeMap<u64, NetnsOwner>,
    pub(super) ranges: BTreeMap<RangeKey, u32>,
    pub(super) node_addresses: BTreeMap<Addr, u32>,
    pub(super) affinity_ok: BTreeSet<AffinityOkKey>,
    pub(super) source_ranges: BTreeSet<SourceRange>,
}

impl Held {
    pub(super) fn adopt(entries: &Entries) -> Self {
        Self {
            endpoints: entries.endpoints.clone(),
            netns: entries.netns.clone(),
            ranges: entries.ranges.clone(),
            node_addresses: entries.node_addresses.clone(),
            affinity_ok: entries.affinity_ok.clone(),
            source_ranges: entries.source_ranges.clone(),
        }
    }

    /// Service ports that somebody may call or stay with.
    pub(super) fn ids(&self) -> impl Iterator<Item = ServiceId> + '_ {
        let with_affinity = self.affinity_ok.iter().map(|key| key.service_id);
        with_affinity.chain(self.source_ranges.iter().map(|range| range.service_id))
    }

    /// Who is where.
    pub(super) fn plan_places(&self, places: &Places<'_>, touched: &Touched, plan: &mut Plan) {
        for address in &touched.addresses {
            let (key, wanted) = (Addr::from(*address), places.endpoint(*address));
            settle(key, wanted, &self.endpoints, &mut plan.endpoints, &mut plan.gone.endpoints);
        }
        for cookie in &touched.cookies {
            let wanted = places.owner(*cookie);
            settle(*cookie, wanted, &self.netns, &mut plan.netns, &mut plan.gone.netns);
        }
        if touched.facts {
            let wanted = places.node_addresses();
            for key in wanted.keys().chain(self.node_addresses.keys()) {
                let (put, gone) = (&mut plan.node_addresses, &mut plan.gone.node_addresses);
                settle(*key, wanted.get(key).copied(), &self.node_addresses, put, gone);
            }
        }
        if touched.nodes {
            let wanted = places.ranges();
            for key in wanted.keys().chain(self.ranges.keys()) {
                let (put, gone) = (&mut plan.ranges, &mut plan.gone.ranges);
                settle(*key, wanted.get(key).copied(), &self.ranges, put, gone);
            }
        }
    }

    /// Who a client may stay with, and who may call at all. `None`: nobody leads there any more.
    pub(super) fn plan_allowed(&self, id: ServiceId, port: Option<&Port>, plan: &mut Plan) {
        let wanted: BTreeSet<AffinityOkKey> = port.map(affinity_of).unwrap_or_default();
        let held = self.affinity_of(id);
        plan.affinity_ok.extend(wanted.iter().filter(|key| !held.contains(key)));
        plan.gone.affinity_ok.extend(held.into_iter().filter(|key| !wanted.contains(key)));
        let ranges = port.map(|port| &*port.source_ranges).unwrap_or_default();
        let wanted: BTreeSet<SourceRange> = WantedPort::source_ranges_of(ranges, id).collect();
        let held = self.ranges_of(id);
        plan.source_ranges.extend(wanted.iter().filter(|range| !held.contains(range)));
        plan.gone.source_ranges.extend(held.into_iter().filter(|range| !wanted.contains(range)));
    }

    /// What a plan leaves.
    pub(super) fn apply(&mut self, plan: &Plan) {
        let Plan { gone, .. } = plan;
        put(&mut self.endpoints, &plan.endpoints, &gone.endpoints);
        put(&mut self.netns, &plan.netns, &gone.netns);
        put(&mut self.ranges, &plan.ranges, &gone.ranges);
        put(&mut self.node_addresses, &plan.node_addresses, &gone.node_addresses);
        self.affinity_ok.extend(&plan.affinity_ok);
        self.source_ranges.extend(&plan.source_ranges);
        for key in &gone.affinity_ok {
            self.affinity_ok.remove(key);
        }
        for range in &gone.source_ranges {
            self.source_ranges.remove(range);
        }
    }

    fn affinity_of(&self, id: ServiceId) -> BTreeSet<AffinityOkKey> {
        let first = AffinityOkKey { service_id: id, ..AffinityOkKey::default() };
        let (backend_id, scope) = (BackendId(u32::MAX), u32::MAX);
        let last = AffinityOkKey { service_id: id, backend_id, scope };
        self.affinity_ok.range(first..=last).copied().collect()
    }

    fn ranges_of(&self, id: ServiceId) -> BTreeSet<SourceRange> {
        let first = SourceRange { service_id: id, bits: 0, addr: Addr::NONE };
        let ranges = self.source_ranges.range(first..);
        ranges.take_while(|range| range.service_id == id).copied().collect()
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

/// Plans the write of one entry, or its removal, or nothing.
fn settle<K: Ord, V: PartialEq>(
    key: K,
    wanted: Option<V>,
    held: &BTreeMap<K, V>,
    put: &mut BTreeMap<K, V>,
    gone: &mut BTreeSet<K>,
) {
    match (wanted, held.get(&key)) {
        (Some(wanted), held) if held != Some(&wanted) => {
            put.insert(key, wanted);
        }
        (None, Some(_)) => {
            gone.insert(key);
        }
        _ => {}
    }
}

fn put<K: Ord + Copy, V: Copy>(
    held: &mut BTreeMap<K, V>,
    entries: &BTreeMap<K, V>,
    gone: &BTreeSet<K>,
) {
    held.extend(entries);
    for key in gone {
        held.remove(key);
    }
}
