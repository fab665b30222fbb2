//! The compiler: remembers what the maps hold and which ids it gave, so that a change costs what changed.
//!
//! ```text
//! adopt(entries of the maps) -> update(snapshot, facts) -> Plan -> update(..) -> Plan ...
//! ```
//!
//! The first update after adoption compares everything and so also removes strays; later ones look only at the
//! Services, addresses and namespaces that differ from the update before. Ids are rebuilt from the adopted entries:
//! the same frontend keeps its Service id, the same address, port and protocol its backend id.

mod backends;
mod touched;

use std::{collections::BTreeMap, net::Ipv4Addr};

use beeline_abi::{BackendId, Be32, Frontend, FrontendKey, ServiceId, SlotKey};
use beeline_tables::{Epoch, NodeName, ObjectName, Snapshot};

use self::{backends::Backends, touched::Touched};
use crate::{
    Entries, Facts, Plan, PortKey,
    places::{Places, nodes_at},
    ports::{WantedPort, wanted_ports},
};

/// Turns snapshots into plans. Holds the entries as they are once every plan so far has been carried out; when one
/// could not be, start over from what the maps really hold.
#[derive(Clone, Debug, Default)]
pub struct Compiler {
    /// What the last update saw; `None` right after adoption.
    seen: Option<(Snapshot, Facts)>,
    /// Facts that were put in place before the first snapshot.
    placed: Facts,
    entries: Entries,
    ports: BTreeMap<PortKey, Port>,
    owners: BTreeMap<ServiceId, PortKey>,
    /// Who wants a frontend; the first one has it. More than one only while a Service replaces another.
    claims: BTreeMap<(FrontendKey, PortKey), ()>,
    backends: Backends,
    nodes_at: BTreeMap<Ipv4Addr, NodeName>,
    last_service: u32,
}

/// A Service port as compiled.
#[derive(Clone, Debug)]
struct Port {
    id: ServiceId,
    generation: u32,
    frontends: Vec<FrontendKey>,
    list: Vec<BackendId>,
    terminating: bool,
}

impl Compiler {
    /// Start from what the maps hold.
    pub fn adopt(entries: Entries) -> Self {
        let backends = Backends::adopt(&entries);
        let in_frontends = entries.frontends.values().map(|frontend| frontend.service_id.0);
        let in_slots = entries.slots.keys().map(|slot| slot.service_id.0);
        let last_service = in_frontends.chain(in_slots).max().unwrap_or(0);
        Self { entries, backends, last_service, ..Self::default() }
    }

    /// What the maps hold once every plan has been carried out.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// The Service port that an id stands for.
    pub fn owner(&self, id: ServiceId) -> Option<&PortKey> {
        self.owners.get(&id)
    }

    /// The writes that bring the maps to this snapshot and these facts.
    pub fn update(&mut self, snapshot: &Snapshot, facts: &Facts) -> Plan {
        let mut touched = self.touched(snapshot, facts);
        if touched.nodes {
            self.nodes_at = nodes_at(snapshot);
        }
        // Deleted ones first: a Service made anew under the same address then takes over the frontend's id.
        let (standing, deleted): (Vec<_>, Vec<_>) = std::mem::take(&mut touched.services)
            .into_iter()
            .partition(|name| snapshot.services.contains_key(name));
        for service in deleted.iter().chain(&standing) {
            self.update_service(snapshot, facts, service, &mut touched);
        }
        let rivals = touched.frontends.iter().flat_map(|key| self.claimants(*key));
        touched.ids.extend(rivals.map(|(_, port)| port.id));
        self.seen = Some((snapshot.clone(), facts.clone()));
        let plan = self.plan(snapshot, facts, &touched);
        plan.apply_to(&mut self.entries);
        plan
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
        self.plan_places(&places, &touched, &mut plan);
        plan.apply_to(&mut self.entries);
        plan
    }

    /// Backends that are in no slot any more and stay only until their connections have ended.
    /// None before the first snapshot: what is adopted is in use until control has said otherwise.
    pub fn draining(&self) -> Vec<BackendId> {
        if self.seen.is_none() {
            return Vec::new();
        }
        self.backends.idle(&self.entries)
    }

