//! The compiler: remembers what the maps hold and which ids it gave, so that a change costs what changed.
//!
//! ```text
//! adopt(entries of the maps) -> update(snapshot, facts) -> Plan -> update(..) -> Plan ...
//! ```
//!
//! The first update after adoption compares everything and so also removes strays; later ones look only at the
//! Services, addresses and namespaces that differ from the update before. Ids are rebuilt from the adopted entries:
//! the same frontend keeps its Service id and its lists, the same address, port and protocol its backend id.

mod backends;
mod frontends;
mod held;
mod lists;
mod port;
mod touched;

#[cfg(test)]
mod mirror;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use beeline_abi::{BackendId, FrontendKey, ServiceId};
use beeline_tables::{Epoch, NodeName, ObjectName, Service, Slice, Snapshot};

use self::{
    backends::Backends,
    frontends::{Claim, Frontends},
    held::Held,
    lists::Lists,
    port::{PortIndex, Ports},
    touched::Touched,
};
use crate::{
    Audience, Entries, Facts, Limits, Plan, PortKey, Usage,
    candidates::Here,
    host_ports,
    places::{Places, nodes_at},
    plan::Overflow,
    ports::{self, WantedPort},
};

/// So many Services are compiled at once: what is wanted of them stays in the processor's cache.
const PART: usize = 256;

/// Turns snapshots into plans. Knows the entries as they are once every plan so far has been carried out; when one
/// could not be, start over from what the maps really hold.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// What the last update saw; `None` right after adoption.
    seen: Option<(Snapshot, Facts)>,
    /// Facts that were put in place before the first snapshot.
    placed: Facts,
    held: Held,
    ports: Ports,
    frontends: Frontends,
    backends: Backends,
    lists: Lists,
    nodes_at: BTreeMap<IpAddr, NodeName>,
    /// Ports of the audience [`Audience::HostPort`].
    host_ports: usize,
    limits: Limits,
}

/// A Service with its slices, or a Pod with host ports, or the name of one that is gone.
#[derive(Clone, Copy)]
struct Named<'a> {
    name: &'a ObjectName,
    service: Option<&'a Service>,
    slices: &'a [Arc<Slice>],
}

impl Compiler {
    /// Start from what the maps hold.
    pub fn adopt(entries: &Entries, limits: Limits) -> Self {
        let held = Held::adopt(entries);
        let in_frontends = entries.frontends.values().map(|frontend| frontend.service_id);
        let last_service = in_frontends.chain(held.ids()).max().unwrap_or_default();
        Self {
            seen: None,
            placed: Facts::default(),
            held,
            ports: Ports::after(last_service.0),
            frontends: Frontends::adopt(entries),
            backends: Backends::adopt(entries, limits.backends),
            lists: Lists::adopt(entries, limits.slots),
            nodes_at: BTreeMap::new(),
            host_ports: 0,
            limits,
        }
    }

    /// How full each map is once every plan has been carried out.
    pub fn usage(&self) -> [Usage; 9] {
        use beeline_abi::maps;
        let usage = |map, entries, limit| Usage { map, entries, limit };
        let (held, limits) = (&self.held, &self.limits);
        [
            usage(maps::SERVICES, self.frontends.held(), limits.frontends),
            usage(maps::BACKEND_SLOTS, self.lists.used(), limits.slots),
            usage(maps::BACKENDS, self.backends.held(), limits.backends.saturating_sub(1)),
            usage(maps::ENDPOINTS, held.endpoints.len(), limits.endpoints),
            usage(maps::NETNS, held.netns.len(), limits.netns),
            usage(maps::AFFINITY_OK, held.affinity_ok.len(), limits.affinity_ok),
            usage(maps::SOURCE_RANGES, held.source_ranges.len(), limits.source_ranges),
            usage(maps::CLUSTER_RANGES, held.ranges.len(), limits.ranges),
            usage(maps::NODE_ADDRESSES, held.node_addresses.len(), limits.node_addresses),
        ]
    }

    /// How much fits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The Service port that an id stands for.
    pub fn owner(&self, id: ServiceId) -> Option<&PortKey> {
        self.ports.of_id(id).map(|index| &self.ports.get(index).key)
    }

