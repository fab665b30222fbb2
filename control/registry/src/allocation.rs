//! Addresses and node ports of Services: given out with the write that needs them, taken back when it fails.
//!
//! In: Services about to be written, and every change the cache sees. Out: Services with addresses, or a refusal.
//! What is allocated follows from the stored Services alone; a restart rebuilds it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use beeline_alloc::{IpError, IpRange};
use beeline_api::kinds::{Causes, SERVICE};
use beeline_api::meta::{self, list, text};
use beeline_api::validate::{forbidden, invalid};
use beeline_api::{ApiError, KindInfo};
use rand::Rng;
use serde_json::{Value, json};

use crate::bucket::Step;
use crate::object::Object;
use crate::options::Options;

/// What is in use.
pub(crate) struct Allocations {
    state: Mutex<State>,
    reserved: Vec<Ipv4Addr>,
    node_ports: (u16, u16),
}

struct State {
    ips: IpRange,
    ports: BTreeMap<(u16, String), ()>,
}

/// What a write took; goes back unless kept.
#[derive(Debug, Default, Clone)]
pub(crate) struct Held {
    ips: Vec<Ipv4Addr>,
    ports: Vec<(u16, String)>,
}

impl Allocations {
    /// From the stored Services.
    pub(crate) fn rebuild<'a>(
        options: &Options,
        services: impl Iterator<Item = &'a Arc<Object>>,
    ) -> Self {
        let mut ips = IpRange::new(options.service_cidr);
        let mut ports = BTreeMap::new();
        for service in services {
            let used = uses(&service.value);
            for ip in used.ips {
                ips.mark_used(ip);
            }
            ports.extend(used.ports.into_iter().map(|p| (p, ())));
        }
        let v4 = |ip: &IpAddr| if let IpAddr::V4(ip) = ip { Some(*ip) } else { None };
        // The first one is for Service `kubernetes`.
        let first = options.service_cidr.hosts().next();
        let reserved = options.reserved_ips.iter().filter_map(v4).chain(first).collect();
        Self { state: Mutex::new(State { ips, ports }), reserved, node_ports: options.node_ports }
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
        if let Some(old) = old {
            inherit(service, old);
        }
        let before = old.map(uses).unwrap_or_default();
        let mut held = Held::default();
        let mut causes = Causes::new();
        self.address(service, &before, &mut held, &mut causes);
        self.ports(service, &before, &mut held, &mut causes);
        if causes.is_empty() {
            return Ok(held);
        }
        self.release(&held);
        Err(ApiError::invalid(&SERVICE, meta::name(service), causes))
    }

    /// Gives back what a failed or dry-run write had taken.
    pub(crate) fn release(&self, held: &Held) {
        let mut state = self.state();
        for ip in &held.ips {
            state.ips.release(*ip);
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
        let before = step.previous.as_ref().map(|o| uses(&o.value)).unwrap_or_default();
        let after = step.new.as_ref().map(|o| uses(&o.value)).unwrap_or_default();
        let gone = Held {
            ips: before.ips.into_iter().filter(|ip| !after.ips.contains(ip)).collect(),
            ports: before.ports.into_iter().filter(|p| !after.ports.contains(p)).collect(),
        };
        self.release(&gone);
        let mut state = self.state();
        for ip in after.ips {
            state.ips.mark_used(ip);
        }
        state.ports.extend(after.ports.into_iter().map(|p| (p, ())));
    }

    fn address(&self, service: &mut Value, before: &Held, held: &mut Held, causes: &mut Causes) {
        let spec = &mut service["spec"];
        if spec["type"] == "ExternalName" {
            return;
        }
        let wish = match text(spec, "clusterIP") {
            "" => list(spec, "clusterIPs")
                .first()
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            given => given.to_owned(),
        };
        let chosen = if wish == "None" {
            wish
        } else {
            match self.take_ip(&wish, before) {
                Ok((ip, taken)) => {
                    held.ips.extend(taken.then_some(ip));
                    ip.to_string()
                }
                Err(why) => {
                    causes.push(invalid("spec.clusterIPs", json!([wish]), &why));
                    return;
                }
            }
        };
        spec["clusterIP"] = Value::from(chosen.clone());
        spec["clusterIPs"] = json!([chosen]);
        let Some(spec) = spec.as_object_mut() else { return };
        meta::or_set(spec, "ipFamilies", json!(["IPv4"]));
        meta::or_set(spec, "ipFamilyPolicy", "SingleStack");
    }

    fn take_ip(&self, wish: &str, before: &Held) -> Result<(Ipv4Addr, bool), String> {
        let mut state = self.state();
        if wish.is_empty() {
            loop {
                let ip = state
                    .ips
                    .allocate_next()
                    .map_err(|e| format!("failed to allocate a serviceIP: {e}"))?;
                if !self.reserved.contains(&ip) {
                    return Ok((ip, true));
                }
                // Set aside for a Service that asks for it: skip it without holding it.
                state.ips.release(ip);
                let set_aside = self.reserved.iter().filter(|ip| !state.ips.is_taken(**ip)).count();
                if state.ips.free() <= set_aside {
                    return Err("failed to allocate a serviceIP: range is full".to_owned());
                }
            }
        }
        let ip: Ipv4Addr = wish.parse().map_err(|_| {
            "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()
        })?;
        if before.ips.contains(&ip) {
            return Ok((ip, false));
        }
        match state.ips.allocate(ip) {
            Ok(()) => Ok((ip, true)),
            Err(IpError::Taken { .. }) => {
                Err(format!("failed to allocate IP {ip}: provided IP is already allocated"))
            }
            Err(e) => Err(format!(
                "failed to allocate IP {ip}: the provided IP is not in the valid range. The range of valid IPs is {}: {e}",
                state.ips.network()
            )),
        }
    }

    fn ports(&self, service: &mut Value, before: &Held, held: &mut Held, causes: &mut Causes) {
        let spec = &mut service["spec"];
        let wants = match text(spec, "type") {
            "NodePort" => true,
            "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
            _ => return,
        };
        for (i, port) in meta::items(spec, "ports").enumerate() {
            let protocol = text(port, "protocol").to_owned();
            let wish = port["nodePort"].as_i64().filter(|n| *n != 0);
            let field = format!("spec.ports[{i}].nodePort");
            match wish {
                Some(n) => match u16::try_from(n).ok().filter(|n| self.in_range(*n)) {
                    None => {
                        let (low, high) = self.node_ports;
                        let message = format!(
                            "provided port is not in the valid range. The range of valid ports is {low}-{high}"
                        );
                        causes.push(invalid(&field, n, &message));
                    }
                    Some(n) => self.take_port(n, protocol, before, held, &field, causes),
                },
                None if wants => match self.free_port(&protocol) {
                    Some(n) => {
                        held.ports.push((n, protocol));
                        port["nodePort"] = Value::from(n);
                    }
                    None => causes
                        .push(forbidden(&field, "failed to allocate a nodePort: range is full")),
                },
                None => {}
            }
        }
    }

    fn in_range(&self, port: u16) -> bool {
        (self.node_ports.0..=self.node_ports.1).contains(&port)
    }

    fn take_port(
        &self,
        n: u16,
        protocol: String,
        before: &Held,
        held: &mut Held,
        field: &str,
        causes: &mut Causes,
    ) {
        let port = (n, protocol);
        if before.ports.contains(&port) {
            return;
        }
        if self.state().ports.insert(port.clone(), ()).is_some() {
            causes.push(invalid(field, n, "provided port is already allocated"));
        } else {
            held.ports.push(port);
        }
    }

    /// A free port, from a random start so that ports are not reused at once.
    fn free_port(&self, protocol: &str) -> Option<u16> {
        let (low, high) = self.node_ports;
        let start = rand::rng().random_range(low..=high);
        let mut state = self.state();
        let found = (start..=high)
            .chain(low..start)
            .find(|n| !state.ports.contains_key(&(*n, protocol.to_owned())))?;
        state.ports.insert((found, protocol.to_owned()), ());
        Some(found)
    }
}

