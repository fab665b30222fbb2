//! What every cluster has from the start: four namespaces, the roles, two priorities, whose requests go first, and the
//! API's own Service.

mod flowcontrol;

use std::net::IpAddr;

use beeline_alloc::IpRange;
use beeline_api::kinds::{
    ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, PRIORITY_CLASS, SERVICE, SERVICE_ACCOUNT,
};
use beeline_api::{ApiError, KindInfo};
use serde_json::{Value, json};

use crate::classes;
use crate::options::{Caller, Target, WriteOptions};
use crate::registry::{OpenError, Registry};
use crate::roles::reconcile;
use crate::write;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing and corrects the address of the API server.
pub(crate) async fn ensure(registry: &Registry) -> Result<(), OpenError> {
    for name in NAMESPACES {
        put(registry, &NAMESPACE, None, json!({ "metadata": { "name": name } }), Put::Once).await?;
        let account = json!({ "metadata": { "name": "default" } });
        put(registry, &SERVICE_ACCOUNT, Some(name), account, Put::Once).await?;
    }
    reconcile::ensure(registry).await?;
    for class in classes::of_the_system() {
        put(registry, &PRIORITY_CLASS, None, class, Put::Once).await?;
    }
    flowcontrol::ensure(registry).await?;
    if let Some((ip, port)) = registry.inner.options.advertise {
        kubernetes_service(registry, ip, port).await?;
    }
    Ok(())
}

enum Put {
    /// Left alone if it is there.
    Once,
    /// Brought to this state.
    Always,
}

async fn kubernetes_service(registry: &Registry, ip: IpAddr, port: u16) -> Result<(), OpenError> {
    let labels = json!({ "component": "apiserver", "provider": "kubernetes" });
    let range = registry.inner.options.service_cidrs.first().map(|cidr| IpRange::new(*cidr));
    let first = range.and_then(|range| range.nth(1)).map(|ip| ip.to_string());
    let service = json!({
        "metadata": { "name": "kubernetes", "labels": labels },
        "spec": {
            "type": "ClusterIP", "clusterIP": first,
            "ports": [{ "name": "https", "port": 443, "protocol": "TCP", "targetPort": port }],
        },
    });
    put(registry, &SERVICE, Some("default"), service, Put::Once).await?;
    let slice = json!({
        "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": if ip.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [ip.to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    });
    put(registry, &ENDPOINT_SLICE, Some("default"), slice, Put::Always).await?;
    let endpoints = json!({
        "metadata": { "name": "kubernetes", "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
        "subsets": [{ "addresses": [{ "ip": ip.to_string() }], "ports": [{ "name": "https", "port": port, "protocol": "TCP" }] }],
    });
    put(registry, &ENDPOINTS, Some("default"), endpoints, Put::Always).await
}

async fn put(
    registry: &Registry,
    kind: &'static KindInfo,
    namespace: Option<&str>,
    value: Value,
    how: Put,
) -> Result<(), OpenError> {
    let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let exists = registry.cached(kind, namespace, &name).is_some();
    let caller = Caller::system("registry");
    let options = WriteOptions::default();
    let result = match (exists, how) {
        (true, Put::Once) => return Ok(()),
        (true, Put::Always) => {
            let target = Target::object(kind, namespace, &name);
            write::update(registry, &caller, &target, value, &options).await
        }
        (false, _) => {
            write::create(registry, &caller, &Target::collection(kind, namespace), value, &options)
                .await
        }
    };
    let what = || format!("{} {}/{name}", kind.kind, namespace.unwrap_or_default());
    result
        .map(drop)
        .or_else(|e: ApiError| if e.is_already_exists() { Ok(()) } else { Err(e) })
        .map_err(|why| OpenError::Bootstrap { what: what(), why })
}
