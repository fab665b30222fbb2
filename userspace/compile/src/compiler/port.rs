//! One Service port: who has its number, its frontends and its backends.

use std::sync::Arc;

use beeline_abi::{Addr, BackendId, FrontendKey, List, ServiceId};

use super::{Compiler, touched::Touched};
use crate::{
    PortKey,
    candidates::{Address, Chosen},
    ports::{Audience, WantedPort},
};

/// A Service port as compiled.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) id: ServiceId,
    pub(super) frontends: Vec<FrontendKey>,
    pub(super) inside: Side,
    /// `None`: the same as inside.
    pub(super) outside: Option<Side>,
    pub(super) affinity_s: u32,
    pub(super) source_ranges: Vec<(u32, Addr)>,
}

/// The backends of callers of one side.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    /// Where the list lies.
    pub(super) list: List,
    /// Who may serve, each once.
    pub(super) backends: Arc<[BackendId]>,
    /// Their addresses, for the table that all nodes must agree upon; empty for a plain list.
    pub(super) addresses: Vec<Address>,
    pub(super) terminating: bool,
}

impl Port {
    /// What callers outside have.
    pub(super) fn outside(&self) -> &Side {
        self.outside.as_ref().unwrap_or(&self.inside)
    }

    /// Both sides, the second only if it is another.
    pub(super) fn sides(&self) -> impl Iterator<Item = &Side> {
        std::iter::once(&self.inside).chain(&self.outside)
    }
}

impl Compiler {
    pub(super) fn remove_port(&mut self, key: &PortKey, touched: &mut Touched) {
        let Some(port) = self.ports.remove(key) else { return };
        self.host_ports -= usize::from(key.audience == Audience::HostPort);
        self.owners.remove(&port.id);
        touched.ids.insert(port.id);
        for frontend in &port.frontends {
            self.claims.remove(&(*frontend, key.clone()));
            touched.frontends.insert(*frontend);
        }
        for side in port.sides() {
            self.backends.release(&side.backends, side.terminating);
            touched.backends.extend(side.backends.iter());
            touched.dropped.insert(side.list.id);
        }
    }

    pub(super) fn put_port(&mut self, wanted: WantedPort, touched: &mut Touched) {
        let WantedPort { key, proto, frontends, inside, outside, affinity_s, source_ranges } =
            wanted;
        let old = match self.ports.remove(&key) {
            Some(port) => port,
            None => {
                self.host_ports += usize::from(key.audience == Audience::HostPort);
                self.first_of(&key, &frontends)
            }
        };
        let balanced = key.audience == Audience::External;
        let inside = self.side(&inside, proto as u8, old.inside.list, false);
        let held = old.outside.as_ref().map(|side| side.list).unwrap_or_default();
        let outside = outside.map(|it| self.side(&it, proto as u8, held, balanced));
        let keys: Vec<FrontendKey> = frontends.iter().map(|(key, _)| *key).collect();
        let port = Port { id: old.id, frontends: keys, inside, outside, affinity_s, source_ranges };
        for side in port.sides() {
            self.backends.acquire(&side.backends, side.terminating);
        }
        for side in old.sides() {
            self.backends.release(&side.backends, side.terminating);
        }
        if let (Some(side), None) = (&old.outside, &port.outside) {
            touched.dropped.insert(side.list.id);
        }
        for side in old.sides().chain(port.sides()) {
            touched.backends.extend(side.backends.iter());
        }
        touched.frontends.extend(old.frontends.iter().chain(&port.frontends));
        touched.ids.insert(port.id);
        self.owners.insert(port.id, key.clone());
        self.ports.insert(key, port);
    }

    /// The list stays the one that was held until [`Compiler::relist`] finds that it must be another.
    fn side(&mut self, chosen: &Chosen, proto: u8, held: List, balanced: bool) -> Side {
        let ids = chosen.backends.iter();
        let backends = ids
            .map(|((address, port), local)| self.backends.id((*address, *port, proto), *local))
            .collect();
        let addresses = if balanced && chosen.backends.len() > 1 {
            chosen.backends.iter().map(|(address, _)| *address).collect()
        } else {
            Vec::new()
        };
        Side { list: held, backends, addresses, terminating: chosen.terminating }
    }

    /// A port seen for the first time takes over the id and lists that adopted maps have under one of the frontends that
    /// it is going to have.
    fn first_of(&mut self, key: &PortKey, frontends: &[(FrontendKey, u32)]) -> Port {
        let mut own = frontends.iter().filter(|(it, _)| self.first_claim(*it) == Some(key));
        let standing = own.find_map(|(key, _)| self.entries.frontends.get(key));
        let free =
            standing.filter(|it| it.service_id.0 != 0 && !self.owners.contains_key(&it.service_id));
        let (id, inside, outside) = match free.copied() {
            Some(frontend) => (frontend.service_id, frontend.inside, frontend.outside),
            None => (self.fresh_id(), List::default(), List::default()),
        };
        let side = |list| Side { list, ..Side::default() };
        let outside = (outside != inside).then(|| side(outside));
        let (frontends, source_ranges) = (Vec::new(), Vec::new());
        Port { id, frontends, inside: side(inside), outside, affinity_s: 0, source_ranges }
    }
}
