//! The node itself, which processes with `hostNetwork` share: as a caller and as a backend.

use crate::{
    answer, answers, frontends,
    intent::Intent,
    set, world,
    world::{V4, V6},
};

/// The node's addresses towards the pod and towards the other node.
const TOWARDS: [[&str; 2]; 2] = [["10.42.0.1", "10.42.1.1"], ["fd42::1", "fd42:1::1"]];

#[test]
fn the_node_reaches_every_frontend() {
    let Some(world) = world("0c0002") else { return };
    for (epoch, family, [pod, other]) in [(1, &V4, TOWARDS[0]), (2, &V6, TOWARDS[1])] {
        let _running = world.start(Intent::web(family, &[family.pod, family.other]).at(epoch));
        let expected = set([&format!("pod {pod}"), &format!("other {other}")]);
        for (address, port) in frontends(family) {
            for found in answers(&world, &world.node, address, port) {
                assert_eq!(found, expected, "{address}:{port}");
            }
        }
    }
}

#[test]
fn a_backend_in_the_nodes_network_serves_everybody() {
    let Some(world) = world("0c0003") else { return };
    for (epoch, family) in [(1, &V4), (2, &V6)] {
        let _running = world.start(Intent::web(family, &[family.node]).at(epoch));
        let callers = [
            (&world.pod, format!("node {}", family.pod)),
            (&world.node, format!("node {}", family.node)),
            (&world.client, format!("node {}", family.client)),
        ];
        for (caller, seen) in callers {
            for (address, port) in frontends(family) {
                assert_eq!(answer(&world, caller, address, port), seen, "{address}:{port}");
            }
        }
    }
}
