//! Host ports: ports of this node that a Pod took for itself, compiled like a Service with one backend.

use std::net::IpAddr;

use beeline_abi::{Addr, Be16, FRONTEND_EXTERNAL, FRONTEND_NODE_ONLY, FrontendKey};
use beeline_tables::{ObjectName, Protocol, Snapshot};
use k8s_openapi::api::core::v1::{ContainerPort, Pod};
use smallvec::smallvec;

use crate::{
    Facts,
    candidates::Chosen,
    ports::{Audience, PortKey, WantedPort, frontend, number},
};

/// Adds the host ports of a Pod of this node that has an address of its own; one frontend for each port and family.
pub(crate) fn of_pod(
    snapshot: &Snapshot,
    facts: &Facts,
    name: &ObjectName,
    found: &mut Vec<WantedPort>,
) {
    let Some(intent) = snapshot.pods.get(name) else { return };
    let Some(endpoint) = snapshot.endpoints.get(name) else { return };
    if endpoint.node != facts.node {
        return;
    }
    let ports = claimed(&intent.pod);
    for address in &endpoint.addresses {
        found.extend(ports.iter().filter_map(|port| wanted(name, *address, port)));
    }
}

/// Whether a Pod has any.
pub(crate) fn any(pod: &Pod) -> bool {
    !claimed(pod).is_empty()
}

fn claimed(pod: &Pod) -> Vec<&ContainerPort> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    if spec.host_network == Some(true) {
        return Vec::new();
    }
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|it| it.restart_policy.as_deref() == Some("Always"));
    let containers = spec.containers.iter().chain(sidecars);
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.filter(|port| port.host_port.is_some_and(|number| number > 0)).collect()
}

fn wanted(name: &ObjectName, address: IpAddr, port: &ContainerPort) -> Option<WantedPort> {
    let host_port = u16::try_from(port.host_port?).ok()?;
    let container_port = u16::try_from(port.container_port).ok()?;
    let protocol = match port.protocol.as_deref() {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    };
    let ipv4 = address.is_ipv4();
    let host_ip: Option<IpAddr> = port.host_ip.as_deref().and_then(|text| text.parse().ok());
    let host_ip = host_ip.filter(|ip| !ip.is_unspecified());
    let key = match host_ip {
        Some(ip) if ip.is_ipv4() != ipv4 => return None,
        Some(ip) => frontend(ip, host_port, protocol),
        None => {
            let any = if ipv4 { Addr::ANY_V4 } else { Addr::NONE };
            FrontendKey::new(any, Be16::from_host(host_port), number(protocol))
        }
    };
    let node_only = if host_ip.is_some_and(|ip| ip.is_loopback()) { FRONTEND_NODE_ONLY } else { 0 };
    let backends = smallvec![((address, container_port), true)];
    Some(WantedPort {
        key: PortKey {
            service: name.clone(),
            port: host_port,
            protocol,
            audience: Audience::HostPort,
            ipv4,
            host_ip,
        },
        proto: number(protocol),
        frontends: smallvec![(key, FRONTEND_EXTERNAL | node_only)],
        inside: Chosen { backends, terminating: false },
        outside: None,
        affinity_s: 0,
        source_ranges: Vec::new(),
    })
}
