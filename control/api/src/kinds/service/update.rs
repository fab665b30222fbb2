//! What an update takes over from the Service before it, what it drops, and what it may not change.
//!
//! A client that writes back an old manifest does not name what was allocated: it stays. A type that has no use for an
//! allocated value loses it, unless the same update changes it, which validation then refuses.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Shape, families};
use crate::kinds::Causes;
use crate::meta::{items, list, text};
use crate::validate::{forbidden, invalid};

/// A new Service that names one address names it in both fields.
pub(super) fn create(new: &mut Value) {
    let spec = &mut new["spec"];
    let ip = text(spec, "clusterIP").to_owned();
    if !ip.is_empty() && list(spec, "clusterIPs").is_empty() {
        spec["clusterIPs"] = json!([ip]);
    }
}

/// Takes over, aligns and drops.
pub(super) fn update(new: &mut Value, old: &Value) {
    if !new["spec"].is_object() {
        return;
    }
    keep_allocated(new, old);
    align_cluster_ips(&mut new["spec"], &old["spec"]);
    drop_unused(new, old);
    if new["spec"]["type"] != "LoadBalancer" {
        new["status"]["loadBalancer"] = json!({});
    }
}

fn keep_allocated(new: &mut Value, old: &Value) {
    let before = Shape::of(old);
    let (with_ip, on_nodes, checked) = {
        let after = Shape::of(new);
        (
            after.has_cluster_ip() && before.has_cluster_ip(),
            after.on_nodes() && before.on_nodes(),
            after.health_checked() && before.health_checked(),
        )
    };
    let spec = &mut new["spec"];
    if with_ip {
        for field in ["clusterIP", "clusterIPs"] {
            inherit(spec, before.spec, field);
        }
    }
    if on_nodes {
        keep_node_ports(spec, before.spec);
    }
    if checked {
        inherit(spec, before.spec, "healthCheckNodePort");
    }
}

fn inherit(spec: &mut Value, old: &Value, field: &str) {
    if spec[field].is_null() && !old[field].is_null() {
        spec[field] = old[field].clone();
    }
}

/// By port name; the rest of a port may have changed. A number that another port took over is not given again.
fn keep_node_ports(spec: &mut Value, old: &Value) {
    let number = |port: &Value| port["nodePort"].as_i64().filter(|n| *n != 0);
    let before: BTreeMap<&str, i64> = list(old, "ports")
        .iter()
        .filter_map(|port| Some((text(port, "name"), number(port)?)))
        .collect();
    let taken: Vec<i64> = list(spec, "ports").iter().filter_map(number).collect();
    for port in items(spec, "ports").filter(|port| number(port).is_none()) {
        let kept = before.get(text(port, "name")).filter(|n| !taken.contains(n));
        if let Some(kept) = kept {
            port["nodePort"] = Value::from(*kept);
        }
    }
}

/// Old clients know `clusterIP` alone: what they change there counts, if they leave the list as it was.
fn align_cluster_ips(spec: &mut Value, old: &Value) {
    let (was, is) = (text(old, "clusterIP").to_owned(), text(spec, "clusterIP").to_owned());
    let list_same = list(spec, "clusterIPs") == list(old, "clusterIPs");
    if was == is || !list_same {
        return;
    }
    if is.is_empty() {
        remove(spec, "clusterIPs");
    } else {
        spec["clusterIPs"] = json!([is]);
    }
}

fn remove(spec: &mut Value, field: &str) {
    if let Some(map) = spec.as_object_mut() {
        map.remove(field);
    }
}

fn drop_unused(new: &mut Value, old: &Value) {
    let before = Shape::of(old);
    let after = Shape::of(new);
    let mut gone: Vec<&str> = Vec::new();
    let ended = |was: bool, is: bool| was && !is;
    if ended(before.has_cluster_ip(), after.has_cluster_ip()) {
        gone.extend(["clusterIPs", "ipFamilies", "ipFamilyPolicy"]);
    }
    if ended(before.health_checked(), after.health_checked()) {
        gone.push("healthCheckNodePort");
    }
    if ended(before.load_balancer(), after.load_balancer()) {
        gone.extend(["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    }
    if ended(before.externally_accessible(), after.externally_accessible()) {
        gone.push("externalTrafficPolicy");
    }
    let portless = ended(before.on_nodes(), after.on_nodes())
        && list(after.spec, "ports").len() == list(before.spec, "ports").len()
        && list(after.spec, "ports")
            .iter()
            .zip(list(before.spec, "ports"))
            .all(|(a, b)| a["nodePort"] == b["nodePort"]);
    gone.retain(|field| after.spec[*field] == before.spec[*field]);
    let spec = &mut new["spec"];
    if gone.contains(&"clusterIPs") {
        remove(spec, "clusterIP");
    }
    for field in gone {
        remove(spec, field);
    }
    if portless {
        let ports = items(spec, "ports").filter_map(Value::as_object_mut);
        ports.for_each(|port: &mut Map<String, Value>| drop(port.remove("nodePort")));
    }
}

/// What may not change.
pub(super) fn validate(new: &Value, old: &Value, causes: &mut Causes) {
    let (new, old) = (Shape::of(new), Shape::of(old));
    families::validate_update(&new, &old, causes);
    let class = "loadBalancerClass";
    if new.load_balancer() && old.load_balancer() && new.spec[class] != old.spec[class] {
        let value = new.spec[class].clone();
        causes.push(invalid("spec.loadBalancerClass", value, "may not change once set"));
    }
    let port = "healthCheckNodePort";
    if new.health_checked() && old.health_checked() && new.spec[port] != old.spec[port] {
        causes.push(forbidden("spec.healthCheckNodePort", "field is immutable"));
    }
}