    /// The writes that remove backends whose connections have ended. Those in use again meanwhile are left alone.
    pub fn retire(&mut self, drained: &[BackendId]) -> Plan {
        let mut plan = Plan { epoch: self.epoch(), ..Plan::default() };
        plan.gone.backends.extend(drained.iter().filter(|id| self.backends.forget(**id)));
        plan.apply_to(&mut self.entries);
        plan
    }

    fn epoch(&self) -> Epoch {
        self.seen.as_ref().map(|(snapshot, _)| snapshot.epoch).unwrap_or_default()
    }

    fn touched(&self, snapshot: &Snapshot, facts: &Facts) -> Touched {
        match &self.seen {
            None => Touched::everything(snapshot, facts, &self.entries),
            Some((old, old_facts)) => Touched::between((old, old_facts), (snapshot, facts)),
        }
    }

    fn update_service(
        &mut self,
        snapshot: &Snapshot,
        facts: &Facts,
        name: &ObjectName,
        touched: &mut Touched,
    ) {
        let wanted = match snapshot.services.get(name) {
            Some(service) => wanted_ports(snapshot, &facts.node, service),
            None => Vec::new(),
        };
        let first = PortKey::first(name.clone());
        let standing: Vec<PortKey> = self
            .ports
            .range(first..)
            .map(|(key, _)| key.clone())
            .take_while(|key| key.service == *name)
            .collect();
        for key in standing {
            if !wanted.iter().any(|port| port.key == key) {
                self.remove_port(&key, touched);
            }
        }
        for port in wanted {
            self.put_port(port, touched);
        }
    }

    fn remove_port(&mut self, key: &PortKey, touched: &mut Touched) {
        let Some(port) = self.ports.remove(key) else { return };
        self.owners.remove(&port.id);
        touched.ids.insert(port.id);
        for frontend in port.frontends {
            self.claims.remove(&(frontend, key.clone()));
            touched.frontends.insert(frontend);
        }
        self.backends.release(&port.list, port.terminating);
        touched.backends.extend(port.list);
    }

    fn put_port(&mut self, wanted: WantedPort, touched: &mut Touched) {
        let WantedPort { key, proto, frontends, backends, terminating } = wanted;
        let mut port = match self.ports.remove(&key) {
            Some(port) => port,
            None => self.first_of(&frontends),
        };
        let list: Vec<BackendId> = backends
            .into_iter()
            .map(|(address, port)| self.backends.id((address, port, proto as u8)))
            .collect();
        self.backends.acquire(&list, terminating);
        self.backends.release(&port.list, port.terminating);
        touched.backends.extend(port.list.iter().chain(&list));
        touched.frontends.extend(port.frontends.iter().chain(&frontends));
        touched.ids.insert(port.id);
        if self.in_slots(&port) != list {
            port.generation = port.generation.wrapping_add(1).max(1);
        }
        for frontend in &port.frontends {
            self.claims.remove(&(*frontend, key.clone()));
        }
        for frontend in &frontends {
            self.claims.insert((*frontend, key.clone()), ());
        }
        self.owners.insert(port.id, key.clone());
        let generation = port.generation;
        let id = port.id;
        self.ports.insert(key, Port { id, generation, frontends, list, terminating });
    }

    /// A port seen for the first time takes over the id and list that adopted maps have under one of its frontends.
    fn first_of(&mut self, frontends: &[FrontendKey]) -> Port {
        let standing = frontends.iter().find_map(|key| self.entries.frontends.get(key));
        let free = |frontend: &&Frontend| {
            frontend.service_id.0 != 0 && !self.owners.contains_key(&frontend.service_id)
        };
        let (id, generation) = match standing.filter(free) {
            Some(frontend) => (frontend.service_id, frontend.generation),
            None => (self.fresh_id(), 0),
        };
        Port { id, generation, frontends: Vec::new(), list: Vec::new(), terminating: false }
    }

    fn fresh_id(&mut self) -> ServiceId {
        loop {
            self.last_service = self.last_service.wrapping_add(1).max(1);
            let id = ServiceId(self.last_service);
            let in_maps = self.entries.slots_of(id).next().is_some();
            if !in_maps && !self.owners.contains_key(&id) {
                return id;
            }
        }
    }

