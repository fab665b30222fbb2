//! At which addresses of the node its node ports answer.

use crate::{
    REFUSED, answer,
    intent::{Intent, ip},
    world,
    world::{NODE_PORT, V4, V6},
};

#[test]
fn node_ports_answer_at_the_loopback_where_asked() {
    let Some(mut world) = world("0c000b") else { return };
    world.config.loopback_node_ports = true;
    for (epoch, family, loopback, seen) in
        [(1, &V4, "127.0.0.1", "pod 10.42.0.1"), (2, &V6, "::1", "pod fd42::1")]
    {
        let _running = world.start(Intent::web(family, &[family.pod]).at(epoch));
        assert_eq!(answer(&world, &world.node, loopback, NODE_PORT), seen);
        // A pod's loopback is its own.
        assert_eq!(answer(&world, &world.pod, loopback, NODE_PORT), REFUSED);
    }
}

#[test]
fn node_ports_do_not_answer_at_the_loopback_unasked() {
    let Some(world) = world("0c000c") else { return };
    for (epoch, family, loopback) in [(1, &V4, "127.0.0.1"), (2, &V6, "::1")] {
        let running = world.start(Intent::web(family, &[family.pod]).at(epoch));
        for caller in [&world.node, &world.pod] {
            assert_eq!(answer(&world, caller, loopback, NODE_PORT), REFUSED);
        }
        assert_eq!(running.counter("translated"), 0);
    }
}

#[test]
fn node_ports_answer_at_chosen_addresses_only() {
    let Some(mut world) = world("0c000d") else { return };
    world.node.ip("addr add 192.0.2.9/24 dev up0").unwrap();
    world.config.host_addresses.push(ip("192.0.2.9"));
    world.config.node_port_addresses = vec![ip("192.0.2.9")];
    let _running = world.start(Intent::web(&V4, &[V4.pod]).at(1));
    let callers = [(&world.pod, V4.pod), (&world.node, "10.42.0.1"), (&world.client, V4.client)];
    for (caller, seen) in callers {
        assert_eq!(answer(&world, caller, "192.0.2.9", NODE_PORT), format!("pod {seen}"));
        assert_eq!(answer(&world, caller, V4.node, NODE_PORT), REFUSED);
    }
}
