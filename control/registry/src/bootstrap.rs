//! What every cluster has from the start: four namespaces, the roles, two priorities, whose requests go first, and the
//! API's own Service.

mod flowcontrol;
pub(crate) mod standard;

use std::net::IpAddr;

use beeline_alloc::IpRange;
use beeline_api::KindInfo;
use beeline_api::kinds::{
    ENDPOINT_SLICE, ENDPOINTS, NAMESPACE, PRIORITY_CLASS, SERVICE, SERVICE_ACCOUNT,
};
use serde_json::{Value, json};

use self::standard::Standard;
use crate::classes;
use crate::registry::{OpenError, Registry};
use crate::roles::reconcile;

const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// Creates what is missing and corrects the address of the API server.
pub(crate) async fn ensure(registry: &Registry) -> Result<(), OpenError> {
    for name in NAMESPACES {
        let namespace = json!({ "metadata": { "name": name } });
        standard::ensure(registry, once(&NAMESPACE, None, namespace)).await?;
        let account = json!({ "metadata": { "name": "default" } });
        standard::ensure(registry, once(&SERVICE_ACCOUNT, Some(name), account)).await?;
    }
    reconcile::ensure(registry).await?;
    let classes = classes::of_the_system().into_iter();
    standard::ensure_all(registry, classes.map(|class| once(&PRIORITY_CLASS, None, class))).await?;
    flowcontrol::ensure(registry).await?;
    if let Some((ip, port)) = registry.inner.options.advertise {
        kubernetes_service(registry, ip, port).await?;
    }
    Ok(())
}

fn once(kind: &'static KindInfo, namespace: Option<&'static str>, object: Value) -> Standard {
    Standard { kind, namespace, object, correct: standard::once }
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
    standard::ensure(registry, once(&SERVICE, Some("default"), service)).await?;
    let slice = json!({
        "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
        "addressType": if ip.is_ipv4() { "IPv4" } else { "IPv6" },
        "endpoints": [{ "addresses": [ip.to_string()], "conditions": { "ready": true } }],
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    });
    let slice =
        Standard { correct: standard::always, ..once(&ENDPOINT_SLICE, Some("default"), slice) };
    standard::ensure(registry, slice).await?;
    let endpoints = json!({
        "metadata": { "name": "kubernetes", "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
        "subsets": [{ "addresses": [{ "ip": ip.to_string() }], "ports": [{ "name": "https", "port": port, "protocol": "TCP" }] }],
    });
    let endpoints =
        Standard { correct: standard::always, ..once(&ENDPOINTS, Some("default"), endpoints) };
    standard::ensure(registry, endpoints).await
}
