//! What kube-proxy promises of Services, seen by sockets of pods, of the node and of the world: one file for each promise.
//!
//! Skips, saying so, without root, cgroup v2 or a kernel object.

#[cfg(test)]
#[path = "semantics/affinity.rs"]
mod affinity;
#[cfg(test)]
#[path = "semantics/families.rs"]
mod families;
#[cfg(test)]
#[path = "semantics/hairpin.rs"]
mod hairpin;
#[cfg(test)]
#[path = "semantics/hints.rs"]
mod hints;
#[cfg(test)]
#[path = "semantics/host.rs"]
mod host;
#[cfg(test)]
#[path = "semantics/host_ports.rs"]
mod host_ports;
#[cfg(test)]
#[path = "semantics/intent.rs"]
mod intent;
#[cfg(test)]
#[path = "semantics/kinds.rs"]
mod kinds;
#[cfg(test)]
#[path = "semantics/node_ports.rs"]
mod node_ports;
#[cfg(test)]
#[path = "semantics/policy.rs"]
mod policy;
#[cfg(test)]
#[path = "semantics/ranges.rs"]
mod ranges;
#[cfg(test)]
#[path = "semantics/scale.rs"]
mod scale;
#[cfg(test)]
#[path = "semantics/sctp.rs"]
mod sctp;
#[cfg(test)]
#[path = "outside/world.rs"]
#[expect(dead_code, reason = "shared with the tests of callers outside, which do more with it")]
mod world;

use std::collections::BTreeSet;

use beeline_test_support::Net;
use world::{Family, NODE_PORT, SERVER_PORT, V4, V6, World};

const REFUSED: &str = "error connection refused";

/// A world whose pod, other node and own node serve, each under its name. The other node knows the way to pods.
fn world(instance: &str) -> Option<World> {
    let world = World::new(instance)?;
    world.serve(&world.pod, "pod", SERVER_PORT);
    world.serve(&world.other, "other", SERVER_PORT);
    for address in [V4.node, V6.node] {
        world.serve_at(&world.node, "node", address, SERVER_PORT);
    }
    world.join_pods();
    Some(world)
}

/// Every address and port at which a Service of the family is reached.
fn frontends(family: &Family) -> [(&'static str, u16); 4] {
    [
        (family.cluster_ip, 80),
        (family.node, NODE_PORT),
        (family.external, 80),
        (family.balanced, 80),
    ]
}

/// What one call over TCP and one datagram are answered; both must be the same.
#[track_caller]
fn answer(world: &World, from: &Net, to: &str, port: u16) -> String {
    let tcp = world.call(from, to, port);
    let (_socket, udp) = world.datagram(from, to, port);
    assert_eq!(tcp, udp, "TCP and UDP to {to}:{port}");
    tcp
}

/// All answers that TCP calls and datagrams from one place get; enough calls for every backend to be among them.
fn answers(world: &World, from: &Net, to: &str, port: u16) -> [BTreeSet<String>; 2] {
    let tcp = (0..24).map(|_| world.call(from, to, port)).collect();
    let udp = (0..24).map(|_| world.datagram(from, to, port).1).collect();
    [tcp, udp]
}

fn set<const N: usize>(answers: [&str; N]) -> BTreeSet<String> {
    answers.map(str::to_owned).into()
}
