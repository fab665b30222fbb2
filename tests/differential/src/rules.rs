//! A cluster as kube-proxy's rule sets have it, one for each family.

use std::net::SocketAddr;

use beeline_bench::rules::{iptables, model};

use crate::{
    cluster::{AFFINITY_S, Cluster, Condition, Frontend, Port, Protocol, Service, TrafficPolicy},
    kube_proxy,
    place::Family,
    tables::port_name,
};

/// Text for `iptables-restore --noflush` of one family.
pub fn iptables(cluster: &Cluster, family: Family) -> String {
    let services = cluster.services.iter().filter(|service| service.families.contains(&family));
    let ports = services.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    iptables::load(&model::Cluster {
        node: model::Node {
            family: family.pick(model::Family::V4, model::Family::V6),
            address: family.node(),
            pods: Some(family.pods()),
            services: None,
            node_port_addresses: Some(vec![family.node(), family.loopback()]),
            localhost_node_ports: family == Family::V4,
            masquerade_all: false,
        },
        services: ports.map(|(service, port)| entry(cluster, service, port, family)).collect(),
    })
}

fn entry(cluster: &Cluster, service: &Service, port: &Port, family: Family) -> model::ServicePort {
    let at = |frontend, wanted: bool| {
        wanted.then(|| cluster.address(frontend, family, service.number)).into_iter().collect()
    };
    let cluster_ip = cluster.address(Frontend::ClusterIp, family, service.number);
    let ranges =
        service.ranges.iter().filter(|range| range.addr().is_ipv4() == (family == Family::V4));
    let endpoints = kube_proxy::hinted(service).into_iter().map(|endpoint| model::Endpoint {
        address: SocketAddr::new(endpoint.place.address(family), port.target),
        local: endpoint.place.is_local(),
        condition: match endpoint.condition {
            Condition::Ready => model::Condition::Ready,
            Condition::Terminating => model::Condition::Terminating,
            Condition::NotReady | Condition::Ending => model::Condition::NotReady,
        },
    });
    model::ServicePort {
        port_name: port_name(port),
        protocol: match port.protocol {
            Protocol::Tcp => model::Protocol::Tcp,
            Protocol::Udp => model::Protocol::Udp,
            Protocol::Sctp => model::Protocol::Sctp,
        },
        node_port: port.node_port,
        external_ips: at(Frontend::External, service.external),
        load_balancer_ips: at(Frontend::Balanced, service.balanced),
        source_ranges: ranges.copied().collect(),
        affinity_timeout_s: service.affinity.then_some(AFFINITY_S),
        internal_policy: policy(service.internal),
        external_policy: policy(service.outward),
        endpoints: endpoints.collect(),
        ..model::ServicePort::new("default", &service.name, cluster_ip, port.port)
    }
}

fn policy(policy: TrafficPolicy) -> model::Policy {
    match policy {
        TrafficPolicy::Cluster => model::Policy::Cluster,
        TrafficPolicy::Local => model::Policy::Local,
    }
}
