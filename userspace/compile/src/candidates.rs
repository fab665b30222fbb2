//! Which backends may serve, for callers of one side: kube-proxy's rules, whole.
//!
//! Ready ones; when there are none, those that still serve while they end. Hints (KEP-2433, KEP-3015) narrow the choice
//! to this node or this zone, if every ready backend carries one and one of them is meant for callers here.
//! `pkg/proxy/topology.go` of Kubernetes is what this has to agree with.

use std::{collections::BTreeMap, net::IpAddr};

use beeline_tables::{Backend, NodeName, Service, ServicePort, Slice, SlicePort, Snapshot};

use crate::Facts;

/// One backend of a Service port, over all slices that name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Candidate {
    ready: bool,
    /// Serves while it ends.
    ending: bool,
    pub(crate) local: bool,
    for_node: Hint,
    for_zone: Hint,
}

/// Whose callers a backend is meant for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Hint {
    /// Nobody said.
    #[default]
    None,
    /// Others.
    Elsewhere,
    /// Callers here.
    Here,
}

/// Address and port of a backend.
pub(crate) type Address = (IpAddr, u16);

/// Those who may serve callers of one side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// In the order of addresses, each with whether it is on this node.
    pub(crate) backends: Vec<(Address, bool)>,
    /// All of them are ending, and serve because nothing else is left.
    pub(crate) terminating: bool,
}

/// Every backend of one family behind a Service port.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates(BTreeMap<Address, Candidate>);

impl Candidates {
    /// Reads the slices of a Service, each with the port that it gives to the port's name.
    pub(crate) fn find(
        snapshot: &Snapshot,
        facts: &Facts,
        service: &Service,
        port: &ServicePort,
        ipv4: bool,
    ) -> Self {
        let zone = snapshot.nodes.get(&facts.node).and_then(|node| node.zone.as_deref());
        let mut found = Self::default();
        for slice in snapshot.slices_for(&service.name) {
            let Some(target) = target(slice, port) else { continue };
            for backend in slice.backends.iter().filter(|it| it.address.is_ipv4() == ipv4) {
                found.add(backend, target, facts, zone);
            }
        }
        found
    }

    fn add(&mut self, backend: &Backend, port: u16, facts: &Facts, zone: Option<&str>) {
        let candidate = self.0.entry((backend.address, port)).or_default();
        candidate.ready |= backend.ready;
        candidate.ending |= backend.serving && backend.terminating;
        candidate.local |= backend.node.as_ref() == Some(&facts.node)
            || facts.host_addresses.contains(&backend.address);
        candidate.for_node = candidate.for_node.max(node_hint(backend, &facts.node));
        candidate.for_zone = candidate.for_zone.max(zone_hint(backend, zone));
    }

    /// For callers who may be sent anywhere.
    pub(crate) fn anywhere(&self) -> Chosen {
        let narrowed = self.narrowed();
        self.choose(|it| it.ready && narrowed(it), |it| it.ending)
    }

    /// For callers who must stay on this node.
    pub(crate) fn on_this_node(&self) -> Chosen {
        self.choose(|it| it.local && it.ready, |it| it.local && it.ending && !it.ready)
    }

    /// Whether somebody serves, wherever.
    pub(crate) fn exist(&self) -> bool {
        self.0.values().any(|it| it.ready || it.ending)
    }

    fn choose(
        &self,
        first: impl Fn(&Candidate) -> bool,
        fallback: impl Fn(&Candidate) -> bool,
    ) -> Chosen {
        let backends = self.pick(first);
        if !backends.is_empty() {
            return Chosen { backends, terminating: false };
        }
        let backends = self.pick(fallback);
        let terminating = !backends.is_empty();
        Chosen { backends, terminating }
    }

    fn pick(&self, fit: impl Fn(&Candidate) -> bool) -> Vec<(Address, bool)> {
        self.0.iter().filter(|(_, it)| fit(it)).map(|(key, it)| (*key, it.local)).collect()
    }

    /// What hints leave over: this node's, else this zone's, else all.
    fn narrowed(&self) -> fn(&Candidate) -> bool {
        let useful = |hint: fn(&Candidate) -> Hint| {
            let mut ready = self.0.values().filter(|it| it.ready).map(hint).peekable();
            let known = ready.peek().is_some();
            let least = ready.clone().min().unwrap_or_default();
            known && least > Hint::None && ready.any(|hint| hint == Hint::Here)
        };
        if useful(|it| it.for_node) {
            |it| it.for_node == Hint::Here
        } else if useful(|it| it.for_zone) {
            |it| it.for_zone == Hint::Here
        } else {
            |_| true
        }
    }
}

fn target(slice: &Slice, port: &ServicePort) -> Option<u16> {
    let named = |it: &&SlicePort| it.name == port.name && it.protocol == port.protocol;
    slice.ports.iter().find(named).map(|found| found.port)
}

fn node_hint(backend: &Backend, node: &NodeName) -> Hint {
    match &backend.hints {
        Some(hints) if !hints.nodes.is_empty() => here(hints.nodes.contains(node)),
        _ => Hint::None,
    }
}

fn zone_hint(backend: &Backend, zone: Option<&str>) -> Hint {
    match &backend.hints {
        Some(hints) if !hints.zones.is_empty() => {
            here(zone.is_some_and(|zone| hints.zones.iter().any(|it| **it == *zone)))
        }
        _ => Hint::None,
    }
}

fn here(yes: bool) -> Hint {
    if yes { Hint::Here } else { Hint::Elsewhere }
}
