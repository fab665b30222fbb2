//! Clusters of any size for measuring: cluster addresses from 10.96.0.0/12, endpoints from 10.144.0.0/12.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::model::{Cluster, Condition, Endpoint, Family, Node, Protocol, ServicePort};

/// The first cluster address.
const SERVICES_START: u32 = 0x0a60_0000 + 256;
/// The first endpoint's address.
const ENDPOINTS_START: u32 = 0x0a90_0000 + 256;
/// The first node port. There are not enough for every Service of a large cluster: the first ones get one.
const NODE_PORTS_START: u16 = 30_000;
/// Node ports given out at most.
const NODE_PORTS_MAX: usize = 20;
/// The port of every Service.
pub const SERVICE_PORT: u16 = 80;
/// The port that every endpoint listens on.
pub const ENDPOINT_PORT: u16 = 8080;

/// The node of the measured world.
#[must_use]
pub fn node() -> Node {
    Node {
        family: Family::V4,
        address: IpAddr::V4(Ipv4Addr::new(10, 64, 0, 1)),
        pods: "10.128.0.0/9".parse().ok(),
        services: "10.96.0.0/12".parse().ok(),
        node_port_addresses: None,
        localhost_node_ports: false,
        masquerade_all: false,
    }
}

/// A number of Services with a number of endpoints each; the first ones have node ports.
#[must_use]
pub fn cluster(services: usize, endpoints: usize) -> Cluster {
    let all = (0..services).map(|index| full_service(index, endpoints));
    Cluster { node: node(), services: all.collect() }
}

/// What is measured: first a Service whose one endpoint is replaced, then one for datagrams at a node port, then as many
/// as asked for.
#[must_use]
pub fn measured(services: usize, endpoints: usize) -> Cluster {
    let mut cluster = cluster(services + 2, endpoints);
    cluster.services.iter_mut().enumerate().for_each(|(index, service)| specialise(index, service));
    cluster
}

/// One Service of [`measured`].
#[must_use]
pub fn measured_service(index: usize, endpoints: usize) -> ServicePort {
    let mut service = full_service(index, endpoints);
    specialise(index, &mut service);
    service
}

/// The endpoint that the first Service of so many gets when it changes: nobody else's.
#[must_use]
pub fn changed_endpoint(services: usize, endpoints: usize) -> Endpoint {
    endpoint((services + 2) * endpoints)
}

fn specialise(index: usize, service: &mut ServicePort) {
    match index {
        0 => {
            service.endpoints.truncate(1);
            service.node_port = None;
        }
        1 => service.protocol = Protocol::Udp,
        _ => {}
    }
}

fn full_service(index: usize, endpoints: usize) -> ServicePort {
    let mut service = service(index);
    service.endpoints = (0..endpoints).map(|number| endpoint(index * endpoints + number)).collect();
    service
}

/// A Service without endpoints.
#[must_use]
pub fn service(index: usize) -> ServicePort {
    let address = address(SERVICES_START, index);
    let mut service = ServicePort::new("bench", &format!("service-{index}"), address, SERVICE_PORT);
    service.port_name = "http".to_owned();
    if index < NODE_PORTS_MAX {
        let offset = u16::try_from(index).unwrap_or_default();
        service.node_port = Some(NODE_PORTS_START + offset);
    }
    service
}

/// An endpoint; each number is another address.
#[must_use]
pub fn endpoint(number: usize) -> Endpoint {
    Endpoint {
        address: SocketAddr::new(address(ENDPOINTS_START, number), ENDPOINT_PORT),
        local: false,
        condition: Condition::Ready,
    }
}

fn address(start: u32, offset: usize) -> IpAddr {
    let offset = u32::try_from(offset).unwrap_or_default();
    IpAddr::V4(Ipv4Addr::from_bits(start.wrapping_add(offset)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{changed_endpoint, measured, measured_service};

    #[test]
    fn addresses_are_never_shared_and_a_change_brings_a_new_one() {
        let cluster = measured(5, 4);
        let all = cluster.services.iter().flat_map(|service| &service.endpoints);
        let addresses: Vec<_> = all.map(|endpoint| endpoint.address).collect();
        assert_eq!((cluster.services.len(), addresses.len()), (7, 1 + 6 * 4));
        assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), addresses.len());
        assert!(!addresses.contains(&changed_endpoint(5, 4).address));
        assert_eq!(measured_service(1, 4), cluster.services[1]);
    }
}
