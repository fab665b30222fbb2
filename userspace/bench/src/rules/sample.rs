//! Clusters of any size for measuring: cluster addresses from 10.96.0.0/12, endpoints from 10.128.0.0/9.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::model::{Cluster, Condition, Endpoint, Family, Node, ServicePort};

/// The first cluster address.
const SERVICES_START: u32 = 0x0a60_0000 + 256;
/// The first endpoint's address.
const ENDPOINTS_START: u32 = 0x0a80_0000 + 256;
/// The first node port. There are not enough for every Service of a large cluster: the first ones get one.
const NODE_PORTS_START: u16 = 30_000;
/// Node ports given out at most.
const NODE_PORTS_MAX: usize = 100;
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

/// A number of Services with a number of endpoints each; the first hundred have node ports.
#[must_use]
pub fn cluster(services: usize, endpoints: usize) -> Cluster {
    let all = (0..services).map(|index| {
        let mut service = service(index);
        service.endpoints =
            (0..endpoints).map(|number| endpoint(index * endpoints + number)).collect();
        service
    });
    Cluster { node: node(), services: all.collect() }
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
