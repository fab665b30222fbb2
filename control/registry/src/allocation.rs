//! Addresses and node ports of Services: given out with the write that needs them, taken back when it fails.
//!
//! In: Services about to be written, and every change the cache sees. Out: Services with addresses, or a refusal.
//! What is allocated follows from the stored Services alone; a restart rebuilds it, so that nothing can leak.

mod families;
mod ports;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use beeline_alloc::{IpError, IpRange};
use beeline_api::kinds::{Causes, SERVICE};
use beeline_api::meta::{self, list, text};
use beeline_api::validate::invalid;
use beeline_api::{ApiError, KindInfo};
use ipnet::IpNet;
use serde_json::{Value, json};

use crate::bucket::Step;
use crate::object::Object;
use crate::options::Options;

/// What is in use.
pub(crate) struct Allocations {
    state: Mutex<State>,
    /// Families of the Service ranges, that of Services which do not say first.
    families: Vec<&'static str>,
    node_ports: (u16, u16),
}

struct State {
    ranges: Vec<IpRange>,
    /// Node ports and health check ports: one pool for all protocols.
    ports: BTreeSet<u16>,
}

/// What a write took; goes back unless kept.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Held {
    ips: BTreeSet<IpAddr>,
    ports: BTreeSet<u16>,
}

impl Allocations {
    /// From the stored Services.
    pub(crate) fn rebuild<'a>(
        options: &Options,
        services: impl Iterator<Item = &'a Arc<Object>>,
    ) -> Self {
        let mut ranges: Vec<IpRange> =
            options.service_cidrs.iter().map(|cidr| IpRange::new(*cidr)).collect();
        for range in &mut ranges {
            // The first one is for Service `kubernetes`.
            let first = range.nth(1);
            for ip in options.reserved_ips.iter().copied().chain(first) {
                range.set_aside(ip);
            }
        }
        let mut state = State { ranges, ports: BTreeSet::new() };
        for service in services {
            state.hold(&uses(&service.value));
        }
        let families = options.service_cidrs.iter().map(family_of_range).collect();
        Self { state: Mutex::new(state), families, node_ports: options.node_ports }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills in what a Service needs beyond what its old version has; gives what was taken for it.
    pub(crate) fn reserve(
        &self,
        service: &mut Value,
        old: Option<&Value>,
    ) -> Result<Held, ApiError> {
        let name = meta::name(service).to_owned();
        let before = old.map(uses).unwrap_or_default();
        let mut held = Held::default();
        let mut causes = Causes::new();
        families::decide(service, old, &self.families, &mut causes);
        if causes.is_empty() {
            self.addresses(service, &before, &mut held, &mut causes);
        }
        if causes.is_empty() {
            let mut state = self.state();
            let mut pool = ports::Pool {
                taken: &mut state.ports,
                range: self.node_ports,
                before: &before.ports,
                held: &mut held.ports,
            };
            pool.node_ports(service, &mut causes);
            pool.health_check(service, &mut causes);
        }
        if causes.is_empty() {
            return Ok(held);
        }
        self.release(&held);
        Err(ApiError::invalid(&SERVICE, &name, causes))
    }

    /// Gives back what a failed or dry-run write had taken.
    pub(crate) fn release(&self, held: &Held) {
        let mut state = self.state();
        for range in &mut state.ranges {
            for ip in &held.ips {
                range.release(*ip);
            }
        }
        for port in &held.ports {
            state.ports.remove(port);
        }
    }

    /// Follows what happened: new Services hold, changed and deleted ones let go.
    pub(crate) fn observe(&self, kind: &KindInfo, step: &Step) {
        if !std::ptr::eq(kind, &raw const SERVICE) {
            return;
        }
        let of = |object: &Option<Arc<Object>>| {
            object.as_ref().map(|o| uses(&o.value)).unwrap_or_default()
        };
        let (before, after) = (of(&step.previous), of(&step.new));
        if before == after {
            return;
        }
        self.release(&Held {
            ips: before.ips.difference(&after.ips).copied().collect(),
            ports: before.ports.difference(&after.ports).copied().collect(),
        });
        self.state().hold(&after);
    }

    /// How many addresses and ports are held.
    #[cfg(test)]
    pub(crate) fn held(&self) -> (usize, usize) {
        let state = self.state();
        (state.ranges.iter().map(IpRange::taken).sum(), state.ports.len())
    }

    /// One address of each of the Service's families.
    fn addresses(&self, service: &mut Value, before: &Held, held: &mut Held, causes: &mut Causes) {
        let spec = &mut service["spec"];
        if spec["type"] == "ExternalName" || spec["clusterIPs"][0] == "None" {
            return;
        }
        let wishes: Vec<String> = list(spec, "clusterIPs")
            .iter()
            .filter_map(|ip| ip.as_str().map(str::to_owned))
            .collect();
        let mut ips = Vec::new();
        for (i, family) in list(spec, "ipFamilies").iter().enumerate() {
            let wish = wishes.get(i).map(String::as_str).unwrap_or_default();
            match self.take(wish, family.as_str().unwrap_or_default(), before, held) {
                Ok(ip) => ips.push(ip.to_string()),
                Err(why) => {
                    causes.push(invalid("spec.clusterIPs", json!(wishes), &why));
                    return;
                }
            }
        }
        spec["clusterIP"] = json!(ips.first());
        spec["clusterIPs"] = json!(ips);
    }

    fn take(
        &self,
        wish: &str,
        family: &str,
        before: &Held,
        held: &mut Held,
    ) -> Result<IpAddr, String> {
        let mut state = self.state();
        let of_family = |range: &&mut IpRange| family_of_range(&range.network()) == family;
        let range = state.ranges.iter_mut().find(of_family);
        let range = range.ok_or_else(|| format!("{family} is not configured on this cluster"))?;
        if wish.is_empty() {
            let next = range.allocate_next();
            let ip =
                next.map_err(|_| "failed to allocate a serviceIP: range is full".to_owned())?;
            held.ips.insert(ip);
            return Ok(ip);
        }
        let ip: IpAddr = wish.parse().map_err(|_| {
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()
        })?;
        if before.ips.contains(&ip) {
            return Ok(ip);
        }
        match range.allocate(ip) {
            Ok(()) => {
                held.ips.insert(ip);
                Ok(ip)
            }
            Err(IpError::Taken { .. }) => {
                Err(format!("failed to allocate IP {ip}: provided IP is already allocated"))
            }
            Err(_) => Err(format!(
                "failed to allocate IP {ip}: the provided network does not match the current range: the range of valid IPs is {}",
                range.network()
            )),
        }
    }
}

impl State {
    fn hold(&mut self, what: &Held) {
        for range in &mut self.ranges {
            for ip in &what.ips {
                range.mark_used(*ip);
            }
        }
        self.ports.extend(&what.ports);
    }
}

fn family_of_range(range: &IpNet) -> &'static str {
    families::name(range.network())
}

/// What a stored Service holds.
fn uses(service: &Value) -> Held {
    let spec = &service["spec"];
    let one = [&spec["clusterIP"]];
    let ips =
        one.into_iter().chain(list(spec, "clusterIPs")).filter_map(|ip| ip.as_str()?.parse().ok());
    let ports = list(spec, "ports").iter().map(|port| &port["nodePort"]);
    let numbers = ports.chain([&spec["healthCheckNodePort"]]);
    let numbers = numbers.filter_map(|n| u16::try_from(n.as_u64()?).ok()).filter(|n| *n != 0);
    if text(spec, "type") == "ExternalName" {
        return Held::default();
    }
    Held { ips: ips.collect(), ports: numbers.collect() }
}
