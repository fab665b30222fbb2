//! Kubernetes objects as messages to nodes, and back.
//!
//! In: objects. Out: messages. Pure; what a node has no use for stays here.

use std::net::{IpAddr, Ipv4Addr};

use beeline_proto::feed as wire;
use beeline_registry::Object;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::{EndpointHints, EndpointSlice};

/// A Pod or a Secret is at most 1.5 MiB; a batch holds several.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 << 20;

const SERVICE_NAME: &str = "kubernetes.io/service-name";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ZONE: &str = "topology.kubernetes.io/zone";

/// The key of an object in all maps.
pub(crate) type Key = (String, String);

/// A reference by name.
pub(crate) fn name(key: &Key) -> wire::Name {
    wire::Name { namespace: key.0.clone(), name: key.1.clone(), kind: String::new() }
}

/// Namespace and name of an object.
pub(crate) fn key(object: &Object) -> Key {
    (object.namespace().to_owned(), object.name().to_owned())
}

fn port(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(0)
}

/// A Service as nodes need it.
pub(crate) fn service(object: &Service) -> wire::Service {
    let spec = object.spec.clone().unwrap_or_default();
    let ips = spec.cluster_ips.clone().or(spec.cluster_ip.clone().map(|ip| vec![ip]));
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        config.and_then(|c| c.timeout_seconds).unwrap_or(10_800)
    });
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    let local = spec.external_traffic_policy.as_deref() == Some("Local");
    let health = spec.health_check_node_port.filter(|_| balanced && local);
    let cluster = || "Cluster".to_owned();
    wire::Service {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        cluster_ips: ips.unwrap_or_default().into_iter().filter(|ip| is_address(ip)).collect(),
        affinity_timeout_s: affinity.map_or(0, port),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        load_balancer_ips: if balanced { load_balancer_ips(object) } else { Vec::new() },
        source_ranges: if balanced { source_ranges(object) } else { Vec::new() },
        health_check_port: health.map_or(0, port),
        r#type: spec.type_.unwrap_or_else(|| "ClusterIP".to_owned()),
        ports: spec.ports.unwrap_or_default().into_iter().map(service_port).collect(),
        internal_traffic_policy: spec.internal_traffic_policy.unwrap_or_else(cluster),
        external_traffic_policy: spec.external_traffic_policy.unwrap_or_else(cluster),
        external_ips: spec.external_ips.unwrap_or_default(),
    }
}

/// Behind an address of mode `Proxy` stands something that sends to the nodes itself.
fn load_balancer_ips(object: &Service) -> Vec<String> {
    let status = object.status.as_ref().and_then(|s| s.load_balancer.as_ref());
    let ingress = status.and_then(|b| b.ingress.as_deref()).unwrap_or_default();
    let vip = ingress.iter().filter(|i| i.ip_mode.as_deref().unwrap_or("VIP") == "VIP");
    vip.filter_map(|i| i.ip.clone()).filter(|ip| is_address(ip)).collect()
}

