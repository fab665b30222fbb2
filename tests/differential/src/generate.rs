//! Worlds from a seed: the same seed, the same worlds.

use ipnet::IpNet;
use rand::{
    Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _, seq::SliceRandom as _,
};

use crate::{
    cluster::{Cluster, Condition, Endpoint, Port, Protocol, Service, TrafficPolicy},
    place::{Caller, Family, NODES, Place, SERVER_PORTS},
};

/// Services in one world.
const SERVICES: u8 = 4;
/// Kubernetes' range for node ports.
const NODE_PORTS: std::ops::Range<u16> = 30_000..32_768;

/// The world of that number in the run of that seed.
pub fn cluster(seed: u64, number: u16) -> (Cluster, StdRng) {
    let mut rng =
        StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(number));
    let services = (1..=SERVICES).map(|index| service(&mut rng, number, index)).collect();
    (Cluster { number, services }, rng)
}

fn service(rng: &mut StdRng, world: u16, number: u8) -> Service {
    let families = match rng.random_range(0..4) {
        0 => vec![Family::V6],
        1 => vec![Family::V4, Family::V6],
        _ => vec![Family::V4],
    };
    let balanced = rng.random_bool(0.5);
    let ranges = if balanced && rng.random_bool(0.6) { ranges(rng, &families) } else { Vec::new() };
    let (internal, outward) = (policy(rng, 0.25), policy(rng, 0.4));
    let topology = internal == TrafficPolicy::Cluster && outward == TrafficPolicy::Cluster;
    Service {
        name: format!("w{world}-s{number}"),
        number,
        families,
        ports: ports(rng, world, number),
        external: rng.random_bool(0.5),
        balanced,
        ranges,
        affinity: rng.random_bool(0.25),
        internal,
        outward,
        endpoints: endpoints(rng, topology && rng.clone().random_bool(0.4)),
    }
}

fn policy(rng: &mut StdRng, local: f64) -> TrafficPolicy {
    if rng.random_bool(local) { TrafficPolicy::Local } else { TrafficPolicy::Cluster }
}

/// One or two of those that admit some callers; now and then of one family only.
fn ranges(rng: &mut StdRng, families: &[Family]) -> Vec<IpNet> {
    if rng.random_bool(0.1) {
        return vec![Caller::ranges(Family::V4)[0]];
    }
    let chosen: Vec<usize> = (0..3).filter(|_| rng.random_bool(0.45)).collect();
    let indices = if chosen.is_empty() { vec![rng.random_range(0..3)] } else { chosen };
    let of = |family: &Family| {
        indices.iter().map(|index| Caller::ranges(*family)[*index]).collect::<Vec<_>>()
    };
    families.iter().flat_map(of).collect()
}

fn ports(rng: &mut StdRng, world: u16, number: u8) -> Vec<Port> {
    let protocols: &[Protocol] = match rng.random_range(0..3) {
        0 => &[Protocol::Tcp],
        1 => &[Protocol::Udp],
        _ => &[Protocol::Tcp, Protocol::Udp],
    };
    let has_node_port = rng.random_bool(0.6);
    let offset =
        (world * u16::from(SERVICES) + u16::from(number) - 1) % (NODE_PORTS.end - NODE_PORTS.start);
    let port = |protocol: &Protocol| Port {
        protocol: *protocol,
        port: 80,
        node_port: has_node_port.then_some(NODE_PORTS.start + offset),
        target: *SERVER_PORTS.choose(&mut rng.clone()).unwrap_or(&SERVER_PORTS[0]),
    };
    protocols.iter().map(port).collect()
}

fn endpoints(rng: &mut StdRng, hinted: bool) -> Vec<Endpoint> {
    let mut places = Place::ALL;
    places.shuffle(rng);
    let count = *[0, 1, 1, 2, 2, 3, 4].choose(rng).unwrap_or(&1);
    let calm = rng.random_bool(0.5);
    let with_nodes = rng.random_bool(0.5);
    let mut all: Vec<Endpoint> = places[..count]
        .iter()
        .map(|place| Endpoint {
            place: *place,
            condition: if calm { Condition::Ready } else { condition(rng) },
            zones: if hinted { zones(rng) } else { Vec::new() },
            nodes: if hinted && with_nodes { nodes(rng) } else { Vec::new() },
        })
        .collect();
    // One hint that is missing makes all of them void.
    if hinted
        && rng.random_bool(0.2)
        && let Some(first) = all.first_mut()
    {
        (first.zones, first.nodes) = (Vec::new(), Vec::new());
    }
    all
}

fn condition(rng: &mut StdRng) -> Condition {
    match rng.random_range(0..7) {
        0..3 => Condition::Ready,
        3..5 => Condition::Terminating,
        5 => Condition::NotReady,
        _ => Condition::Ending,
    }
}

fn zones(rng: &mut StdRng) -> Vec<&'static str> {
    match rng.random_range(0..3) {
        0 => vec!["z1"],
        1 => vec!["z2"],
        _ => vec!["z1", "z2"],
    }
}

fn nodes(rng: &mut StdRng) -> Vec<&'static str> {
    let mut names: Vec<_> =
        NODES.iter().map(|(name, _)| *name).filter(|_| rng.random_bool(0.4)).collect();
    if names.is_empty() {
        names.push(NODES[0].0);
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case;

    #[test]
    fn a_seed_is_a_run() {
        let draw = |seed, number| {
            let (cluster, mut rng) = cluster(seed, number);
            let cases = case::draw(&cluster, 30, &mut rng);
            (cluster, cases)
        };
        assert_eq!(draw(7, 3), draw(7, 3));
        assert_ne!(draw(7, 3).1, draw(8, 3).1);
        assert_ne!(draw(7, 3).1, draw(7, 4).1);
        assert_eq!(draw(7, 3).1.len(), 30);
    }

    #[test]
    fn worlds_share_no_address_and_no_port() {
        let mut seen = std::collections::BTreeSet::new();
        for number in 0..40 {
            for service in cluster(1, number).0.services {
                for port in service.ports {
                    let node_port = port.node_port.map(|it| (it, port.protocol));
                    assert!(node_port.is_none_or(|it| seen.insert(it)), "{node_port:?}");
                }
            }
        }
        assert!(seen.len() > 40);
    }
}
