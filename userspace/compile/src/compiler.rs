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
mod lists;
mod port;
mod touched;

use std::{collections::BTreeMap, net::IpAddr};

use beeline_abi::{Addr, BackendId, Frontend, FrontendKey, ServiceId};
use beeline_tables::{Epoch, NodeName, ObjectName, Snapshot};

use self::{backends::Backends, lists::Lists, port::Port, touched::Touched};
use crate::{
    Entries, Facts, Limits, Plan, PortKey,
    places::{Places, nodes_at},
    plan::Overflow,
    ports::{WantedPort, wanted_ports},
};

/// Turns snapshots into plans. Holds the entries as they are once every plan so far has been carried out; when one
/// could not be, start over from what the maps really hold.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// What the last update saw; `None` right after adoption.
    seen: Option<(Snapshot, Facts)>,
    /// Facts that were put in place before the first snapshot.
    placed: Facts,
    entries: Entries,
    ports: BTreeMap<PortKey, Port>,
    owners: BTreeMap<ServiceId, PortKey>,
    /// Who wants a frontend, and with which flags; the first one has it. More than one only while a Service replaces another.
    claims: BTreeMap<(FrontendKey, PortKey), u32>,
    backends: Backends,
    lists: Lists,
    nodes_at: BTreeMap<IpAddr, NodeName>,
    last_service: u32,
    /// Below every key that a port can have.
    least: PortKey,
    /// Ports of the audience [`crate::Audience::HostPort`].
    host_ports: usize,
    limits: Limits,
}

impl Compiler {
    /// Start from what the maps hold.
    pub fn adopt(entries: Entries, limits: Limits) -> Self {
        let backends = Backends::adopt(&entries, limits.backends);
        let lists = Lists::adopt(&entries, limits.slots);
        let in_frontends = entries.frontends.values().map(|frontend| frontend.service_id.0);
        let in_affinity = entries.affinity_ok.iter().map(|key| key.service_id.0);
        let in_ranges = entries.source_ranges.iter().map(|range| range.service_id.0);
        let last_service = in_frontends.chain(in_affinity).chain(in_ranges).max().unwrap_or(0);
        Self {
            seen: None,
            placed: Facts::default(),
            ports: BTreeMap::new(),
            owners: BTreeMap::new(),
            claims: BTreeMap::new(),
            nodes_at: BTreeMap::new(),
            entries,
            backends,
            lists,
            last_service,
            least: PortKey::first(ObjectName::new("", "")),
            host_ports: 0,
            limits,
        }
    }

    /// What the maps hold once every plan has been carried out.
    pub fn entries(&self) -> &Entries {
        &self.entries
    }

    /// How much fits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The Service port that an id stands for.
    pub fn owner(&self, id: ServiceId) -> Option<&PortKey> {
        self.owners.get(&id)
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
        let everything = self.seen.is_none();
        let mut touched = self.touched(snapshot, facts);
        if touched.nodes {
            self.nodes_at = nodes_at(snapshot);
        }
        // Deleted ones first: a Service made anew under the same address then takes over the frontend's id.
        let (standing, deleted): (Vec<_>, Vec<_>) = std::mem::take(&mut touched.services)
            .into_iter()
            .partition(|name| snapshot.services.contains_key(name));
        for services in [deleted, standing] {
            let wanted: Vec<Vec<WantedPort>> =
                services.iter().map(|name| wanted_ports(snapshot, facts, name)).collect();
            for (name, wanted) in services.iter().zip(&wanted) {
                self.make_claims(name, wanted, &mut touched);
            }
            for port in wanted.into_iter().flatten() {
                self.put_port(port, &mut touched);
            }
        }
        let rivals = touched.frontends.iter().flat_map(|key| self.claimants(*key));
        touched.ids.extend(rivals.map(|(_, port, _)| port.id));
        let mut plan = Plan { epoch: snapshot.epoch, ..Plan::default() };
        let places = Places { snapshot, facts, nodes_at: &self.nodes_at };
        self.plan_places(&places, &touched, &mut plan);
        self.backends.plan(&places, &self.entries, &touched, &mut plan);
        self.relist(&touched, everything, &mut plan);
        self.plan_frontends(&touched, &mut plan);
        self.seen = Some((snapshot.clone(), facts.clone()));
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
        self.plan_places(&places, &touched, &mut plan);
        self.finish(plan)
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
        self.finish(plan)
    }

