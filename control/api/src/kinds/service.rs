//! core/v1 Service: its row, its defaults and how it prints. Its rules are in the modules below.

mod families;
mod ports;
mod status;
mod update;
mod validation;

use serde_json::{Map, Value, json};

use super::KindInfo;
use super::rules::{self, AGE, BASE, NAME, col, status as status_path, wide};
use crate::meta::{self, list, or_set, text};
use crate::time::Timestamp;
use crate::validate;

/// How long a client stays with its backend unless the Service says otherwise.
const AFFINITY_TIMEOUT_S: u32 = 10_800;

/// Service.
pub static SERVICE: KindInfo = KindInfo {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    status_subresource: true,
    subresources: &[status_path("Service")],
    columns: &[
        NAME,
        col("Type"),
        col("Cluster-IP"),
        col("External-IP"),
        col("Port(s)"),
        AGE,
        wide("Selector"),
    ],
    cells,
    fields: &["spec.clusterIP", "spec.type"],
    default,
    prepare_create: update::create,
    prepare_update: update::update,
    name_rule: validate::dns_1035_label,
    validate: validation::validate,
    validate_update: update::validate,
    validate_status: status::validate,
    ..BASE
};

/// What the rules ask of a Service again and again.
pub(super) struct Shape<'a> {
    pub(super) spec: &'a Value,
    pub(super) kind: &'a str,
}

impl<'a> Shape<'a> {
    pub(super) fn of(object: &'a Value) -> Self {
        Self { spec: &object["spec"], kind: text(&object["spec"], "type") }
    }

    pub(super) fn external_name(&self) -> bool {
        self.kind == "ExternalName"
    }

    pub(super) fn load_balancer(&self) -> bool {
        self.kind == "LoadBalancer"
    }

    /// Has a port on every node.
    pub(super) fn on_nodes(&self) -> bool {
        matches!(self.kind, "NodePort" | "LoadBalancer")
    }

    pub(super) fn has_cluster_ip(&self) -> bool {
        matches!(self.kind, "ClusterIP" | "NodePort" | "LoadBalancer")
    }

    pub(super) fn headless(&self) -> bool {
        matches!(list(self.spec, "clusterIPs"), [one] if one == "None")
    }

    pub(super) fn externally_accessible(&self) -> bool {
        self.on_nodes() || (self.kind == "ClusterIP" && !list(self.spec, "externalIPs").is_empty())
    }

    /// Tells load balancers over HTTP whether a node has endpoints.
    pub(super) fn health_checked(&self) -> bool {
        self.load_balancer() && self.spec["externalTrafficPolicy"] == "Local"
    }
}

fn default(object: &mut Value) {
    default_status(object);
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    drop_zeroes(spec);
    or_set(spec, "type", "ClusterIP");
    default_affinity(spec);
    let shape = Shape::of(object);
    let (with_ip, balanced) = (shape.has_cluster_ip(), shape.load_balancer());
    let external = shape.externally_accessible();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    if with_ip {
        or_set(spec, "internalTrafficPolicy", "Cluster");
    }
    if external {
        or_set(spec, "externalTrafficPolicy", "Cluster");
    }
    if balanced {
        or_set(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        default_port(port);
    }
}

fn default_port(port: &mut Value) {
    let number = port["port"].clone();
    let Some(port) = port.as_object_mut() else { return };
    or_set(port, "protocol", "TCP");
    if port.get("targetPort").is_none_or(|t| *t == 0 || *t == "" || t.is_null()) {
        port.insert("targetPort".to_owned(), number);
    }
    if port.get("nodePort").is_some_and(|n| *n == 0) {
        port.remove("nodePort");
    }
}

/// An address without a mode is one that nodes answer for.
fn default_status(object: &mut Value) {
    let balanced = object["spec"]["type"] == "LoadBalancer";
    let status = meta::map(object, "status");
    or_set(status, "loadBalancer", json!({}));
    if !balanced {
        return;
    }
    for ingress in meta::items(&mut status["loadBalancer"], "ingress") {
        let Some(ingress) = ingress.as_object_mut() else { continue };
        if ingress.get("ip").and_then(Value::as_str).is_some_and(|ip| !ip.is_empty()) {
            or_set(ingress, "ipMode", "VIP");
        }
    }
}

/// Zero and empty are how clients in Go say nothing.
fn drop_zeroes(spec: &mut Map<String, Value>) {
    for field in ["healthCheckNodePort", "externalTrafficPolicy", "clusterIP", "loadBalancerIP"] {
        if spec.get(field).is_some_and(|v| *v == 0 || *v == "") {
            spec.remove(field);
        }
    }
    for field in ["clusterIPs", "ipFamilies"] {
        if spec.get(field).and_then(Value::as_array).is_some_and(Vec::is_empty) {
            spec.remove(field);
        }
    }
}

fn default_affinity(spec: &mut Map<String, Value>) {
    or_set(spec, "sessionAffinity", "None");
    if spec["sessionAffinity"] == "None" {
        spec.remove("sessionAffinityConfig");
    }
    if spec["sessionAffinity"] == "ClientIP" {
        let given = spec.get("sessionAffinityConfig").map(|c| &c["clientIP"]["timeoutSeconds"]);
        if given.is_none_or(Value::is_null) {
            let config = json!({ "clientIP": { "timeoutSeconds": AFFINITY_TIMEOUT_S } });
            spec.insert("sessionAffinityConfig".to_owned(), config);
        }
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let kind = text(spec, "type");
    vec![
        rules::name_cell(o),
        kind.into(),
        rules::or_none(text(spec, "clusterIP").to_owned()).into(),
        external(o, kind).into(),
        ports_text(spec).into(),
        rules::age_cell(o, now),
        rules::map_text(&spec["selector"]).into(),
    ]
}

fn external(o: &Value, kind: &str) -> String {
    let spec = &o["spec"];
    let ips: Vec<&str> = list(spec, "externalIPs").iter().filter_map(Value::as_str).collect();
    match kind {
        "ExternalName" => text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = list(&o["status"]["loadBalancer"], "ingress");
            let from_status = ingress.iter().map(|i| {
                if text(i, "ip").is_empty() { text(i, "hostname") } else { text(i, "ip") }
            });
            let all: Vec<&str> = from_status.chain(ips).collect();
            if all.is_empty() { "<pending>".to_owned() } else { all.join(",") }
        }
        _ => rules::or_none(ips.join(",")),
    }
}

fn ports_text(spec: &Value) -> String {
    let one = |p: &Value| match p["nodePort"].as_i64().filter(|n| *n != 0) {
        Some(node_port) => format!("{}:{node_port}/{}", p["port"], text(p, "protocol")),
        None => format!("{}/{}", p["port"], text(p, "protocol")),
    };
    rules::or_none(list(spec, "ports").iter().map(one).collect::<Vec<_>>().join(","))
}
