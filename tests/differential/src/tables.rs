//! A cluster as control tells it to beeline.

use std::sync::Arc;

use beeline_tables::{
    Backend, Change, EndpointIdentity, Epoch, Hints, Identity, NodeAddress, NodeName, ObjectName,
    Service as Object, ServicePort, ServiceType, Slice, SlicePort, Snapshot, Tables,
};

use crate::{
    cluster::{AFFINITY_S, Cluster, Condition, Endpoint, Frontend, Port, Service},
    place::{Family, NODES, Place},
};

/// The whole of it under this epoch.
pub fn snapshot(cluster: &Cluster, epoch: u64) -> Arc<Snapshot> {
    let (mut writer, reader) = Tables::new();
    let mut changes: Vec<Change> = NODES.iter().map(|(name, zone)| node(name, zone)).collect();
    changes.extend([Place::PodA, Place::PodB].map(endpoint));
    for service in &cluster.services {
        changes.push(Change::Service(object(cluster, service)));
        changes.extend(slices(service).map(Change::Slice));
    }
    writer.apply_snapshot(Epoch(epoch), changes, true);
    reader.snapshot()
}

fn node(name: &str, zone: &str) -> Change {
    let (address, pods): (fn(Family) -> _, _) = match name {
        "n1" => (Family::node, ["10.42.0.0/24", "fd42::/64"]),
        "n2" => {
            (|family| family.ip("172.16.0.2", "2001:db8:2::2"), ["10.42.1.0/24", "fd42:1::/64"])
        }
        _ => (|family| family.ip("172.16.0.3", "2001:db8:2::3"), ["10.42.2.0/24", "fd42:2::/64"]),
    };
    Change::Node(NodeAddress {
        node: NodeName(name.into()),
        internal_ips: Family::BOTH.map(address).into(),
        pod_cidrs: pods.iter().filter_map(|range| range.parse().ok()).collect(),
        zone: Some(zone.into()),
    })
}

/// The unique id of a pod on the node under test.
pub fn uid(place: Place) -> &'static str {
    if place == Place::PodA { "a" } else { "b" }
}

fn endpoint(place: Place) -> Change {
    Change::Endpoint(EndpointIdentity {
        pod: ObjectName::new("default", uid(place)),
        uid: uid(place).into(),
        addresses: Family::BOTH.map(|family| place.address(family)).into(),
        identity: Identity(300),
        node: NodeName(place.node().into()),
    })
}

fn object(cluster: &Cluster, service: &Service) -> Object {
    let at = |frontend, wanted: bool| {
        let families = service.families.iter().filter(|_| wanted);
        families.map(|family| cluster.address(frontend, *family, service.number)).collect()
    };
    Object {
        name: ObjectName::new("default", &service.name),
        service_type: ServiceType::LoadBalancer,
        cluster_ips: at(Frontend::ClusterIp, true),
        external_ips: at(Frontend::External, service.external),
        load_balancer_ips: at(Frontend::Balanced, service.balanced),
        source_ranges: service.ranges.clone(),
        ports: service.ports.iter().map(port).collect(),
        affinity_timeout_s: service.affinity.then_some(AFFINITY_S),
        internal_policy: service.internal,
        external_policy: service.outward,
        publish_not_ready: false,
        health_check_port: None,
    }
}

fn port(port: &Port) -> ServicePort {
    ServicePort {
        name: port_name(port).into(),
        protocol: port.protocol,
        port: port.port,
        node_port: port.node_port,
    }
}

/// The name of a port: by its protocol, as no two here share one.
pub fn port_name(port: &Port) -> String {
    format!("{:?}", port.protocol).to_lowercase()
}

/// Two slices for each family, as control splits long lists.
fn slices(service: &Service) -> impl Iterator<Item = Slice> + '_ {
    let parts = service.families.iter().flat_map(|family| [(*family, 0), (*family, 1)]);
    parts.map(move |(family, part)| {
        let mine = service.endpoints.iter().enumerate().filter(move |(index, _)| index % 2 == part);
        Slice {
            name: ObjectName::new("default", &format!("{}-{family:?}-{part}", service.name)),
            service: ObjectName::new("default", &service.name),
            ports: service.ports.iter().map(slice_port).collect(),
            backends: mine.map(|(_, endpoint)| backend(endpoint, family)).collect(),
        }
    })
}

fn slice_port(port: &Port) -> SlicePort {
    SlicePort { name: port_name(port).into(), protocol: port.protocol, port: port.target }
}

fn backend(endpoint: &Endpoint, family: Family) -> Backend {
    let (ready, serving, terminating) = match endpoint.condition {
        Condition::Ready => (true, true, false),
        Condition::Terminating => (false, true, true),
        Condition::NotReady => (false, false, false),
        Condition::Ending => (false, false, true),
    };
    let hinted = !endpoint.zones.is_empty() || !endpoint.nodes.is_empty();
    let hints = || Hints {
        zones: endpoint.zones.iter().map(|zone| (*zone).into()).collect(),
        nodes: endpoint.nodes.iter().map(|node| NodeName((*node).into())).collect(),
    };
    Backend {
        address: endpoint.place.address(family),
        ready,
        serving,
        terminating,
        node: Some(NodeName(endpoint.place.node().into())),
        pod: None,
        hints: hinted.then(|| Arc::new(hints())),
    }
}