    fn finish(&mut self, mut plan: Plan) -> Plan {
        plan.overflow = self.overflow();
        plan.apply_to(&mut self.entries);
        for id in &plan.gone.lists {
            self.lists.give(*id);
        }
        plan
    }

    /// A table that had no room, known only after trying.
    fn overflow(&self) -> Option<Overflow> {
        self.backends.overflow().or(self.lists.overflow())
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

    /// Removes the ports that a Service no longer has, and puts all claims on frontends before the first port is put,
    /// so that who has a frontend is known by then.
    fn make_claims(&mut self, name: &ObjectName, wanted: &[WantedPort], touched: &mut Touched) {
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
            for frontend in self.ports.get(&port.key).iter().flat_map(|old| &old.frontends) {
                self.claims.remove(&(*frontend, port.key.clone()));
            }
            for (frontend, flags) in &port.frontends {
                self.claims.insert((*frontend, port.key.clone()), *flags);
            }
        }
    }

    /// Whose claim on a frontend is the first.
    fn first_claim(&self, frontend: FrontendKey) -> Option<&PortKey> {
        let first = self.least.clone();
        let ((claimed, owner), _) = self.claims.range((frontend, first)..).next()?;
        (*claimed == frontend).then_some(owner)
    }

    fn fresh_id(&mut self) -> ServiceId {
        loop {
            self.last_service = self.last_service.wrapping_add(1).max(1);
            let id = ServiceId(self.last_service);
            if !self.owners.contains_key(&id) {
                return id;
            }
        }
    }

    fn plan_places(&self, places: &Places<'_>, touched: &Touched, plan: &mut Plan) {
        let held = &self.entries;
        for address in &touched.addresses {
            let key = Addr::from(*address);
            let wanted = places.endpoint(*address);
            settle(key, wanted, &held.endpoints, &mut plan.endpoints, &mut plan.gone.endpoints);
        }
        for cookie in &touched.cookies {
            let wanted = places.owner(*cookie);
            settle(*cookie, wanted, &held.netns, &mut plan.netns, &mut plan.gone.netns);
        }
        if touched.facts {
            let wanted = places.node_addresses();
            for key in wanted.keys().chain(held.node_addresses.keys()) {
                let (put, gone) = (&mut plan.node_addresses, &mut plan.gone.node_addresses);
                settle(*key, wanted.get(key).copied(), &held.node_addresses, put, gone);
            }
        }
        if touched.nodes {
            let wanted = places.ranges();
            for key in wanted.keys().chain(held.ranges.keys()) {
                let (put, gone) = (&mut plan.ranges, &mut plan.gone.ranges);
                settle(*key, wanted.get(key).copied(), &held.ranges, put, gone);
            }
        }
    }

    fn plan_frontends(&self, touched: &Touched, plan: &mut Plan) {
        for key in &touched.frontends {
            let wanted = self.frontend(*key);
            let held = &self.entries.frontends;
            settle(*key, wanted, held, &mut plan.frontends, &mut plan.gone.frontends);
        }
    }

    fn frontend(&self, key: FrontendKey) -> Option<Frontend> {
        let (_, port, flags) = self.claimants(key).next()?;
        Some(Frontend {
            service_id: port.id,
            flags,
            inside: port.inside.list,
            outside: port.outside().list,
            affinity_s: port.affinity_s,
        })
    }

    /// The ports that want a frontend, and the flags that it would have; the first has it.
    fn claimants(
        &self,
        frontend: FrontendKey,
    ) -> impl Iterator<Item = (&PortKey, &Port, u32)> + use<'_> {
        let first = self.least.clone();
        self.claims
            .range((frontend, first)..)
            .take_while(move |((claimed, _), _)| *claimed == frontend)
            .filter_map(|((_, owner), flags)| Some((owner, self.ports.get(owner)?, *flags)))
    }
}

/// Plans the write of one entry, or its removal, or nothing.
fn settle<K: Ord, V: PartialEq>(
    key: K,
    wanted: Option<V>,
    held: &BTreeMap<K, V>,
    put: &mut BTreeMap<K, V>,
    gone: &mut std::collections::BTreeSet<K>,
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
