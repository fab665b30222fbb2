//! The entries as the maps hold them once every plan has been carried out, for comparison.

use crate::{Compiler, Entries, Run};

impl Compiler {
    pub(crate) fn entries(&self) -> Entries {
        let sides = self.ports.all().flat_map(|port| port.sides());
        let listed = sides.filter(|side| side.list.count > 0).map(|side| {
            (side.list.id, Run { first: side.list.first, places: side.places.clone() })
        });
        let orphans = self.lists.orphans().map(|(id, orphan)| (*id, orphan.run.clone()));
        let backends = self.backends.all();
        Entries {
            frontends: self.frontends.standing().map(|(key, it)| (*key, *it)).collect(),
            lists: listed.chain(orphans).collect(),
            last_list: self.lists.last(),
            backends: backends.filter_map(|id| Some((id, *self.backends.entry(id)?))).collect(),
            endpoints: self.held.endpoints.clone(),
            netns: self.held.netns.clone(),
            affinity_ok: self.held.affinity_ok.clone(),
            source_ranges: self.held.source_ranges.clone(),
            ranges: self.held.ranges.clone(),
            node_addresses: self.held.node_addresses.clone(),
        }
    }
}
