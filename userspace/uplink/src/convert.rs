//! Messages from control as the tables' own types.
//!
//! In: messages. Out: changes; what does not parse is left out with a warning, since one bad object must not
//! take the line down. Pure.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use beeline_proto::feed::{self as wire, change::Kind};
use beeline_tables::{
    Backend, Change, EndpointIdentity, Hints, Identity, NodeAddress, NodeName, ObjectKey,
    ObjectName, PodIntent, Protocol, Referenced, Service, ServicePort, ServiceType, Slice,
    SlicePort, TrafficPolicy,
};
use ipnet::{IpNet, Ipv4Net};

#[cfg(test)]
mod tests;

/// A range in which no caller is.
const NOBODY: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32));

/// All changes of a batch that make sense.
pub(crate) fn changes(changes: Vec<wire::Change>) -> Vec<Change> {
    changes.into_iter().filter_map(|c| c.kind).filter_map(change).collect()
}

fn change(kind: Kind) -> Option<Change> {
    Some(match kind {
        Kind::Service(service) => Change::Service(self::service(service)),
        Kind::ServiceGone(name) => Change::ServiceGone(object_name(&name)),
        Kind::Slice(slice) => Change::Slice(self::slice(slice)),
        Kind::SliceGone(name) => Change::SliceGone(object_name(&name)),
        Kind::Endpoint(endpoint) => Change::Endpoint(self::endpoint(&endpoint)?),
        Kind::EndpointGone(name) => Change::EndpointGone(object_name(&name)),
        Kind::Node(node) => Change::Node(self::node(&node)?),
        Kind::NodeGone(name) => Change::NodeGone(NodeName(name.name.into())),
        Kind::Pod(object) => Change::Pod(pod(&object)?),
        Kind::PodGone(name) => Change::PodGone(object_name(&name)),
        Kind::Object(object) => Change::Object(referenced(&object)?),
        Kind::ObjectGone(name) => Change::ObjectGone(ObjectKey {
            kind: name.kind.as_str().into(),
            name: object_name(&name),
        }),
    })
}

fn object_name(name: &wire::Name) -> ObjectName {
    ObjectName::new(&name.namespace, &name.name)
}

fn address(text: &str, whose: &str) -> Option<IpAddr> {
    text.parse().inspect_err(|_| tracing::warn!(text, whose, "not an address")).ok()
}

fn addresses(texts: &[String], whose: &str) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| address(text, whose)).collect()
}

fn ranges(texts: &[String], whose: &str) -> Vec<IpNet> {
    let range = |text: &String| {
        text.parse::<IpNet>().inspect_err(|_| tracing::warn!(text, whose, "not a range")).ok()
    };
    texts.iter().filter_map(range).collect()
}

/// No range at all means everybody; ranges that do not parse must not come to mean that.
fn source_ranges(texts: &[String], whose: &str) -> Vec<IpNet> {
    let ranges = ranges(texts, whose);
    if ranges.is_empty() && !texts.is_empty() { vec![NOBODY] } else { ranges }
}

fn port(number: u32) -> u16 {
    u16::try_from(number).unwrap_or(0)
}

