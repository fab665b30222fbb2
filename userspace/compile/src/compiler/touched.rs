//! What an update has to look at: everything after adoption, else only what differs.

use std::{collections::BTreeSet, net::IpAddr};

use beeline_abi::{BackendId, FrontendKey, ServiceId};
use beeline_tables::{Diff, Difference, ObjectName, Snapshot};

use super::port::PortIndex;
use crate::{Facts, host_ports};

/// Keys that may have changed. Looking at too many is harmless; the vectors, filled while Services are compiled, may name
/// one twice.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// All Services that there are; the names below are others then.
    pub(super) every_service: bool,
    /// Services, and Pods with host ports.
    pub(super) names: BTreeSet<ObjectName>,
    pub(super) addresses: BTreeSet<IpAddr>,
    pub(super) cookies: BTreeSet<u64>,
    /// Nodes, or what else says what belongs to the cluster.
    pub(super) nodes: bool,
    /// This node's own facts.
    pub(super) facts: bool,
    pub(super) ports: Vec<PortIndex>,
    /// Numbers of Service ports that may be nobody's.
    pub(super) ids: Vec<ServiceId>,
    pub(super) frontends: Vec<FrontendKey>,
    pub(super) backends: Vec<BackendId>,
}

impl Touched {
    /// All that is wanted. What the maps hold is the caller's to add.
    pub(super) fn everything(snapshot: &Snapshot, facts: &Facts) -> Self {
        let mut touched = Self { every_service: true, nodes: true, facts: true, ..Self::default() };
        let pods = snapshot.pods.values().filter(|intent| host_ports::any(&intent.pod));
        touched.names.extend(pods.map(|intent| intent.name.clone()));
        touched.addresses.extend(snapshot.endpoints_at.keys());
        let nodes = snapshot.nodes.values();
        touched.addresses.extend(nodes.flat_map(|node| node.internal_ips.iter().copied()));
        touched.own(facts);
        touched
    }

    /// What differs between two states.
    pub(super) fn between(old: (&Snapshot, &Facts), new: (&Snapshot, &Facts)) -> Self {
        let mut touched = Self::default();
        touched.services(old.0, new.0);
        touched.pods(old.0, new.0);
        touched.addresses(old.0, new.0);
        touched.facts = old.1 != new.1;
        if touched.facts || touched.nodes {
            touched.nodes = true;
            touched.own(old.1);
            touched.own(new.1);
        }
        // An identity stands in the entry of the address and in that of the namespace.
        let attached = touched.addresses.iter().filter_map(|address| new.1.attached.get(address));
        touched.cookies.extend(attached.map(|attached| attached.netns_cookie));
        if depends_on_place(old) != depends_on_place(new) {
            // Traffic policies, hints and whether a backend is on this node depend on these; they hardly ever change.
            touched.every_service = true;
        }
        touched
    }

    /// What this node's own facts concern, before and after.
    pub(super) fn own_only(old: &Facts, new: &Facts) -> Self {
        let mut touched = Self { facts: true, ..Self::default() };
        touched.own(old);
        touched.own(new);
        touched
    }

    /// Host ports stand in the Pod and need its address.
    fn pods(&mut self, old: &Snapshot, new: &Snapshot) {
        for difference in old.pods.differences(&new.pods) {
            let pods = match &difference {
                Difference::Added(_, pod) | Difference::Removed(_, pod) => [pod, pod],
                Difference::Changed(_, before, after) => [before, after],
            };
            self.names.extend(
                pods.iter().filter(|it| host_ports::any(&it.pod)).map(|it| it.name.clone()),
            );
        }
        for difference in old.endpoints.differences(&new.endpoints) {
            let (Difference::Added(name, _)
            | Difference::Changed(name, ..)
            | Difference::Removed(name, _)) = difference;
            if new.pods.get(&name).is_some_and(|intent| host_ports::any(&intent.pod)) {
                self.names.insert(name);
            }
        }
    }

    fn services(&mut self, old: &Snapshot, new: &Snapshot) {
        for difference in old.services.differences(&new.services) {
            let (Difference::Added(name, _)
            | Difference::Changed(name, ..)
            | Difference::Removed(name, _)) = difference;
            self.names.insert(name);
        }
        for difference in old.slices.differences(&new.slices) {
            match difference {
                Difference::Added(_, slice) | Difference::Removed(_, slice) => {
                    self.names.insert(slice.service.clone());
                }
                Difference::Changed(_, before, after) => {
                    self.names.extend([before.service.clone(), after.service.clone()]);
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
                    self.addresses.extend(&node.internal_ips);
                }
                Difference::Changed(_, before, after) => {
                    self.addresses.extend(before.internal_ips.iter().chain(&after.internal_ips));
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

/// What of a node's place decides which backends its callers have.
fn depends_on_place<'a>(
    (snapshot, facts): (&'a Snapshot, &'a Facts),
) -> (&'a str, Option<&'a str>, &'a BTreeSet<IpAddr>) {
    let zone = snapshot.nodes.get(&facts.node).and_then(|node| node.zone.as_deref());
    (&facts.node.0, zone, &facts.host_addresses)
}
