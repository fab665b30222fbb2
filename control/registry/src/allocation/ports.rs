//! Ports on every node: one pool of numbers for Services and for their health checks, whatever the protocol.
//!
//! In: a Service and the numbers it had. Out: the Service with its numbers, or causes in upstream's words.

use std::collections::BTreeSet;

use beeline_api::kinds::Causes;
use beeline_api::meta::{items, text};
use beeline_api::validate::{forbidden, invalid};
use rand::Rng;
use serde_json::Value;

/// The numbers, while one write takes some of them.
pub(super) struct Pool<'a> {
    pub(super) taken: &'a mut BTreeSet<u16>,
    /// First and last.
    pub(super) range: (u16, u16),
    /// Those of the Service as it was.
    pub(super) before: &'a BTreeSet<u16>,
    /// Those that this write took.
    pub(super) held: &'a mut BTreeSet<u16>,
}

impl Pool<'_> {
    /// Numbers for the ports of a Service that is reached through nodes.
    pub(super) fn node_ports(&mut self, service: &mut Value, causes: &mut Causes) {
        let spec = &mut service["spec"];
        let wants = match text(spec, "type") {
            "NodePort" => true,
            "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
            _ => return,
        };
        for (i, port) in items(spec, "ports").enumerate() {
            let field = format!("spec.ports[{i}].nodePort");
            if let Some(wish) = port["nodePort"].as_i64().filter(|n| *n != 0)
                && let Err(why) = self.take(wish)
            {
                causes.push(invalid(&field, wish, &why));
            }
        }
        if !wants || !causes.is_empty() {
            return;
        }
        for i in 0..spec["ports"].as_array().map_or(0, Vec::len) {
            if spec["ports"][i]["nodePort"].as_i64().is_some_and(|n| n != 0) {
                continue;
            }
            // The same port of another protocol has the same number.
            let number = twin(spec, i).or_else(|| self.any());
            match number {
                Some(number) => spec["ports"][i]["nodePort"] = Value::from(number),
                None => causes.push(forbidden(
                    &format!("spec.ports[{i}].nodePort"),
                    "failed to allocate a nodePort: range is full",
                )),
            }
        }
    }

    /// The number where load balancers ask for a node's health.
    pub(super) fn health_check(&mut self, service: &mut Value, causes: &mut Causes) {
        let spec = &mut service["spec"];
        if spec["type"] != "LoadBalancer" || spec["externalTrafficPolicy"] != "Local" {
            return;
        }
        let field = "spec.healthCheckNodePort";
        match spec["healthCheckNodePort"].as_i64().filter(|n| *n != 0) {
            Some(wish) => {
                if let Err(why) = self.take(wish) {
                    let message =
                        format!("failed to allocate requested HealthCheck NodePort {wish}: {why}");
                    causes.push(invalid(field, wish, &message));
                }
            }
            None => match self.any() {
                Some(number) => spec["healthCheckNodePort"] = Value::from(number),
                None => causes.push(forbidden(
                    field,
                    "failed to allocate a HealthCheck NodePort: range is full",
                )),
            },
        }
    }

    fn take(&mut self, wish: i64) -> Result<(), String> {
        let (low, high) = self.range;
        let number = u16::try_from(wish).ok().filter(|n| (low..=high).contains(n)).ok_or_else(|| {
            format!(
                "provided port is not in the valid range. The range of valid ports is {low}-{high}"
            )
        })?;
        if self.before.contains(&number) || self.held.contains(&number) {
            return Ok(());
        }
        if !self.taken.insert(number) {
            return Err("provided port is already allocated".to_owned());
        }
        self.held.insert(number);
        Ok(())
    }

    /// A free number, from a random start so that numbers are not reused at once.
    fn any(&mut self) -> Option<u16> {
        let (low, high) = self.range;
        let start = rand::rng().random_range(low..=high);
        let number = (start..=high).chain(low..start).find(|n| !self.taken.contains(n))?;
        self.taken.insert(number);
        self.held.insert(number);
        Some(number)
    }
}

/// The number of a port with the same Service port and another protocol, unless one of this protocol has it.
fn twin(spec: &Value, i: usize) -> Option<u16> {
    let ports = spec["ports"].as_array()?;
    let mine = &ports[i];
    let number = |port: &Value| port["nodePort"].as_u64().filter(|n| *n != 0);
    let found = ports
        .iter()
        .filter(|p| p["port"] == mine["port"] && p["protocol"] != mine["protocol"])
        .find_map(number)?;
    let clash = ports.iter().any(|p| p["protocol"] == mine["protocol"] && number(p) == Some(found));
    if clash { None } else { u16::try_from(found).ok() }
}