fn source_ranges(object: &Service) -> Vec<String> {
    let field = object.spec.as_ref().and_then(|s| s.load_balancer_source_ranges.as_ref());
    if let Some(ranges) = field.filter(|ranges| !ranges.is_empty()) {
        return ranges.iter().map(|range| range.trim().to_owned()).collect();
    }
    let text = object.metadata.annotations.as_ref().and_then(|a| a.get(SOURCE_RANGES));
    let ranges = text.map(String::as_str).unwrap_or_default().split(',').map(str::trim);
    ranges.filter(|range| !range.is_empty()).map(str::to_owned).collect()
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn service_port(from: k8s_openapi::api::core::v1::ServicePort) -> wire::ServicePort {
    wire::ServicePort {
        name: from.name.unwrap_or_default(),
        protocol: from.protocol.unwrap_or_else(|| "TCP".to_owned()),
        port: port(from.port),
        node_port: from.node_port.map_or(0, port),
    }
}

/// A slice of a Service; none if it belongs to no Service or holds names.
pub(crate) fn slice(object: &EndpointSlice) -> Option<wire::Slice> {
    let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME)?.clone();
    if !matches!(object.address_type.as_str(), "IPv4" | "IPv6") {
        return None;
    }
    let ports = object.ports.iter().flatten().filter_map(|from| {
        Some(wire::SlicePort {
            name: from.name.clone().unwrap_or_default(),
            protocol: from.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: port(from.port?),
        })
    });
    let endpoints = object.endpoints.iter().flatten().filter_map(|from| {
        let conditions = from.conditions.clone().unwrap_or_default();
        // Unset ready means true, and serving follows ready: the API's words.
        let ready = conditions.ready.unwrap_or(true);
        let target = from.target_ref.as_ref().filter(|t| t.kind.as_deref() == Some("Pod"));
        Some(wire::SliceEndpoint {
            address: from.addresses.first()?.clone(),
            ready,
            serving: conditions.serving.unwrap_or(ready),
            terminating: conditions.terminating.unwrap_or(false),
            node_name: from.node_name.clone().unwrap_or_default(),
            pod: target.and_then(|t| t.name.clone()).unwrap_or_default(),
            hints: from.hints.as_ref().map(hints).filter(|h| *h != wire::Hints::default()),
        })
    });
    Some(wire::Slice {
        namespace: object.metadata.namespace.clone()?,
        name: object.metadata.name.clone()?,
        service,
        ports: ports.collect(),
        endpoints: endpoints.collect(),
    })
}

fn hints(from: &EndpointHints) -> wire::Hints {
    wire::Hints {
        zones: from.for_zones.iter().flatten().map(|zone| zone.name.clone()).collect(),
        nodes: from.for_nodes.iter().flatten().map(|node| node.name.clone()).collect(),
    }
}

/// Who has the Pod's addresses; none while it has none of its own.
pub(crate) fn endpoint(pod: &Pod, identity: u32) -> Option<wire::Endpoint> {
    let addresses = own_addresses(pod);
    Some(wire::Endpoint {
        namespace: pod.metadata.namespace.clone()?,
        name: pod.metadata.name.clone()?,
        address: addresses.first()?.clone(),
        identity,
        node_name: pod.spec.as_ref()?.node_name.clone()?,
        uid: pod.metadata.uid.clone()?,
        addresses,
    })
}

/// The Pod's addresses, unless it has ended or shares its node's.
pub(crate) fn own_addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let shared = pod.spec.as_ref().is_some_and(|spec| spec.host_network.unwrap_or(false));
    if ended || shared {
        return Vec::new();
    }
    let mut all: Vec<String> = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    if all.is_empty() {
        all.extend(status.pod_ip.clone());
    }
    all.retain(|ip| is_address(ip));
    all
}

/// A node's addresses, ranges and zone.
pub(crate) fn node(object: &Node) -> wire::Node {
    let addresses = object.status.as_ref().and_then(|s| s.addresses.as_deref()).unwrap_or_default();
    let internal = addresses.iter().filter(|a| a.type_ == "InternalIP" && is_address(&a.address));
    let internal_ips: Vec<String> = internal.map(|a| a.address.clone()).collect();
    let spec = object.spec.as_ref();
    let pod_cidr = spec.and_then(|s| s.pod_cidr.clone());
    let pod_cidrs = spec.and_then(|s| s.pod_cidrs.clone()).filter(|all| !all.is_empty());
    let labels = object.metadata.labels.as_ref();
    let is_v4 = |ip: &&String| ip.parse::<Ipv4Addr>().is_ok();
    wire::Node {
        name: object.metadata.name.clone().unwrap_or_default(),
        internal_ip: internal_ips.iter().find(is_v4).cloned().unwrap_or_default(),
        pod_cidrs: pod_cidrs.unwrap_or_else(|| pod_cidr.clone().into_iter().collect()),
        pod_cidr: pod_cidr.unwrap_or_default(),
        zone: labels.and_then(|l| l.get(ZONE)).cloned().unwrap_or_default(),
        internal_ips,
    }
}

/// A whole object.
pub(crate) fn object(kind: &str, object: &Object) -> wire::Object {
    wire::Object {
        kind: kind.to_owned(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
        revision: object.revision.0,
        json: object.json().to_vec(),
    }
}
