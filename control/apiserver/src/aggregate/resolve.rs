//! Where an extension server is, and whether it can be there at all.
//!
//! In: the APIService, and what the registry has of its Service. Out: addresses, or upstream's reason and words for why it is not
//! available. Endpoints are used as they are: this process need not be able to reach cluster addresses.

use beeline_api::kinds::{ENDPOINT_SLICE, SERVICE};
use beeline_api::meta::{list, text};
use beeline_registry::{Object, Registry};
use serde_json::Value;

use super::ApiService;

/// Why not: a reason and a sentence for the condition `Available`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unavailable {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// `host:port` of all endpoints that are ready; at least one.
pub(super) fn addresses(registry: &Registry, of: &ApiService) -> Result<Vec<String>, Unavailable> {
    let (namespace, name) = &of.service;
    let no = |reason, message| Err(Unavailable { reason, message });
    let Some(service) = registry.cached(&SERVICE, Some(namespace), name) else {
        let message = format!("service/{name} in {namespace:?} is not present");
        return no("ServiceNotFound", message);
    };
    let spec = &service.value["spec"];
    if text(spec, "type") == "ExternalName" {
        return Ok(vec![joined(text(spec, "externalName"), of.port)]);
    }
    let port = list(spec, "ports").iter().find(|port| port["port"] == of.port);
    let Some(port) = port else {
        let message =
            format!("service/{name} in {namespace:?} is not listening on port {}", of.port);
        return no("ServicePortError", message);
    };
    let port = text(port, "name");
    let slices = registry.snapshot(&ENDPOINT_SLICE, Some(namespace));
    let belongs = |slice: &&std::sync::Arc<Object>| {
        slice.value["metadata"]["labels"]["kubernetes.io/service-name"] == name.as_str()
    };
    let mut slices = slices.iter().filter(belongs).peekable();
    if slices.peek().is_none() {
        let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
        return no("EndpointsNotFound", message);
    }
    let found: Vec<String> = slices.flat_map(|slice| of_slice(&slice.value, port)).collect();
    if found.is_empty() {
        let message = format!(
            "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port:?}"
        );
        return no("MissingEndpoints", message);
    }
    Ok(found)
}

fn of_slice(slice: &Value, port: &str) -> Vec<String> {
    let port = list(slice, "ports").iter().find(|one| text(one, "name") == port);
    let Some(port) = port.and_then(|port| port["port"].as_u64()) else { return Vec::new() };
    let ready = list(slice, "endpoints").iter().filter(|one| one["conditions"]["ready"] != false);
    let addresses = ready.flat_map(|one| list(one, "addresses")).filter_map(Value::as_str);
    addresses.map(|address| joined(address, port)).collect()
}

fn joined(host: &str, port: u64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
