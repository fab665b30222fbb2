//! Kubernetes objects as the tables' own types: what kube-proxy looks at, and what it leaves out.
//!
//! In: objects. Out: table rows; `None` for an object that is nothing to a proxy. What does not parse is left out with a
//! warning, since one bad object must not hide the others; where leaving out would admit more callers, nobody is admitted.
//! Pure.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
    sync::Arc,
    time::SystemTime,
};

use beeline_tables::{
    Backend, Hints, NodeAddress, NodeName, ObjectName, Protocol, Service, ServicePort, ServiceType,
    Slice, SlicePort, TrafficPolicy,
};
use ipnet::IpNet;
use k8s_openapi::{
    api::{
        core::v1::{self, Node, ServiceSpec},
        discovery::v1::{Endpoint, EndpointSlice},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};

/// Says which proxy a Service is for.
const PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// The name by which a Service can ask for this one.
const OUR_NAME: &str = "beeline";
/// On slices of Services without an address.
const HEADLESS: &str = "service.kubernetes.io/headless";
/// On slices: the Service that they belong to.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// On slices: when the change began that led to this version.
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
/// On nodes.
const ZONE: &str = "topology.kubernetes.io/zone";
/// On a node that the cluster autoscaler is about to remove.
const LEAVING_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// The API's default for `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const AFFINITY_S: u32 = 10_800;

/// Whether load balancers are to send traffic to a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Standing {
    /// Nothing says that it goes away.
    #[default]
    Eligible,
    /// It is being deleted, or soon will be.
    Leaving,
}

/// What a proxy serves of a Service: nothing of one without an address, or of one that is another proxy's.
pub(crate) fn service(object: &v1::Service) -> Option<Service> {
    let name = object_name(&object.metadata)?;
    let spec = object.spec.as_ref()?;
    let service_type = match spec.type_.as_deref() {
        Some("NodePort") => ServiceType::NodePort,
        Some("LoadBalancer") => ServiceType::LoadBalancer,
        Some("ExternalName") => return None,
        _ => ServiceType::ClusterIp,
    };
    if !ours(&object.metadata) {
        return None;
    }
    let cluster_ips: Vec<IpAddr> = parse(&name, "clusterIPs", cluster_ips(spec));
    if cluster_ips.is_empty() {
        return None;
    }
    let external_policy = policy(spec.external_traffic_policy.as_deref());
    let checked =
        service_type == ServiceType::LoadBalancer && external_policy == TrafficPolicy::Local;
    Some(Service {
        service_type,
        cluster_ips,
        external_ips: parse(&name, "externalIPs", spec.external_ips.iter().flatten()),
        load_balancer_ips: parse(&name, "loadBalancer.ingress", load_balancer_ips(object)),
        source_ranges: source_ranges(&name, spec),
        ports: spec.ports.iter().flatten().filter_map(|port| service_port(&name, port)).collect(),
        affinity_timeout_s: affinity(spec),
        internal_policy: policy(spec.internal_traffic_policy.as_deref()),
        external_policy,
        publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
        health_check_port: spec.health_check_node_port.filter(|_| checked).and_then(port),
        name,
    })
}

/// A slice of a Service that has an address; of either family, as names are for DNS alone.
pub(crate) fn slice(object: &EndpointSlice) -> Option<Slice> {
    let name = object_name(&object.metadata)?;
    let labels = object.metadata.labels.as_ref()?;
    let service = ObjectName::new(&name.namespace, labels.get(SERVICE_NAME)?);
    if !ours(&object.metadata) || labels.contains_key(HEADLESS) {
        return None;
    }
    let of_family: fn(&IpAddr) -> bool = match object.address_type.as_str() {
        "IPv4" => IpAddr::is_ipv4,
        "IPv6" => IpAddr::is_ipv6,
        _ => return None,
    };
    let ports = object.ports.iter().flatten().filter_map(|from| {
        Some(SlicePort {
            name: from.name.as_deref().unwrap_or_default().into(),
            protocol: protocol(&name, from.protocol.as_deref())?,
            port: from.port.and_then(port)?,
        })
    });
    let backends = object.endpoints.iter().flatten();
    let backends = backends.filter_map(|from| backend(&name, from, of_family)).collect();
    Some(Slice { ports: ports.collect(), backends, service, name })
}

/// When the change of the cluster began that this version of a slice answers.
pub(crate) fn trigger_time(object: &EndpointSlice) -> Option<SystemTime> {
    let text = object.metadata.annotations.as_ref()?.get(TRIGGER_TIME)?;
    let stamp: k8s_openapi::jiff::Timestamp = text.parse().ok()?;
    Some(stamp.into())
}

/// A node's addresses, pod ranges and zone.
pub(crate) fn node(object: &Node) -> Option<NodeAddress> {
    let name = object.metadata.name.as_deref()?;
    let owner = ObjectName::new("", name);
    let addresses = object.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal =
        addresses.filter(|found| found.type_ == "InternalIP").map(|found| &found.address);
    let spec = object.spec.as_ref();
    let several = spec.and_then(|spec| spec.pod_cidrs.as_ref()).filter(|cidrs| !cidrs.is_empty());
    let one = spec.and_then(|spec| spec.pod_cidr.as_ref()).filter(|_| several.is_none());
    let cidrs = several.into_iter().flatten().chain(one).filter(|cidr| !cidr.is_empty());
    let zone = object.metadata.labels.as_ref().and_then(|labels| labels.get(ZONE));
    Some(NodeAddress {
        node: NodeName(name.into()),
        internal_ips: parse(&owner, "status.addresses", internal),
        pod_cidrs: parse(&owner, "podCIDRs", cidrs),
        zone: zone.filter(|zone| !zone.is_empty()).map(|zone| zone.as_str().into()),
    })
}

