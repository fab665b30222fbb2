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

#[cfg(test)]
mod tests {
    use beeline_kit::Tasks;
    use beeline_registry::{Caller, Options, Target, WriteOptions};
    use beeline_store::Memory;
    use serde_json::json;

    use super::*;

    fn service(port: u64) -> ApiService {
        ApiService {
            name: "v1.x.test".into(),
            uid: String::new(),
            group: "x.test".into(),
            version: "v1".into(),
            group_priority: 1,
            version_priority: 1,
            service: ("default".into(), "ext".into()),
            port,
            tls: Err(String::new()),
            spec: Value::Null,
        }
    }

    #[tokio::test]
    async fn endpoints_are_found_by_the_name_of_the_services_port() {
        let tasks = Tasks::new();
        let store = std::sync::Arc::new(Memory::new());
        let registry = Registry::open(store, Options::default(), &tasks).await.unwrap();
        let create = async |kind, body: Value| {
            let target = Target::collection(kind, Some("default"));
            let caller = Caller::system("test");
            registry.create(&caller, &target, body, &WriteOptions::default()).await.unwrap();
        };
        let why = |port| addresses(&registry, &service(port)).unwrap_err();
        assert_eq!(why(443).message, "service/ext in \"default\" is not present");
        let ports = json!([{ "name": "https", "port": 443, "targetPort": "tls" }]);
        create(&SERVICE, json!({ "metadata": { "name": "ext" }, "spec": { "ports": ports } }))
            .await;
        assert_eq!(why(444).reason, "ServicePortError");
        assert_eq!(why(443).reason, "EndpointsNotFound");
        let slice = |name: &str, port: Value, endpoints: Value| {
            json!({ "metadata": { "name": name, "labels": { "kubernetes.io/service-name": "ext" } },
                "addressType": "IPv4", "ports": [port], "endpoints": endpoints })
        };
        let other = json!({ "name": "metrics", "port": 9 });
        let ready = json!([{ "addresses": ["192.0.2.1"] }]);
        create(&ENDPOINT_SLICE, slice("one", other, ready)).await;
        assert_eq!(
            why(443).message,
            "endpointslices for service/ext in \"default\" have no addresses with port name \"https\""
        );
        let port = json!({ "name": "https", "port": 8443 });
        let endpoints = json!([
            { "addresses": ["192.0.2.2"] },
            { "addresses": ["192.0.2.3"], "conditions": { "ready": false } },
            { "addresses": ["192.0.2.4"], "conditions": { "ready": true } },
        ]);
        create(&ENDPOINT_SLICE, slice("two", port, endpoints)).await;
        let found = addresses(&registry, &service(443)).unwrap();
        assert_eq!(found, ["192.0.2.2:8443", "192.0.2.4:8443"]);
        tasks.stop(std::time::Duration::from_secs(1)).await;
    }
}