    /// Whether some pod of this node took a port of the node.
    pub fn has_host_ports(&self) -> bool {
        self.host_ports > 0
    }

    /// The node's address of one family as control knows it.
    pub fn own_address(&self, ipv4: bool) -> Option<IpAddr> {
        let (snapshot, facts) = self.seen.as_ref()?;
        Places { snapshot, facts, nodes_at: &self.nodes_at }.own(ipv4)
    }

    /// The writes that bring the maps to this snapshot and these facts.
    pub fn update(&mut self, snapshot: &Snapshot, facts: &Facts) -> Plan {
        let first = self.seen.is_none();
        let mut touched = self.touched(snapshot, facts);
        if touched.nodes {
            self.nodes_at = nodes_at(snapshot);
        }
        let names = std::mem::take(&mut touched.names);
        for named in named(&names, touched.every_service, snapshot) {
            self.ports.reserve(named.len());
            self.frontends.reserve(named.len());
            // In the order of names, so that who leads is known in the first part already.
            for part in named.chunks(PART) {
                self.put_services(part, snapshot, facts, &mut touched);
            }
        }
        let mut plan = Plan { epoch: snapshot.epoch, ..Plan::default() };
        let places = Places { snapshot, facts, nodes_at: &self.nodes_at };
        self.held.plan_places(&places, &touched, &mut plan);
        self.backends.plan(&places, &mut touched, &mut plan);
        self.plan_lists(&mut touched, &mut plan);
        self.frontends.plan(&touched.frontends, &self.ports, &mut plan);
        if first {
            self.backends.everybody_idle_left();
        }
        self.see(snapshot, facts);
        self.finish(plan)
    }

    /// The writes for facts that changed alone. Before the first whole snapshot they concern only this node's own
    /// addresses and namespaces, so that a pod can start while control is away; nothing else is looked at.
    pub fn place(&mut self, facts: &Facts) -> Plan {
        if let Some((snapshot, _)) = self.seen.clone() {
            return self.update(&snapshot, facts);
        }
        let touched = Touched::own_only(&self.placed, facts);
        self.placed = facts.clone();
        let unknown = Snapshot::default();
        let places = Places { snapshot: &unknown, facts, nodes_at: &self.nodes_at };
        let mut plan = Plan::default();
        self.held.plan_places(&places, &touched, &mut plan);
        self.finish(plan)
    }

    /// Backends that are in no slot any more and stay only until their connections have ended.
    /// None before the first snapshot: what is adopted is in use until control has said otherwise.
    pub fn draining(&self) -> Vec<BackendId> {
        if self.seen.is_none() {
            return Vec::new();
        }
        self.backends.idle()
    }

    /// Of those, which left since this was asked last.
    pub fn take_left(&mut self) -> Vec<BackendId> {
        if self.seen.is_none() {
            return Vec::new();
        }
        self.backends.take_left()
    }

    /// The writes that remove backends whose connections have ended. Those in use again meanwhile are left alone.
    pub fn retire(&mut self, drained: &[BackendId]) -> Plan {
        let mut plan = Plan { epoch: self.epoch(), ..Plan::default() };
        plan.gone.backends.extend(drained.iter().filter(|id| self.backends.forget(**id)));
        self.finish(plan)
    }

    fn finish(&mut self, mut plan: Plan) -> Plan {
        plan.overflow = self.overflow();
        self.held.apply(&plan);
        self.lists.free(&plan);
        plan
    }

    /// A table that had no room, known only after trying.
    fn overflow(&self) -> Option<Overflow> {
        self.backends.overflow().or(self.lists.overflow())
    }

    fn epoch(&self) -> Epoch {
        self.seen.as_ref().map(|(snapshot, _)| snapshot.epoch).unwrap_or_default()
    }

    /// Facts hardly ever change, and are large on a node with many pods.
    fn see(&mut self, snapshot: &Snapshot, facts: &Facts) {
        let known = self.seen.take().map(|(_, known)| known).filter(|known| known == facts);
        self.seen = Some((snapshot.clone(), known.unwrap_or_else(|| facts.clone())));
    }

