//! Which address families a Service has: what it asks for, what its addresses say, what the cluster offers.
//!
//! In: a validated Service, the one before it, the cluster's families. Out: `ipFamilies`, `ipFamilyPolicy` and the
//! length of `clusterIPs` as they are stored, or causes in upstream's words. Pure.
//!
//! A Service with `PreferDualStack` is never changed because the cluster was: only who writes it decides.

use std::net::IpAddr;

use beeline_api::kinds::Causes;
use beeline_api::meta::{list, text};
use beeline_api::validate::invalid;
use serde_json::{Value, json};

const V4: &str = "IPv4";
const V6: &str = "IPv6";

/// The name of an address's family.
pub(super) fn name(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { V4 } else { V6 }
}

/// Fill in families and policy.
pub(super) fn decide(
    service: &mut Value,
    old: Option<&Value>,
    offered: &[&'static str],
    causes: &mut Causes,
) {
    if service["spec"]["type"] == "ExternalName" {
        return;
    }
    let before = old.map(|old| &old["spec"]).filter(|spec| spec["type"] != "ExternalName");
    let spec = &mut service["spec"];
    if before.is_some_and(|before| still_preferred(spec, before)) {
        return;
    }
    let loose = spec["clusterIPs"][0] == "None"
        && spec["selector"].as_object().is_none_or(serde_json::Map::is_empty);
    if spec["ipFamilyPolicy"].is_null() {
        let inherited = before.map(|b| b["ipFamilyPolicy"].clone()).filter(|p| !p.is_null());
        let own = if loose { "RequireDualStack" } else { "SingleStack" };
        spec["ipFamilyPolicy"] = inherited.unwrap_or_else(|| own.into());
    }
    if let Some(before) = before {
        downgrade(spec, before, causes);
    }
    single(spec, causes);
    infer(spec, offered, causes);
    if !causes.is_empty() {
        return;
    }
    if loose {
        let mut families = families(spec, offered);
        if families.len() < 2 && text(spec, "ipFamilyPolicy") != "SingleStack" {
            families.push(other(&families[0]));
        }
        spec["ipFamilies"] = json!(families);
        return;
    }
    if text(spec, "ipFamilyPolicy") == "RequireDualStack" && offered.len() < 2 {
        let message = "this cluster is not configured for dual-stack services";
        causes.push(invalid("spec.ipFamilyPolicy", spec["ipFamilyPolicy"].clone(), message));
    }
    for (i, family) in list(spec, "ipFamilies").iter().enumerate() {
        if !family.as_str().is_some_and(|f| offered.contains(&f)) {
            let field = format!("spec.ipFamilies[{i}]");
            causes.push(invalid(&field, family.clone(), "not configured on this cluster"));
        }
    }
    let mut families = families(spec, offered);
    if families.len() == 1 && offered.len() == 2 && text(spec, "ipFamilyPolicy") != "SingleStack" {
        families.push(other(&families[0]));
    }
    spec["ipFamilies"] = json!(families);
}

fn families(spec: &Value, offered: &[&'static str]) -> Vec<String> {
    let given = list(spec, "ipFamilies").iter().filter_map(|f| f.as_str().map(str::to_owned));
    let given: Vec<String> = given.collect();
    if given.is_empty() { vec![offered.first().copied().unwrap_or(V4).to_owned()] } else { given }
}

fn other(family: &str) -> String {
    if family == V4 { V6.to_owned() } else { V4.to_owned() }
}

/// Both prefer dual stack, and nothing about addresses differs.
fn still_preferred(spec: &Value, before: &Value) -> bool {
    let prefers = |spec: &Value| spec["ipFamilyPolicy"] == "PreferDualStack";
    prefers(spec)
        && prefers(before)
        && ["type", "clusterIPs", "ipFamilies"].iter().all(|field| spec[*field] == before[*field])
}

/// Going to one family is said by the policy; the lists may stay as they were.
fn downgrade(spec: &mut Value, before: &Value, causes: &mut Causes) {
    let single = text(spec, "ipFamilyPolicy") == "SingleStack";
    let policy = spec["ipFamilyPolicy"].clone();
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (new, old) = (list(spec, field).len(), list(before, field).len());
        if single && spec[field] == before[field] && new > 1 {
            spec[field] = json!([spec[field][0]]);
        } else if !single && new > 0 && new < old {
            let message = format!("must be 'SingleStack' to release the secondary {what}");
            causes.push(invalid("spec.ipFamilyPolicy", policy.clone(), &message));
        }
    }
}

fn single(spec: &Value, causes: &mut Causes) {
    if text(spec, "ipFamilyPolicy") != "SingleStack" {
        return;
    }
    for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if list(spec, field).len() == 2 {
            let message = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            causes.push(invalid("spec.ipFamilyPolicy", "SingleStack", &message));
        }
    }
}

/// Addresses without a family bring their own.
fn infer(spec: &mut Value, offered: &[&'static str], causes: &mut Causes) {
    let ips = list(spec, "clusterIPs").to_vec();
    let mut families = list(spec, "ipFamilies").to_vec();
    for (i, ip) in ips.iter().enumerate().skip(families.len()) {
        let Some(family) = ip.as_str().and_then(|ip| ip.parse().ok()).map(name) else { break };
        if !offered.contains(&family) {
            let message = format!("{family} is not configured on this cluster");
            causes.push(invalid(&format!("spec.clusterIPs[{i}]"), ips.clone(), &message));
        }
        families.push(family.into());
    }
    if !families.is_empty() {
        spec["ipFamilies"] = Value::Array(families);
    }
}
