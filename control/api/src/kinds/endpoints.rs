//! core/v1 Endpoints.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, one_of};
use super::{Causes, KindInfo};
use crate::meta::{self, list, or_set, text};
use crate::validate::{self, address, invalid, required};

/// Endpoints.
pub static ENDPOINTS: KindInfo = KindInfo {
    kind: "Endpoints",
    plural: "endpoints",
    singular: "endpoints",
    short_names: &["ep"],
    create_on_update: true,
    columns: &[NAME, col("Endpoints"), AGE],
    cells: |o, now| vec![rules::name_cell(o), addresses(o).into(), rules::age_cell(o, now)],
    default,
    validate,
    ..BASE
};

fn default(object: &mut Value) {
    for subset in meta::items(object, "subsets") {
        for port in meta::items(subset, "ports").filter_map(Value::as_object_mut) {
            or_set(port, "protocol", "TCP");
        }
    }
}

fn validate(object: &Value, causes: &mut Causes) {
    for (i, subset) in list(object, "subsets").iter().enumerate() {
        let at = format!("subsets[{i}]");
        let (ready, waiting) = (list(subset, "addresses"), list(subset, "notReadyAddresses"));
        if ready.is_empty() && waiting.is_empty() {
            causes.push(required(&at, "must specify `addresses` or `notReadyAddresses`"));
        }
        for (field, all) in [("addresses", ready), ("notReadyAddresses", waiting)] {
            for (j, address) in all.iter().enumerate() {
                validate_address(object, address, &format!("{at}.{field}[{j}]"), causes);
            }
        }
        let ports = list(subset, "ports");
        for (j, port) in ports.iter().enumerate() {
            validate_port(port, ports.len() > 1, &format!("{at}.ports[{j}]"), causes);
        }
    }
}

fn validate_address(object: &Value, of: &Value, at: &str, causes: &mut Causes) {
    address::endpoint(object, text(of, "ip"), &format!("{at}.ip"), causes);
    for (field, rule) in [
        ("hostname", validate::dns_label as fn(&str, bool) -> Vec<String>),
        ("nodeName", validate::dns_subdomain),
    ] {
        if let Some(name) = of[field].as_str().filter(|name| !name.is_empty()) {
            let problems = rule(name, false);
            causes.extend(problems.iter().map(|p| invalid(&format!("{at}.{field}"), name, p)));
        }
    }
}

fn validate_port(port: &Value, named: bool, at: &str, causes: &mut Causes) {
    let name = text(port, "name");
    if !name.is_empty() {
        let problems = validate::dns_label(name, false);
        causes.extend(problems.iter().map(|p| invalid(&format!("{at}.name"), name, p)));
    } else if named {
        causes.push(required(&format!("{at}.name"), ""));
    }
    let number = port["port"].as_i64().unwrap_or(0);
    let problem = validate::port_number(number);
    causes.extend(problem.map(|p| invalid(&format!("{at}.port"), number, p)));
    one_of(&port["protocol"], &format!("{at}.protocol"), &["SCTP", "TCP", "UDP"], causes);
}

fn addresses(o: &Value) -> String {
    let mut all = Vec::new();
    for subset in list(o, "subsets") {
        let ports = list(subset, "ports");
        for address in list(subset, "addresses") {
            let ip = text(address, "ip");
            if ports.is_empty() {
                all.push(ip.to_owned());
            }
            all.extend(ports.iter().map(|p| format!("{ip}:{}", p["port"])));
        }
    }
    shortened(&all)
}

/// At most three, then how many more.
pub(super) fn shortened(all: &[String]) -> String {
    match all {
        [] => "<none>".to_owned(),
        [a, b, c, rest @ ..] if !rest.is_empty() => format!("{a},{b},{c} + {} more...", rest.len()),
        few => few.join(","),
    }
}