    fn touched(&self, snapshot: &Snapshot, facts: &Facts) -> Touched {
        if let Some((old, old_facts)) = &self.seen {
            return Touched::between((old, old_facts), (snapshot, facts));
        }
        let mut touched = Touched::everything(snapshot, facts);
        let standing = || self.frontends.standing();
        touched.frontends.extend(standing().map(|(key, _)| *key));
        touched.ids.extend(standing().map(|(_, frontend)| frontend.service_id));
        touched.ids.extend(self.held.ids());
        touched.backends.extend(self.backends.all());
        touched.addresses.extend(self.held.endpoints.keys().map(|key| IpAddr::from(*key)));
        touched.cookies.extend(self.held.netns.keys().copied());
        touched
    }

    /// Brings the ports of some Services to what is wanted now. Their claims on frontends stand before the first of them is
    /// put, and those of lesser names before: so who has a frontend is known by then.
    fn put_services(
        &mut self,
        services: &[Named<'_>],
        snapshot: &Snapshot,
        facts: &Facts,
        touched: &mut Touched,
    ) {
        let here = Here::new(snapshot, facts);
        let mut wanted = Vec::with_capacity(services.len());
        let mut indexes = Vec::with_capacity(services.len());
        for Named { name, service, slices } in services {
            let start = wanted.len();
            host_ports::of_pod(snapshot, facts, name, &mut wanted);
            if let Some(service) = service {
                ports::of_service(service, slices, here, &mut wanted);
            }
            self.make_claims(name, &wanted[start..], &mut indexes, touched);
        }
        for (index, port) in indexes.into_iter().zip(wanted) {
            self.put_port(index, port, touched);
        }
    }

    /// Removes the ports that a Service no longer has, and claims the frontends of those that it is to have.
    fn make_claims(
        &mut self,
        name: &ObjectName,
        wanted: &[WantedPort],
        indexes: &mut Vec<PortIndex>,
        touched: &mut Touched,
    ) {
        let standing = self.ports.of_service(name);
        for index in &standing {
            let key = &self.ports.get(*index).key;
            if !wanted.iter().any(|port| port.key == *key) {
                self.remove_port(*index, touched);
            }
        }
        for port in wanted {
            let known = standing.iter().copied().find(|index| {
                self.ports.find(*index).is_some_and(|standing| standing.key == port.key)
            });
            let index = known.unwrap_or_else(|| {
                self.host_ports += usize::from(port.key.audience == Audience::HostPort);
                self.ports.add(port.key.clone())
            });
            for frontend in &self.ports.get(index).frontends {
                self.frontends.unclaim(frontend, index);
                touched.frontends.push(*frontend);
            }
            for (frontend, flags) in &port.frontends {
                let claim = Claim { port: index, flags: *flags };
                self.frontends.claim(*frontend, claim, &self.ports);
            }
            indexes.push(index);
        }
    }

    fn remove_port(&mut self, index: PortIndex, touched: &mut Touched) {
        let port = self.ports.remove(index);
        self.host_ports -= usize::from(port.key.audience == Audience::HostPort);
        touched.ids.push(port.id);
        for frontend in &port.frontends {
            self.frontends.unclaim(frontend, index);
            touched.frontends.push(*frontend);
        }
        for side in port.sides() {
            side.leave(&mut self.backends, &mut touched.backends);
            self.lists.abandon(side);
        }
    }

    fn put_port(&mut self, index: PortIndex, wanted: WantedPort, touched: &mut Touched) {
        let WantedPort { key, proto, frontends, inside, outside, affinity_s, source_ranges } =
            wanted;
        if self.ports.get(index).id == ServiceId(0) {
            self.begin_port(index, &frontends);
        }
        let Self { ports, backends, lists, .. } = self;
        let port = ports.get_mut(index);
        let (proto, backends_touched) = (proto as u8, &mut touched.backends);
        port.inside.choose(&inside, proto, backends, backends_touched);
        match outside {
            Some(chosen) => {
                let side = port.outside.get_or_insert_default();
                side.balanced = key.audience == Audience::External;
                side.choose(&chosen, proto, backends, backends_touched);
            }
            None => {
                if let Some(side) = port.outside.take() {
                    side.leave(backends, backends_touched);
                    lists.abandon(&side);
                }
            }
        }
        port.affinity_s = affinity_s;
        if *port.source_ranges != *source_ranges {
            port.source_ranges = source_ranges.into();
        }
        port.frontends = frontends.iter().map(|(key, _)| *key).collect();
        touched.frontends.extend_from_slice(&port.frontends);
        touched.ports.push(index);
    }

    /// A port seen for the first time takes over the number and lists that the maps have under one of the frontends that
    /// it is going to have; else it gets a new number.
    fn begin_port(&mut self, index: PortIndex, frontends: &[(FrontendKey, u32)]) {
        let mut own = frontends.iter().filter(|(it, _)| self.frontends.leader(it) == Some(index));
        let standing = own.find_map(|(key, _)| self.frontends.get(key)).copied();
        let is_free = |id: ServiceId| id.0 != 0 && self.ports.of_id(id).is_none();
        let standing = standing.filter(|it| is_free(it.service_id));
        self.ports.number(index, standing.map(|it| it.service_id));
        let Some(frontend) = standing else { return };
        let port = self.ports.get_mut(index);
        port.inside = self.lists.take_over(frontend.inside);
        if frontend.outside != frontend.inside {
            port.outside = Some(Box::new(self.lists.take_over(frontend.outside)));
        }
    }

    /// New lists for the ports whose backends changed, and none for those that no frontend leads to; then what else hangs
    /// on a port's backends.
    fn plan_lists(&mut self, touched: &mut Touched, plan: &mut Plan) {
        touched.frontends.sort_unstable();
        touched.frontends.dedup();
        let rivals = touched.frontends.iter().flat_map(|key| self.frontends.claims(key));
        touched.ports.extend(rivals.map(|claim| claim.port));
        let standing = |index: &PortIndex| Some((self.ports.find(*index)?.id, *index));
        let mut ports: Vec<_> = touched.ports.iter().filter_map(standing).collect();
        ports.sort_unstable();
        ports.dedup();
        for (id, index) in ports {
            let frontends = &self.frontends;
            let port = self.ports.get_mut(index);
            let led_to = port.frontends.iter().any(|it| frontends.leader(it) == Some(index));
            self.lists.plan(port, led_to, &self.backends, plan);
            self.held.plan_allowed(id, Some(&*port).filter(|_| led_to), plan);
        }
        touched.ids.sort_unstable();
        touched.ids.dedup();
        for id in touched.ids.iter().filter(|id| self.ports.of_id(**id).is_none()) {
            self.held.plan_allowed(*id, None, plan);
        }
        self.lists.plan_orphans(plan);
    }
}

/// What is to be compiled: first what is gone, so that a Service made anew under the same address takes over the
/// frontend's number, then what stands.
fn named<'a>(
    names: &'a BTreeSet<ObjectName>,
    every_service: bool,
    snapshot: &'a Snapshot,
) -> [Vec<Named<'a>>; 2] {
    let of = |name: &'a ObjectName| {
        let service = snapshot.services.get(name).map(Arc::as_ref);
        Named { name, service, slices: snapshot.slices_for(name) }
    };
    let (mut standing, gone): (Vec<_>, Vec<_>) =
        names.iter().map(of).partition(|it| it.service.is_some());
    if every_service {
        standing = every(snapshot);
    }
    [gone, standing]
}

/// All Services with their slices. Both tables are in the order of names, so that neither is searched.
fn every(snapshot: &Snapshot) -> Vec<Named<'_>> {
    let mut slices = snapshot.slices_of.iter().peekable();
    let services = snapshot.services.iter();
    let named = services.map(|(name, service)| {
        while slices.next_if(|(of, _)| *of < name).is_some() {}
        let mine = slices.next_if(|(of, _)| *of == name);
        let slices = mine.map(|(_, slices)| slices.as_slice()).unwrap_or_default();
        Named { name, service: Some(service), slices }
    });
    named.collect()
}