fn protocol(text: &str) -> Protocol {
    match text {
        "UDP" => Protocol::Udp,
        "SCTP" => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

fn policy(text: &str) -> TrafficPolicy {
    if text == "Local" { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

fn service(from: wire::Service) -> Service {
    let name = ObjectName::new(&from.namespace, &from.name);
    let ports = from.ports.into_iter().map(|p| ServicePort {
        name: p.name.into(),
        protocol: protocol(&p.protocol),
        port: port(p.port),
        node_port: Some(port(p.node_port)).filter(|p| *p > 0),
    });
    Service {
        service_type: match from.r#type.as_str() {
            "NodePort" => ServiceType::NodePort,
            "LoadBalancer" => ServiceType::LoadBalancer,
            "ExternalName" => ServiceType::ExternalName,
            _ => ServiceType::ClusterIp,
        },
        cluster_ips: addresses(&from.cluster_ips, &from.name),
        external_ips: addresses(&from.external_ips, &from.name),
        load_balancer_ips: addresses(&from.load_balancer_ips, &from.name),
        source_ranges: source_ranges(&from.source_ranges, &from.name),
        ports: ports.collect(),
        affinity_timeout_s: Some(from.affinity_timeout_s).filter(|s| *s > 0),
        internal_policy: policy(&from.internal_traffic_policy),
        external_policy: policy(&from.external_traffic_policy),
        publish_not_ready: from.publish_not_ready,
        health_check_port: Some(port(from.health_check_port)).filter(|port| *port > 0),
        name,
    }
}

fn slice(from: wire::Slice) -> Slice {
    let backends = from.endpoints.into_iter().filter_map(|e| {
        Some(Backend {
            address: address(&e.address, &from.name)?,
            ready: e.ready,
            serving: e.serving,
            terminating: e.terminating,
            node: Some(e.node_name).filter(|n| !n.is_empty()).map(|n| NodeName(n.into())),
            pod: Some(e.pod)
                .filter(|p| !p.is_empty())
                .map(|p| ObjectName::new(&from.namespace, &p)),
            hints: e.hints.map(hints),
        })
    });
    let ports = from.ports.into_iter().map(|p| SlicePort {
        name: p.name.into(),
        protocol: protocol(&p.protocol),
        port: port(p.port),
    });
    Slice {
        name: ObjectName::new(&from.namespace, &from.name),
        service: ObjectName::new(&from.namespace, &from.service),
        ports: ports.collect(),
        backends: backends.collect(),
    }
}

fn hints(from: wire::Hints) -> Arc<Hints> {
    Arc::new(Hints {
        zones: from.zones.into_iter().map(Into::into).collect(),
        nodes: from.nodes.into_iter().map(|name| NodeName(name.into())).collect(),
    })
}

/// What a list says, or what older servers say instead of it.
fn several(list: &[String], one: &str) -> Vec<String> {
    if list.is_empty() && !one.is_empty() { vec![one.to_owned()] } else { list.to_vec() }
}

fn endpoint(from: &wire::Endpoint) -> Option<EndpointIdentity> {
    let addresses = addresses(&several(&from.addresses, &from.address), &from.name);
    if addresses.is_empty() {
        return None;
    }
    Some(EndpointIdentity {
        pod: ObjectName::new(&from.namespace, &from.name),
        uid: from.uid.as_str().into(),
        addresses,
        identity: Identity(from.identity),
        node: NodeName(from.node_name.as_str().into()),
    })
}

/// A node without an address cannot be reached and is left out until it has one.
fn node(from: &wire::Node) -> Option<NodeAddress> {
    let internal_ips = addresses(&several(&from.internal_ips, &from.internal_ip), &from.name);
    if internal_ips.is_empty() {
        return None;
    }
    Some(NodeAddress {
        node: NodeName(from.name.as_str().into()),
        internal_ips,
        pod_cidrs: ranges(&several(&from.pod_cidrs, &from.pod_cidr), &from.name),
        zone: Some(from.zone.as_str()).filter(|zone| !zone.is_empty()).map(Into::into),
    })
}

fn pod(from: &wire::Object) -> Option<PodIntent> {
    let pod = serde_json::from_slice(&from.json);
    let pod =
        pod.inspect_err(|error| tracing::error!(name = from.name, %error, "a Pod does not parse"));
    Some(PodIntent {
        name: ObjectName::new(&from.namespace, &from.name),
        revision: from.revision,
        pod: Arc::new(pod.ok()?),
    })
}

fn referenced(from: &wire::Object) -> Option<Referenced> {
    let json = serde_json::from_slice(&from.json);
    let json = json
        .inspect_err(|error| tracing::error!(name = from.name, %error, "an object does not parse"));
    Some(Referenced {
        key: ObjectKey {
            kind: from.kind.as_str().into(),
            name: ObjectName::new(&from.namespace, &from.name),
        },
        revision: from.revision,
        json: Arc::new(json.ok()?),
    })
}