/// What a stored Service holds.
fn uses(service: &Value) -> Held {
    let spec = &service["spec"];
    Held {
        ips: text(spec, "clusterIP").parse().into_iter().collect(),
        ports: list(spec, "ports")
            .iter()
            .filter_map(|p| {
                let port = p["nodePort"]
                    .as_u64()
                    .and_then(|n| u16::try_from(n).ok())
                    .filter(|n| *n != 0)?;
                Some((port, text(p, "protocol").to_owned()))
            })
            .collect(),
    }
}

/// An update that leaves out what was allocated keeps it.
fn inherit(new: &mut Value, old: &Value) {
    let (was, is) = (text(&old["spec"], "type").to_owned(), text(&new["spec"], "type").to_owned());
    if is == "ExternalName" || was == "ExternalName" {
        return;
    }
    let spec = &mut new["spec"];
    if text(spec, "clusterIP").is_empty() && list(spec, "clusterIPs").is_empty() {
        spec["clusterIP"] = old["spec"]["clusterIP"].clone();
    }
    for field in ["ipFamilies", "ipFamilyPolicy"] {
        if spec[field].is_null() && !old["spec"][field].is_null() {
            spec[field] = old["spec"][field].clone();
        }
    }
    if is == "ClusterIP" {
        return;
    }
    for port in meta::items(spec, "ports").filter(|p| p["nodePort"].as_i64().unwrap_or(0) == 0) {
        let same = list(&old["spec"], "ports")
            .iter()
            .find(|o| o["port"] == port["port"] && o["protocol"] == port["protocol"]);
        if let Some(kept) = same.and_then(|o| o["nodePort"].as_i64()).filter(|n| *n != 0) {
            port["nodePort"] = Value::from(kept);
        }
    }
}
