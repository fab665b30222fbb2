//! Which backends may serve, for callers of one side: kube-proxy's rules, whole.
//!
//! Ready ones; when there are none, those that still serve while they end. Hints (KEP-2433, KEP-3015) narrow the choice
//! to this node or this zone, if every ready backend carries one and one of them is meant for callers here.
//! `pkg/proxy/topology.go` of Kubernetes is what this has to agree with.

use std::{net::IpAddr, sync::Arc};

use beeline_tables::{Backend, NodeName, ServicePort, Slice, SlicePort, Snapshot};
use smallvec::SmallVec;

use crate::Facts;

/// One backend of a Service port, over all slices that name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    address: Address,
    ready: bool,
    /// Serves while it ends.
    ending: bool,
    local: bool,
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
    pub(crate) backends: SmallVec<[(Address, bool); 4]>,
    /// All of them are ending, and serve because nothing else is left.
    pub(crate) terminating: bool,
}

/// Who asks: this node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here<'a> {
    pub(crate) facts: &'a Facts,
    zone: Option<&'a str>,
}

impl<'a> Here<'a> {
    pub(crate) fn new(snapshot: &'a Snapshot, facts: &'a Facts) -> Self {
        let zone = snapshot.nodes.get(&facts.node).and_then(|node| node.zone.as_deref());
        Self { facts, zone }
    }
}

/// Every backend of one family behind a Service port, in the order of addresses, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Candidates(SmallVec<[Candidate; 8]>);

impl Candidates {
    /// Reads the slices of a Service, each with the port that it gives to the port's name.
    pub(crate) fn find(
        slices: &[Arc<Slice>],
        here: Here<'_>,
        port: &ServicePort,
        ipv4: bool,
    ) -> Self {
        let mut found: SmallVec<[Candidate; 8]> = SmallVec::new();
        for slice in slices {
            let Some(target) = target(slice, port) else { continue };
            let of_family = slice.backends.iter().filter(|it| it.address.is_ipv4() == ipv4);
            found.extend(of_family.map(|backend| Candidate::new(backend, target, here)));
        }
        found.sort_unstable_by_key(|it| it.address);
        found.dedup_by(|again, first| first.address == again.address && first.take_in(again));
        Self(found)
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
        self.0.iter().any(|it| it.ready || it.ending)
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

    fn pick(&self, fit: impl Fn(&Candidate) -> bool) -> SmallVec<[(Address, bool); 4]> {
        self.0.iter().filter(|it| fit(it)).map(|it| (it.address, it.local)).collect()
    }

    /// What hints leave over: this node's, else this zone's, else all.
    fn narrowed(&self) -> fn(&Candidate) -> bool {
        let useful = |hint: fn(&Candidate) -> Hint| {
            let mut ready = self.0.iter().filter(|it| it.ready).map(hint).peekable();
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

impl Candidate {
    fn new(backend: &Backend, port: u16, here: Here<'_>) -> Self {
        let Here { facts, zone } = here;
        Self {
            address: (backend.address, port),
            ready: backend.ready,
            ending: backend.serving && backend.terminating,
            local: backend.node.as_ref() == Some(&facts.node)
                || facts.host_addresses.contains(&backend.address),
            for_node: node_hint(backend, &facts.node),
            for_zone: zone_hint(backend, zone),
        }
    }

    /// The same address in another slice: what one of them says is true. Always.
    fn take_in(&mut self, again: &Self) -> bool {
        self.ready |= again.ready;
        self.ending |= again.ending;
        self.local |= again.local;
        self.for_node = self.for_node.max(again.for_node);
        self.for_zone = self.for_zone.max(again.for_zone);
        true
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
