//! Kubernetes objects as messages to nodes, and back.
//!
//! In: objects. Out: messages. Pure; what a node has no use for stays here.

use beeline_proto::feed as wire;
use beeline_registry::Object;
use k8s_openapi::api::core::v1::{Node, Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;

/// A Pod or a Secret is at most 1.5 MiB; a batch holds several.
pub(crate) const MESSAGE_BYTES_MAX: usize = 32 << 20;

const SERVICE_NAME: &str = "kubernetes.io/service-name";

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

/// A Service; none if it has nothing for the dataplane.
pub(crate) fn service(object: &Service) -> wire::Service {
    let spec = object.spec.clone().unwrap_or_default();
    let ips = spec.cluster_ips.or(spec.cluster_ip.map(|ip| vec![ip])).unwrap_or_default();
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|c| c.client_ip.as_ref());
        config.and_then(|c| c.timeout_seconds).unwrap_or(10_800)
    });
    let cluster = || "Cluster".to_owned();
    wire::Service {
        namespace: object.metadata.namespace.clone().unwrap_or_default(),
        name: object.metadata.name.clone().unwrap_or_default(),
        r#type: spec.type_.unwrap_or_else(|| "ClusterIP".to_owned()),
        cluster_ips: ips.into_iter().filter(|ip| crate::is_ipv4(ip)).collect(),
        ports: spec.ports.unwrap_or_default().into_iter().map(service_port).collect(),
        affinity_timeout_s: affinity.map_or(0, port),
        internal_traffic_policy: spec.internal_traffic_policy.unwrap_or_else(cluster),
        external_traffic_policy: spec.external_traffic_policy.unwrap_or_else(cluster),
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
    }
}

fn service_port(from: k8s_openapi::api::core::v1::ServicePort) -> wire::ServicePort {
    wire::ServicePort {
        name: from.name.unwrap_or_default(),
        protocol: from.protocol.unwrap_or_else(|| "TCP".to_owned()),
        port: port(from.port),
        node_port: from.node_port.map_or(0, port),
    }
}

/// A slice of a Service; none if it belongs to no Service or is not IPv4.
pub(crate) fn slice(object: &EndpointSlice) -> Option<wire::Slice> {
    let service = object.metadata.labels.as_ref()?.get(SERVICE_NAME)?.clone();
    if object.address_type != "IPv4" {
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

/// Who has the Pod's address; none while it has none of its own.
pub(crate) fn endpoint(pod: &Pod, identity: u32) -> Option<wire::Endpoint> {
    Some(wire::Endpoint {
        namespace: pod.metadata.namespace.clone()?,
        name: pod.metadata.name.clone()?,
        address: own_address(pod)?.to_owned(),
        identity,
        node_name: pod.spec.as_ref()?.node_name.clone()?,
        uid: pod.metadata.uid.clone()?,
    })
}

/// The Pod's address, unless it has ended or shares its node's.
pub(crate) fn own_address(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let shared = pod.spec.as_ref()?.host_network.unwrap_or(false);
    status.pod_ip.as_deref().filter(|ip| !ended && !shared && crate::is_ipv4(ip))
}

/// A node's addresses.
pub(crate) fn node(object: &Node) -> wire::Node {
    let addresses = object.status.as_ref().and_then(|s| s.addresses.as_deref()).unwrap_or_default();
    let internal = addresses.iter().find(|a| a.type_ == "InternalIP" && crate::is_ipv4(&a.address));
    wire::Node {
        name: object.metadata.name.clone().unwrap_or_default(),
        internal_ip: internal.map(|a| a.address.clone()).unwrap_or_default(),
        pod_cidr: object.spec.as_ref().and_then(|s| s.pod_cidr.clone()).unwrap_or_default(),
    }
}

/// A whole object.
pub(crate) fn object(kind: &str, object: &Object) -> wire::Object {
    wire::Object {
        kind: kind.to_owned(),
        namespace: object.namespace().to_owned(),
        name: object.name().to_owned(),
        revision: object.revision.0,
        json: object.json.to_vec(),
    }
}
