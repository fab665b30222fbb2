//! discovery.k8s.io/v1 EndpointSlice.

use std::net::IpAddr;

use serde_json::Value;

use super::endpoints::shortened;
use super::rules::{self, AGE, BASE, NAME, col, one_of};
use super::{Causes, KindInfo};
use crate::meta::{self, list, or_set, text};
use crate::validate::{self, address, duplicate, invalid, required, too_many};

/// Most of each that a slice may have.
const ENDPOINTS_MAX: usize = 1000;
const ADDRESSES_MAX: usize = 100;
const PORTS_MAX: usize = 20_000;
const HINTS_MAX: usize = 8;

/// EndpointSlice.
pub static ENDPOINT_SLICE: KindInfo = KindInfo {
    group: "discovery.k8s.io",
    kind: "EndpointSlice",
    plural: "endpointslices",
    singular: "endpointslice",
    generation: true,
    columns: &[NAME, col("AddressType"), col("Ports"), col("Endpoints"), AGE],
    cells: |o, now| {
        vec![
            rules::name_cell(o),
            o["addressType"].clone(),
            ports(o).into(),
            endpoints(o).into(),
            rules::age_cell(o, now),
        ]
    },
    default,
    validate,
    validate_update: |new, old, causes| {
        rules::immutable(&new["addressType"], &old["addressType"], "addressType", causes);
    },
    ..BASE
};

fn default(object: &mut Value) {
    for port in meta::items(object, "ports").filter_map(Value::as_object_mut) {
        or_set(port, "protocol", "TCP");
        port.entry("name").or_insert(Value::from(""));
    }
    if object["endpoints"].is_null() {
        object["endpoints"] = Value::Array(Vec::new());
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    let family = text(object, "addressType");
    if family.is_empty() {
        causes.push(required("addressType", ""));
    } else {
        one_of(&object["addressType"], "addressType", &["FQDN", "IPv4", "IPv6"], causes);
    }
    let all = list(object, "endpoints");
    if all.len() > ENDPOINTS_MAX {
        causes.push(too_many("endpoints", all.len(), ENDPOINTS_MAX));
    } else {
        for (i, endpoint) in all.iter().enumerate() {
            validate_endpoint(object, endpoint, &format!("endpoints[{i}]"), causes);
        }
    }
    let ports = list(object, "ports");
    if ports.len() > PORTS_MAX {
        causes.push(too_many("ports", ports.len(), PORTS_MAX));
        return;
    }
    let mut names = Vec::new();
    for (i, port) in ports.iter().enumerate() {
        let at = format!("ports[{i}]");
        let name = text(port, "name");
        if names.contains(&name) {
            causes.push(duplicate(&format!("{at}.name"), name));
        }
        names.push(name);
        validate_port(port, &at, causes);
    }
}

fn validate_endpoint(object: &Value, endpoint: &Value, at: &str, causes: &mut Causes) {
    let addresses = list(endpoint, "addresses");
    let field = format!("{at}.addresses");
    if addresses.is_empty() {
        causes.push(required(&field, "must contain at least 1 address"));
    } else if addresses.len() > ADDRESSES_MAX {
        causes.push(too_many(&field, addresses.len(), ADDRESSES_MAX));
    }
    for (j, address) in addresses.iter().enumerate() {
        let address = address.as_str().unwrap_or_default();
        validate_address(object, address, &format!("{field}[{j}]"), causes);
    }
    if let Some(node) = endpoint["nodeName"].as_str() {
        let problems = validate::dns_subdomain(node, false);
        causes.extend(problems.iter().map(|p| invalid(&format!("{at}.nodeName"), node, p)));
    }
    if let Some(hostname) = endpoint["hostname"].as_str() {
        let problems = validate::dns_label(hostname, false);
        causes.extend(problems.iter().map(|p| invalid(&format!("{at}.hostname"), hostname, p)));
    }
    let hints = &endpoint["hints"];
    for (field, rule) in [("forZones", validate::label_value as Rule), ("forNodes", node_name)] {
        validate_hints(list(hints, field), &format!("{at}.hints.{field}"), rule, causes);
    }
}

type Rule = fn(&str) -> Vec<String>;

fn node_name(name: &str) -> Vec<String> {
    validate::dns_subdomain(name, false)
}

fn validate_hints(hints: &[Value], at: &str, rule: Rule, causes: &mut Causes) {
    if hints.len() > HINTS_MAX {
        causes.push(too_many(at, hints.len(), HINTS_MAX));
        return;
    }
    let mut seen = Vec::new();
    for (i, hint) in hints.iter().enumerate() {
        let (name, field) = (text(hint, "name"), format!("{at}[{i}].name"));
        if seen.contains(&name) {
            causes.push(duplicate(&format!("{at}[{i}]"), name));
        }
        seen.push(name);
        causes.extend(rule(name).iter().map(|p| invalid(&field, name, p)));
    }
}

fn validate_address(object: &Value, address: &str, field: &str, causes: &mut Causes) {
    let family = text(object, "addressType");
    match (family, address.parse::<IpAddr>()) {
        ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => {
            address::endpoint(object, address, field, causes);
        }
        ("IPv4" | "IPv6", _) => {
            causes.push(invalid(field, address, &format!("must be a valid {family} address")));
        }
        ("FQDN", _) => {
            let bare = address.strip_suffix('.').unwrap_or(address);
            let mut problems = validate::dns_subdomain(bare, false);
            if problems.is_empty() && !bare.contains('.') {
                problems.push(
                    "should be a domain with at least two segments separated by dots".to_owned(),
                );
            }
            causes.extend(problems.iter().map(|p| invalid(field, address, p)));
        }
        _ => {}
    }
}

fn validate_port(port: &Value, at: &str, causes: &mut Causes) {
    let name = text(port, "name");
    if !name.is_empty() {
        let problems = validate::dns_label(name, false);
        causes.extend(problems.iter().map(|p| invalid(&format!("{at}.name"), name, p)));
    }
    if let Some(number) = port["port"].as_i64() {
        let problem = validate::port_number(number);
        causes.extend(problem.map(|p| invalid(&format!("{at}.port"), number, p)));
    }
    one_of(&port["protocol"], &format!("{at}.protocol"), &["SCTP", "TCP", "UDP"], causes);
    if let Some(protocol) = port["appProtocol"].as_str() {
        let problems = validate::label_key(protocol);
        let field = format!("{at}.appProtocol");
        causes.extend(problems.iter().map(|p| invalid(&field, protocol, p)));
    }
}

fn ports(o: &Value) -> String {
    let all: Vec<String> = list(o, "ports")
        .iter()
        .map(|p| p["port"].as_i64().map_or("*".to_owned(), |n| n.to_string()))
        .collect();
    if all.is_empty() { "<unset>".to_owned() } else { shortened(&all) }
}

fn endpoints(o: &Value) -> String {
    let all: Vec<String> = list(o, "endpoints")
        .iter()
        .flat_map(|e| list(e, "addresses"))
        .filter_map(|a| a.as_str().map(str::to_owned))
        .collect();
    if all.is_empty() { "<unset>".to_owned() } else { shortened(&all) }
}
