//! What control wants, put together for one test: two nodes, the pod here, and what the test adds.

use std::{net::IpAddr, sync::Arc};

use beeline_tables::{
    Backend, Change, EndpointIdentity, Epoch, Identity, NodeAddress, NodeName, ObjectName,
    PodIntent, Protocol, Service, ServicePort, ServiceType, Slice, SlicePort, Snapshot, Tables,
    TrafficPolicy,
};

use crate::world::{Family, NODE_PORT, SERVER_PORT, V4, V6};

pub struct Intent(Vec<Change>);

impl Intent {
    pub fn new() -> Self {
        let node = |name: &str, addresses: [&str; 2], pods: [&str; 2]| {
            Change::Node(NodeAddress {
                node: NodeName(name.into()),
                internal_ips: addresses.map(ip).into(),
                pod_cidrs: pods.map(|range| range.parse().unwrap()).into(),
                zone: None,
            })
        };
        Self(vec![
            node("n1", [V4.node, V6.node], ["10.42.0.0/24", "fd42::/64"]),
            node("n2", [V4.other, V6.other], ["10.42.1.0/24", "fd42:1::/64"]),
            Change::Endpoint(EndpointIdentity {
                pod: pod_name(),
                uid: "u".into(),
                addresses: vec![ip(V4.pod), ip(V6.pod)],
                identity: Identity(300),
                node: NodeName("n1".into()),
            }),
        ])
    }

    /// One Service with every kind of frontend of the family, TCP and UDP, and backends at these addresses.
    pub fn web(family: &Family, backends: &[&str]) -> Self {
        Self::new().service(service(&[family])).slice(slice("web-1", backends))
    }

    pub fn service(self, service: Service) -> Self {
        self.with(Change::Service(service))
    }

    pub fn slice(self, slice: Slice) -> Self {
        self.with(Change::Slice(slice))
    }

    /// The pod here with ports of the node, as its object names them.
    pub fn host_ports(self, ports: &serde_json::Value) -> Self {
        let pod = serde_json::json!({
            "metadata": { "name": "local", "namespace": "default" },
            "spec": { "containers": [{ "name": "c", "ports": ports }] },
        });
        let pod = Arc::new(serde_json::from_value(pod).unwrap());
        self.with(Change::Pod(PodIntent { name: pod_name(), revision: 1, pod }))
    }

    fn with(mut self, change: Change) -> Self {
        self.0.push(change);
        self
    }

    pub fn at(self, epoch: u64) -> Arc<Snapshot> {
        let (mut writer, reader) = Tables::new();
        writer.apply_snapshot(Epoch(epoch), self.0, true);
        reader.snapshot()
    }
}

fn pod_name() -> ObjectName {
    ObjectName::new("default", "local")
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Every kind of frontend of these families, TCP and UDP.
pub fn service(families: &[&Family]) -> Service {
    let addresses = |of: fn(&Family) -> &str| families.iter().map(|it| ip(of(it))).collect();
    let port = |name: &str, protocol| ServicePort {
        name: name.into(),
        protocol,
        port: 80,
        node_port: Some(NODE_PORT),
    };
    Service {
        name: ObjectName::new("default", "web"),
        service_type: ServiceType::LoadBalancer,
        cluster_ips: addresses(|it| it.cluster_ip),
        external_ips: addresses(|it| it.external),
        load_balancer_ips: addresses(|it| it.balanced),
        source_ranges: Vec::new(),
        ports: vec![port("web", Protocol::Tcp), port("dns", Protocol::Udp)],
        affinity_timeout_s: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        publish_not_ready: false,
        health_check_port: None,
    }
}

/// Ready backends of [`service`], all at the same port.
pub fn slice(name: &str, backends: &[&str]) -> Slice {
    let port = |name: &str, protocol| SlicePort { name: name.into(), protocol, port: SERVER_PORT };
    Slice {
        name: ObjectName::new("default", name),
        service: ObjectName::new("default", "web"),
        ports: vec![port("web", Protocol::Tcp), port("dns", Protocol::Udp)],
        backends: backends.iter().map(|address| backend(address)).collect(),
    }
}

pub fn backend(address: &str) -> Backend {
    let here = [V4.pod, V6.pod, V4.node, V6.node];
    let elsewhere = [V4.other, V6.other];
    let node = if here.contains(&address) {
        Some("n1")
    } else {
        elsewhere.contains(&address).then_some("n2")
    };
    Backend {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: node.map(|name| NodeName(name.into())),
        pod: None,
        hints: None,
    }
}

/// One that ends, and serves meanwhile.
pub fn ending(address: &str) -> Backend {
    Backend { ready: false, serving: true, terminating: true, ..backend(address) }
}