    /// The list that the maps hold for a port's generation.
    fn in_slots(&self, port: &Port) -> Vec<BackendId> {
        self.entries
            .slots_of(port.id)
            .filter(|(slot, _)| slot.generation == port.generation)
            .map(|(_, backend)| backend)
            .collect()
    }

    fn plan(&self, snapshot: &Snapshot, facts: &Facts, touched: &Touched) -> Plan {
        let places = Places { snapshot, facts, nodes_at: &self.nodes_at };
        let mut plan = Plan { epoch: snapshot.epoch, ..Plan::default() };
        self.plan_places(&places, touched, &mut plan);
        self.backends.plan(&places, &self.entries, touched, &mut plan);
        self.plan_slots(touched, &mut plan);
        self.plan_frontends(touched, &mut plan);
        plan
    }

    fn plan_places(&self, places: &Places<'_>, touched: &Touched, plan: &mut Plan) {
        for address in &touched.addresses {
            let key = Be32::from(*address);
            match (places.endpoint(*address), self.entries.endpoints.get(&key)) {
                (Some(wanted), held) if held != Some(&wanted) => {
                    plan.endpoints.insert(key, wanted);
                }
                (None, Some(_)) => {
                    plan.gone.endpoints.insert(key);
                }
                _ => {}
            }
        }
        for cookie in &touched.cookies {
            match (places.owner(*cookie), self.entries.netns.get(cookie)) {
                (Some(wanted), held) if held != Some(&wanted) => {
                    plan.netns.insert(*cookie, wanted);
                }
                (None, Some(_)) => {
                    plan.gone.netns.insert(*cookie);
                }
                _ => {}
            }
        }
    }

    fn plan_slots(&self, touched: &Touched, plan: &mut Plan) {
        for id in &touched.ids {
            let wanted = self.wanted_slots(*id);
            for (key, backend) in &wanted {
                if self.entries.slots.get(key) != Some(backend) {
                    plan.slots.insert(*key, *backend);
                }
            }
            let stale = self.entries.slots_of(*id).map(|(key, _)| key);
            plan.gone.slots.extend(stale.filter(|key| !wanted.contains_key(key)));
        }
    }

    /// None for a port that no frontend leads to, because another Service has them all.
    fn wanted_slots(&self, id: ServiceId) -> BTreeMap<SlotKey, BackendId> {
        let Some(key) = self.owners.get(&id) else { return BTreeMap::new() };
        let Some(port) = self.ports.get(key) else { return BTreeMap::new() };
        let has = |frontend: &FrontendKey| {
            self.claimants(*frontend).next().is_some_and(|(first, _)| first == key)
        };
        if port.frontends.iter().any(has) { slots_of(port).collect() } else { BTreeMap::new() }
    }

    fn plan_frontends(&self, touched: &Touched, plan: &mut Plan) {
        for key in &touched.frontends {
            match (self.frontend(*key), self.entries.frontends.get(key)) {
                (Some(wanted), held) if held != Some(&wanted) => {
                    plan.frontends.insert(*key, wanted);
                }
                (None, Some(_)) => {
                    plan.gone.frontends.insert(*key);
                }
                _ => {}
            }
        }
    }

    fn frontend(&self, key: FrontendKey) -> Option<Frontend> {
        let (_, port) = self.claimants(key).next()?;
        Some(Frontend {
            service_id: port.id,
            generation: port.generation,
            backend_count: u32::try_from(port.list.len()).unwrap_or(u32::MAX),
            flags: 0,
        })
    }

    /// The ports that want a frontend; the first has it.
    fn claimants(&self, frontend: FrontendKey) -> impl Iterator<Item = (&PortKey, &Port)> {
        let first = PortKey::first(ObjectName::new("", ""));
        self.claims
            .range((frontend, first)..)
            .take_while(move |((claimed, _), ())| *claimed == frontend)
            .filter_map(|((_, owner), ())| Some((owner, self.ports.get(owner)?)))
    }
}

fn slots_of(port: &Port) -> impl Iterator<Item = (SlotKey, BackendId)> + '_ {
    (0u32..).zip(&port.list).map(|(index, backend)| {
        let key = SlotKey { service_id: port.id, generation: port.generation, index };
        (key, *backend)
    })
}
