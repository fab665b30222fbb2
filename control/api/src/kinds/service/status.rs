//! What `/status` may say: the addresses of a load balancer.

use std::net::IpAddr;

use serde_json::Value;

use crate::kinds::Causes;
use crate::meta::{list, text};
use crate::validate::{self, address, forbidden, invalid, not_supported, required};

const MODES: [&str; 2] = ["Proxy", "VIP"];

pub(super) fn validate(object: &Value, causes: &mut Causes) {
    let all = list(&object["status"]["loadBalancer"], "ingress");
    if object["spec"]["type"] != "LoadBalancer" && !all.is_empty() {
        let message = "may only be used when `spec.type` is 'LoadBalancer'";
        causes.push(forbidden("status.loadBalancer.ingress", message));
    }
    for (i, ingress) in all.iter().enumerate() {
        one(ingress, &format!("status.loadBalancer.ingress[{i}]"), causes);
    }
}

fn one(ingress: &Value, at: &str, causes: &mut Causes) {
    let (ip, hostname) = (text(ingress, "ip"), text(ingress, "hostname"));
    if !ip.is_empty() {
        address::valid(ip, &format!("{at}.ip"), causes);
    }
    let field = format!("{at}.ipMode");
    match ingress["ipMode"].as_str() {
        None if ip.is_empty() => {}
        None => causes.push(required(&field, "must be specified when `ip` is set")),
        Some(_) if ip.is_empty() => {
            causes.push(forbidden(&field, "may not be specified when `ip` is not set"));
        }
        Some(mode) if !MODES.contains(&mode) => causes.push(not_supported(&field, mode, &MODES)),
        Some(_) => {}
    }
    if !hostname.is_empty() {
        let field = format!("{at}.hostname");
        let problems = validate::dns_subdomain(hostname, false);
        causes.extend(problems.iter().map(|p| invalid(&field, hostname, p)));
        if hostname.parse::<IpAddr>().is_ok() {
            causes.push(invalid(&field, hostname, "must be a DNS name, not an IP address"));
        }
    }
}
