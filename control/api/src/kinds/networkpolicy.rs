//! networking.k8s.io/v1 NetworkPolicy.

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col};
use super::{Causes, KindInfo};
use crate::meta::{self, list, text};
use crate::selectors::LabelSelector;
use crate::validate::{self, address, forbidden, invalid, required};

/// NetworkPolicy.
pub static NETWORK_POLICY: KindInfo = KindInfo {
    group: "networking.k8s.io",
    kind: "NetworkPolicy",
    plural: "networkpolicies",
    singular: "networkpolicy",
    short_names: &["netpol"],
    generation: true,
    columns: &[NAME, col("Pod-Selector"), AGE],
    cells: |o, now| {
        let selector = LabelSelector::from_object(&o["spec"]["podSelector"]);
        let selector = rules::or_none(selector.map(|s| s.to_text()).unwrap_or_default());
        vec![rules::name_cell(o), selector.into(), rules::age_cell(o, now)]
    },
    default,
    validate,
    ..BASE
};

/// A policy is about what comes in, and about what goes out if it says so.
fn default(object: &mut Value) {
    if !object["spec"].is_object() {
        return;
    }
    let out = object["spec"]["egress"].as_array().is_some_and(|e| !e.is_empty());
    let spec = meta::map(object, "spec");
    spec.entry("podSelector").or_insert_with(|| json!({}));
    if spec.get("policyTypes").is_none_or(rules::is_empty) {
        let types = if out { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
    for (direction, _) in DIRECTIONS {
        for rule in meta::items(&mut object["spec"], direction) {
            for port in meta::items(rule, "ports") {
                if let Some(port) = port.as_object_mut() {
                    meta::or_set(port, "protocol", "TCP");
                }
            }
        }
    }
    if let Some(spec) = object["spec"].as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
}

/// The rules of each direction, and the field with its peers.
const DIRECTIONS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    rules::selector(&spec["podSelector"], "spec.podSelector", causes);
    for (direction, peers) in DIRECTIONS {
        for (i, rule) in list(spec, direction).iter().enumerate() {
            let at = format!("spec.{direction}[{i}]");
            for (j, port) in list(rule, "ports").iter().enumerate() {
                self::port(port, &format!("{at}.ports[{j}]"), causes);
            }
            for (j, peer) in list(rule, peers).iter().enumerate() {
                self::peer(peer, &format!("{at}.{peers}[{j}]"), causes);
            }
        }
    }
    let types = list(spec, "policyTypes");
    if types.len() > 2 {
        let message = "may not specify more than two policyTypes";
        causes.push(invalid("spec.policyTypes", spec["policyTypes"].clone(), message));
        return;
    }
    for (i, kind) in types.iter().enumerate() {
        let field = format!("spec.policyTypes[{i}]");
        rules::one_of(kind, &field, &["Egress", "Ingress"], causes);
    }
}

fn port(port: &Value, at: &str, causes: &mut Causes) {
    let protocols = &["SCTP", "TCP", "UDP"];
    rules::one_of(&port["protocol"], &format!("{at}.protocol"), protocols, causes);
    let (number, end) = (&port["port"], &port["endPort"]);
    match number {
        Value::Number(n) => {
            let problem = n.as_i64().and_then(validate::port_number);
            causes.extend(problem.map(|p| invalid(&format!("{at}.port"), number.clone(), p)));
        }
        Value::String(name) => {
            let problems = validate::port_name(name);
            causes
                .extend(problems.iter().map(|p| invalid(&format!("{at}.port"), name.as_str(), p)));
        }
        _ => {}
    }
    let Some(last) = end.as_i64() else { return };
    let field = format!("{at}.endPort");
    match number.as_i64() {
        Some(first) if last < first => {
            causes.push(invalid(&field, last, "must be greater than or equal to `port`"));
        }
        Some(_) => {
            causes.extend(validate::port_number(last).map(|p| invalid(&field, last, p)));
        }
        None if number.is_string() => {
            let message = "may not be specified when `port` is non-numeric";
            causes.push(invalid(&field, last, message));
        }
        None => {
            let message = "may not be specified when `port` is not specified";
            causes.push(invalid(&field, last, message));
        }
    }
}

fn peer(peer: &Value, at: &str, causes: &mut Causes) {
    let selects = |field: &str| peer[field].is_object();
    for field in ["podSelector", "namespaceSelector"] {
        rules::selector(&peer[field], &format!("{at}.{field}"), causes);
    }
    match (selects("ipBlock"), selects("podSelector") || selects("namespaceSelector")) {
        (false, false) => causes.push(required(at, "must specify a peer")),
        (true, true) => {
            causes.push(forbidden(at, "may not specify both ipBlock and another peer"));
        }
        (true, false) => ip_block(&peer["ipBlock"], &format!("{at}.ipBlock"), causes),
        (false, true) => {}
    }
}

fn ip_block(block: &Value, at: &str, causes: &mut Causes) {
    let field = format!("{at}.cidr");
    if !rules::required(&block["cidr"], &field, "", causes) {
        return;
    }
    let Some(whole) = address::range(text(block, "cidr"), &field, causes) else { return };
    for (i, except) in list(block, "except").iter().enumerate() {
        let at = format!("{at}.except[{i}]");
        let shown = except.as_str().unwrap_or_default();
        let Some(part) = address::range(shown, &at, causes) else { continue };
        if !address::within(part, whole) {
            let cidr = text(block, "cidr");
            let message = format!("must be a strict subset of `cidr`: \"{cidr}\"");
            causes.push(invalid(&at, shown, &message));
        }
    }
}
