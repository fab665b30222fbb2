//! What an update has to look at: everything after adoption, else only what differs.

use std::{collections::BTreeSet, net::Ipv4Addr};

use beeline_abi::{BackendId, FrontendKey, ServiceId};
use beeline_tables::{Diff, Difference, ObjectName, Snapshot};

use crate::{Entries, Facts};

/// Keys that may have changed. Looking at too many is harmless.
#[derive(Debug, Default)]
pub(super) struct Touched {
    pub(super) services: BTreeSet<ObjectName>,
    pub(super) addresses: BTreeSet<Ipv4Addr>,
    pub(super) cookies: BTreeSet<u64>,
    pub(super) nodes: bool,
    /// Filled while Services are compiled.
    pub(super) ids: BTreeSet<ServiceId>,
    pub(super) frontends: BTreeSet<FrontendKey>,
    pub(super) backends: BTreeSet<BackendId>,
}

impl Touched {
    /// All that is wanted and all that the maps hold.
    pub(super) fn everything(snapshot: &Snapshot, facts: &Facts, entries: &Entries) -> Self {
        let mut touched = Self {
            services: snapshot.services.keys().cloned().collect(),
            addresses: snapshot.endpoints_at.keys().copied().collect(),
            nodes: true,
            ids: entries.slots.keys().map(|slot| slot.service_id).collect(),
            frontends: entries.frontends.keys().copied().collect(),
            backends: entries.backends.keys().copied().collect(),
            cookies: entries.netns.keys().copied().collect(),
        };
        touched.addresses.extend(snapshot.nodes.values().map(|node| node.internal_ip));
        touched.addresses.extend(entries.endpoints.keys().map(|key| Ipv4Addr::from(*key)));
        touched.own(facts);
        touched
    }

    /// What differs between two states.
    pub(super) fn between(old: (&Snapshot, &Facts), new: (&Snapshot, &Facts)) -> Self {
        let mut touched = Self::default();
        touched.services(old.0, new.0);
        touched.addresses(old.0, new.0);
        let node_moved = old.1.node != new.1.node || touched.nodes;
        if old.1 != new.1 || node_moved {
            touched.own(old.1);
            touched.own(new.1);
        }
        // An identity stands in the entry of the address and in that of the namespace.
        let attached = touched.addresses.iter().filter_map(|address| new.1.attached.get(address));
        touched.cookies.extend(attached.map(|attached| attached.netns_cookie));
        if old.1.node != new.1.node {
            // Traffic policies and host addresses depend on the name; it never changes while a process runs.
            touched.services.extend(new.0.services.keys().cloned());
        }
        touched
    }

    /// What this node's own facts concern, before and after.
    pub(super) fn own_only(old: &Facts, new: &Facts) -> Self {
        let mut touched = Self::default();
        touched.own(old);
        touched.own(new);
        touched
    }

    fn services(&mut self, old: &Snapshot, new: &Snapshot) {
        for difference in old.services.differences(&new.services) {
            let (Difference::Added(name, _)
            | Difference::Changed(name, ..)
            | Difference::Removed(name, _)) = difference;
            self.services.insert(name);
        }
        for difference in old.slices.differences(&new.slices) {
            match difference {
                Difference::Added(_, slice) | Difference::Removed(_, slice) => {
                    self.services.insert(slice.service.clone());
                }
                Difference::Changed(_, before, after) => {
                    self.services.extend([before.service.clone(), after.service.clone()]);
                }
            }
        }
    }

    fn addresses(&mut self, old: &Snapshot, new: &Snapshot) {
        for difference in old.endpoints_at.differences(&new.endpoints_at) {
            let (Difference::Added(address, _)
            | Difference::Changed(address, ..)
            | Difference::Removed(address, _)) = difference;
            self.addresses.insert(address);
        }
        for difference in old.nodes.differences(&new.nodes) {
            self.nodes = true;
            match difference {
                Difference::Added(_, node) | Difference::Removed(_, node) => {
                    self.addresses.insert(node.internal_ip);
                }
                Difference::Changed(_, before, after) => {
                    self.addresses.extend([before.internal_ip, after.internal_ip]);
                }
            }
        }
    }

    /// This node's own addresses and namespaces: few, so that all are looked at when one changes.
    fn own(&mut self, facts: &Facts) {
        self.addresses.extend(&facts.host_addresses);
        self.addresses.extend(facts.attached.keys());
        self.cookies.extend(facts.host_netns);
        self.cookies.extend(facts.attached.values().map(|attached| attached.netns_cookie));
    }
}