/// Whether a node stays.
pub(crate) fn standing(object: &Node) -> Standing {
    let mut taints = object.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    let leaving = object.metadata.deletion_timestamp.is_some()
        || taints.any(|taint| taint.key == LEAVING_TAINT);
    if leaving { Standing::Leaving } else { Standing::Eligible }
}

/// The name of a namespaced object.
pub(crate) fn object_name(metadata: &ObjectMeta) -> Option<ObjectName> {
    Some(ObjectName::new(metadata.namespace.as_deref()?, metadata.name.as_deref()?))
}

fn ours(metadata: &ObjectMeta) -> bool {
    let asked = metadata.labels.as_ref().and_then(|labels| labels.get(PROXY_NAME));
    asked.is_none_or(|name| name == OUR_NAME)
}

/// The newer list, else the older single address; none for a headless Service.
fn cluster_ips(spec: &ServiceSpec) -> impl Iterator<Item = &String> {
    let several = spec.cluster_ips.as_ref().filter(|ips| !ips.is_empty());
    let one = spec.cluster_ip.as_ref().filter(|_| several.is_none());
    several.into_iter().flatten().chain(one).filter(|ip| !ip.is_empty() && *ip != "None")
}

/// Addresses that nodes answer for. Behind one of mode Proxy, packets come with the node's own address and port.
fn load_balancer_ips(object: &v1::Service) -> impl Iterator<Item = &String> {
    let status = object.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.into_iter().flat_map(|status| status.ingress.iter().flatten());
    let answered = ingress.filter(|found| found.ip_mode.as_deref().unwrap_or("VIP") == "VIP");
    answered.filter_map(|found| found.ip.as_ref()).filter(|ip| !ip.is_empty())
}

fn source_ranges(name: &ObjectName, spec: &ServiceSpec) -> Vec<IpNet> {
    let mut given = spec.load_balancer_source_ranges.iter().flatten().peekable();
    if given.peek().is_none() {
        return Vec::new();
    }
    let ranges = parse(name, "loadBalancerSourceRanges", given);
    if ranges.is_empty() {
        // An empty list would admit everybody; no packet comes from these.
        return vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()]
            .into_iter()
            .map(|nobody: IpAddr| IpNet::from(nobody))
            .collect();
    }
    ranges
}

fn service_port(name: &ObjectName, from: &v1::ServicePort) -> Option<ServicePort> {
    Some(ServicePort {
        name: from.name.as_deref().unwrap_or_default().into(),
        protocol: protocol(name, from.protocol.as_deref())?,
        port: port(from.port)?,
        node_port: from.node_port.and_then(port),
    })
}

fn affinity(spec: &ServiceSpec) -> Option<u32> {
    if spec.session_affinity.as_deref() != Some("ClientIP") {
        return None;
    }
    let config = spec.session_affinity_config.as_ref().and_then(|config| config.client_ip.as_ref());
    let seconds = config.and_then(|client| client.timeout_seconds);
    Some(seconds.and_then(|seconds| u32::try_from(seconds).ok()).unwrap_or(AFFINITY_S))
}

fn policy(given: Option<&str>) -> TrafficPolicy {
    match given {
        Some("Local") => TrafficPolicy::Local,
        _ => TrafficPolicy::Cluster,
    }
}

/// The first address counts: the API says that all of them are the same endpoint.
fn backend(name: &ObjectName, from: &Endpoint, of_family: fn(&IpAddr) -> bool) -> Option<Backend> {
    let address = *parse::<IpAddr>(name, "endpoints", from.addresses.first()).first()?;
    let conditions = from.conditions.clone().unwrap_or_default();
    // Unset ready means true, and serving follows ready: the API's words.
    let ready = conditions.ready.unwrap_or(true);
    let pod = from.target_ref.as_ref().filter(|target| target.kind.as_deref() == Some("Pod"));
    of_family(&address).then(|| Backend {
        address,
        ready,
        serving: conditions.serving.unwrap_or(ready),
        terminating: conditions.terminating.unwrap_or(false),
        node: from.node_name.as_deref().map(|node| NodeName(node.into())),
        pod: pod
            .and_then(|pod| pod.name.as_deref())
            .map(|pod| ObjectName::new(&name.namespace, pod)),
        hints: hints(from),
    })
}

fn hints(from: &Endpoint) -> Option<Arc<Hints>> {
    let given = from.hints.as_ref()?;
    let zones = given.for_zones.iter().flatten().map(|zone| zone.name.as_str().into()).collect();
    let nodes = given.for_nodes.iter().flatten();
    let nodes = nodes.map(|node| NodeName(node.name.as_str().into())).collect();
    let hints = Hints { zones, nodes };
    (hints != Hints::default()).then(|| Arc::new(hints))
}

fn port(given: i32) -> Option<u16> {
    u16::try_from(given).ok().filter(|port| *port > 0)
}

fn protocol(name: &ObjectName, given: Option<&str>) -> Option<Protocol> {
    match given {
        None | Some("TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(other) => {
            tracing::warn!(%name, protocol = other, "left out: a protocol that nobody knows");
            None
        }
    }
}

fn parse<'a, T: FromStr>(
    name: &ObjectName,
    field: &'static str,
    given: impl IntoIterator<Item = &'a String>,
) -> Vec<T> {
    let parsed = given.into_iter().filter_map(|text| {
        let value = text.trim().parse().ok();
        if value.is_none() {
            tracing::warn!(%name, field, value = %text, "left out: it cannot be understood");
        }
        value
    });
    parsed.collect()
}

#[cfg(test)]
mod tests;
