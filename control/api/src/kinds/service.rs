//! core/v1 Service.

use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col, one_of, status, wide};
use super::{Causes, KindInfo};
use crate::decode::strict;
use crate::meta::{self, list, or_set, text};
use crate::patch::schema;
use crate::time::Timestamp;
use crate::validate::{self, duplicate, forbidden, invalid, required};

/// Service.
pub static SERVICE: KindInfo = KindInfo {
    kind: "Service",
    plural: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    status_subresource: true,
    subresources: &[status("Service")],
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
    check: strict::check::<Service>,
    default,
    name_rule: validate::dns_1035_label,
    validate,
    validate_update,
    schema: &schema::SERVICE,
    ..BASE
};

fn default(object: &mut Value) {
    let status = meta::map(object, "status");
    or_set(status, "loadBalancer", json!({}));
    let external = !list(&object["spec"], "externalIPs").is_empty();
    let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else { return };
    or_set(spec, "type", "ClusterIP");
    or_set(spec, "sessionAffinity", "None");
    let kind = spec["type"].as_str().unwrap_or_default().to_owned();
    if spec["sessionAffinity"] == "ClientIP" {
        or_set(spec, "sessionAffinityConfig", json!({ "clientIP": { "timeoutSeconds": 10_800 } }));
    }
    if kind != "ExternalName" {
        or_set(spec, "internalTrafficPolicy", "Cluster");
    }
    if external || matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        or_set(spec, "externalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        or_set(spec, "allocateLoadBalancerNodePorts", true);
    }
    for port in spec.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        let number = port["port"].clone();
        if let Some(port) = port.as_object_mut() {
            or_set(port, "protocol", "TCP");
            if port.get("targetPort").is_none_or(|t| t == 0 || t == "") {
                port.insert("targetPort".to_owned(), number);
            }
        }
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    let kind = text(spec, "type");
    one_of(
        &spec["type"],
        "spec.type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        causes,
    );
    one_of(&spec["sessionAffinity"], "spec.sessionAffinity", &["ClientIP", "None"], causes);
    one_of(
        &spec["internalTrafficPolicy"],
        "spec.internalTrafficPolicy",
        &["Cluster", "Local"],
        causes,
    );
    one_of(
        &spec["externalTrafficPolicy"],
        "spec.externalTrafficPolicy",
        &["Cluster", "Local"],
        causes,
    );
    validate::labels(&spec["selector"], "spec.selector", causes);
    let headless = text(spec, "clusterIP") == "None";
    if headless && matches!(kind, "NodePort" | "LoadBalancer") {
        let message = format!("may not be set to 'None' for {kind} services");
        causes.push(invalid("spec.clusterIPs[0]", "None", &message));
    }
    if kind == "ExternalName" {
        let name = text(spec, "externalName");
        if name.is_empty() {
            causes.push(required("spec.externalName", ""));
        }
        causes.extend(
            validate::dns_subdomain(name.trim_end_matches('.'), false)
                .iter()
                .map(|p| invalid("spec.externalName", name, p)),
        );
        if !text(spec, "clusterIP").is_empty() {
            causes.push(forbidden("spec.clusterIPs", "may not be set for ExternalName services"));
        }
    } else if list(spec, "ports").is_empty() && !headless {
        causes.push(required("spec.ports", ""));
    }
    ports(spec, kind, causes);
    let timeout = &spec["sessionAffinityConfig"]["clientIP"]["timeoutSeconds"];
    if let Some(n) = timeout.as_i64().filter(|n| !(1..=86_400).contains(n)) {
        causes.push(invalid(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            n,
            "must be greater than 0 and less than 86400",
        ));
    }
}

fn ports(spec: &Value, kind: &str, causes: &mut Causes) {
    let all = list(spec, "ports");
    let (mut names, mut seen, mut node_ports) = (Vec::new(), Vec::new(), Vec::new());
    for (i, port) in all.iter().enumerate() {
        let at = format!("spec.ports[{i}]");
        let name = text(port, "name");
        if name.is_empty() {
            if all.len() > 1 {
                causes.push(required(&format!("{at}.name"), ""));
            }
        } else {
            causes.extend(
                validate::dns_label(name, false)
                    .iter()
                    .map(|p| invalid(&format!("{at}.name"), name, p)),
            );
            if names.contains(&name) {
                causes.push(duplicate(&format!("{at}.name"), name));
            }
            names.push(name);
        }
        let number = port["port"].as_i64().unwrap_or(0);
        causes.extend(
            validate::port_number(number).map(|p| invalid(&format!("{at}.port"), number, p)),
        );
        one_of(&port["protocol"], &format!("{at}.protocol"), &["SCTP", "TCP", "UDP"], causes);
        target_port(&port["targetPort"], &at, causes);
        let protocol = text(port, "protocol");
        if seen.contains(&(number, protocol)) {
            causes.push(duplicate(&at, json!({ "port": number, "protocol": protocol })));
        }
        seen.push((number, protocol));
        if let Some(node_port) = port["nodePort"].as_i64().filter(|n| *n != 0) {
            if !matches!(kind, "NodePort" | "LoadBalancer") {
                causes.push(forbidden(
                    &format!("{at}.nodePort"),
                    "may not be used when `type` is 'ClusterIP'",
                ));
            }
            if node_ports.contains(&(node_port, protocol)) {
                causes.push(duplicate(&format!("{at}.nodePort"), node_port));
            }
            node_ports.push((node_port, protocol));
        }
    }
}

fn target_port(target: &Value, at: &str, causes: &mut Causes) {
    let field = format!("{at}.targetPort");
    match target {
        Value::Number(n) => {
            let n = n.as_i64().unwrap_or(0);
            causes.extend(validate::port_number(n).map(|p| invalid(&field, n, p)));
        }
        Value::String(s) => {
            causes.extend(validate::port_name(s).iter().map(|p| invalid(&field, s.as_str(), p)));
        }
        _ => {}
    }
}

fn validate_update(new: &Value, old: &Value, causes: &mut Causes) {
    let (was, is) = (text(&old["spec"], "clusterIP"), text(&new["spec"], "clusterIP"));
    let external = |o: &Value| o["spec"]["type"] == "ExternalName";
    if !was.is_empty() && was != is && !external(new) && !external(old) {
        causes.push(invalid("spec.clusterIPs[0]", json!([is]), "may not change once set"));
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
