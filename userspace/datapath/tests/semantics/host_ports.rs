//! `hostPort`: ports of the node that the pod here took for itself.

use serde_json::json;

use crate::{
    REFUSED, answer,
    intent::Intent,
    world,
    world::{V4, V6},
};

#[test]
fn host_ports_lead_to_the_pod_from_everywhere() {
    let Some(world) = world("0c000e") else { return };
    let ports = json!([
        { "containerPort": 8080, "hostPort": 8088, "protocol": "TCP" },
        { "containerPort": 8080, "hostPort": 8088, "protocol": "UDP" },
    ]);
    let running = world.start(Intent::new().host_ports(&ports).at(1));
    for (family, gateway) in [(&V4, "10.42.0.1"), (&V6, "fd42::1")] {
        let callers =
            [(&world.client, family.client), (&world.node, gateway), (&world.pod, family.pod)];
        for (caller, seen) in callers {
            assert_eq!(answer(&world, caller, family.node, 8_088), format!("pod {seen}"));
        }
    }
    // The pod is gone, and its ports with it.
    running.reconcile(Intent::new().at(2));
    for caller in [&world.client, &world.node, &world.pod] {
        assert_eq!(answer(&world, caller, V4.node, 8_088), REFUSED);
    }
}

#[test]
fn host_ports_with_an_address_answer_there_alone() {
    let Some(mut world) = world("0c000f") else { return };
    world.serve(&world.pod, "second", 8_081);
    for address in ["192.0.2.8", "192.0.2.9"] {
        world.node.ip(&format!("addr add {address}/24 dev up0")).unwrap();
        world.config.host_addresses.push(address.parse().unwrap());
        world.config.node_port_addresses.push(address.parse().unwrap());
    }
    let port = |address: &str, container: u16, protocol: &str| json!({ "containerPort": container, "hostPort": 8088, "hostIP": address, "protocol": protocol });
    let ports = json!([
        port("192.0.2.8", 8_080, "TCP"),
        port("192.0.2.8", 8_080, "UDP"),
        port("192.0.2.9", 8_081, "TCP"),
        port("192.0.2.9", 8_081, "UDP"),
    ]);
    let _running = world.start(Intent::new().host_ports(&ports).at(1));
    let callers = [(&world.client, V4.client), (&world.node, "10.42.0.1"), (&world.pod, V4.pod)];
    for (caller, seen) in callers {
        assert_eq!(answer(&world, caller, "192.0.2.8", 8_088), format!("pod {seen}"));
        assert_eq!(answer(&world, caller, "192.0.2.9", 8_088), format!("second {seen}"));
        assert_eq!(answer(&world, caller, V4.node, 8_088), REFUSED);
    }
}

#[test]
fn host_ports_at_the_loopback_are_the_nodes_alone() {
    let Some(world) = world("0c0010") else { return };
    let port = |protocol: &str| json!({ "containerPort": 8080, "hostPort": 8088, "hostIP": "127.0.0.1", "protocol": protocol });
    let ports = json!([port("TCP"), port("UDP")]);
    let _running = world.start(Intent::new().host_ports(&ports).at(1));
    assert_eq!(answer(&world, &world.node, "127.0.0.1", 8_088), "pod 10.42.0.1");
    assert_eq!(answer(&world, &world.pod, "127.0.0.1", 8_088), REFUSED, "its loopback is its own");
}
