//! discovery.k8s.io/v1 EndpointSlice.

use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::Value;

use super::endpoints::shortened;
use super::rules::{self, AGE, BASE, NAME, col, one_of};
use super::{Causes, KindInfo};
use crate::decode::strict;
use crate::meta::{self, list, or_set, text};
use crate::validate::{invalid, required, too_many};

/// Most endpoints and ports a slice may have.
const ENDPOINTS_MAX: usize = 1000;
const PORTS_MAX: usize = 20_000;

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
    check: strict::check::<EndpointSlice>,
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
    if text(object, "addressType").is_empty() {
        causes.push(required("addressType", ""));
    }
    one_of(&object["addressType"], "addressType", &["FQDN", "IPv4", "IPv6"], causes);
    let all = list(object, "endpoints");
    if all.len() > ENDPOINTS_MAX {
        causes.push(too_many("endpoints", all.len(), ENDPOINTS_MAX));
    }
    let ports = list(object, "ports").len();
    if ports > PORTS_MAX {
        causes.push(too_many("ports", ports, PORTS_MAX));
    }
    for (i, endpoint) in all.iter().enumerate() {
        let addresses = list(endpoint, "addresses");
        if addresses.is_empty() {
            causes.push(required(
                &format!("endpoints[{i}].addresses"),
                "must contain at least 1 address",
            ));
        }
        for (j, address) in addresses.iter().enumerate() {
            let ip = address.as_str().unwrap_or_default();
            let fits = match text(object, "addressType") {
                "IPv4" => ip.parse::<std::net::Ipv4Addr>().is_ok(),
                "IPv6" => ip.parse::<std::net::Ipv6Addr>().is_ok(),
                _ => true,
            };
            if !fits {
                causes.push(invalid(
                    &format!("endpoints[{i}].addresses[{j}]"),
                    ip,
                    "must be a valid address of the slice's addressType",
                ));
            }
        }
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
