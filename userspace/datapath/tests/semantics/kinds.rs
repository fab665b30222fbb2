//! Kinds of Services: those without frontends, those whose backends are elsewhere, those whose ports have names.

use beeline_tables::{Service, ServiceType, Slice};

use crate::{
    REFUSED, answer, answers, frontends,
    intent::{Intent, service, slice},
    set, world,
    world::{NODE_PORT, Running, SERVER_PORT, V4, World},
};

#[test]
fn services_of_a_name_only_have_no_frontend() {
    let Some(world) = world("0c0004") else { return };
    // Addresses and ports that are left over from what the Service was before.
    let external_name = Service { service_type: ServiceType::ExternalName, ..service(&[&V4]) };
    let intent = Intent::new().service(external_name).slice(slice("web-1", &[V4.pod]));
    let running = world.start(intent.at(1));
    has_no_frontend(&world, &running);
}

#[test]
fn headless_services_have_no_frontend() {
    let Some(world) = world("0c0005") else { return };
    let mut headless = Service {
        service_type: ServiceType::ClusterIp,
        cluster_ips: Vec::new(),
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        ..service(&[&V4])
    };
    headless.ports.iter_mut().for_each(|port| port.node_port = None);
    let intent = Intent::new().service(headless).slice(slice("web-1", &[V4.pod]));
    let running = world.start(intent.at(1));
    has_no_frontend(&world, &running);
    // The pod behind it is reached by the address that its name has.
    assert_eq!(answer(&world, &world.node, V4.pod, SERVER_PORT), "pod 10.42.0.1");
}

#[track_caller]
fn has_no_frontend(world: &World, running: &Running) {
    let held = running.wait(running.datapath.services()).unwrap();
    assert!(held.services.is_empty(), "{held:?}");
    for caller in [&world.pod, &world.node, &world.client] {
        // Where node ports would be, nobody listens.
        assert_eq!(answer(world, caller, V4.node, NODE_PORT), REFUSED);
    }
    for counter in ["translated", "translated_outside", "refused", "refused_outside"] {
        assert_eq!(running.counter(counter), 0, "{counter}");
    }
}

/// A Service without a selector, whose slice somebody wrote by hand: the address belongs to nobody of the cluster.
#[test]
fn backends_outside_the_cluster_are_reached_from_everywhere() {
    const BACKEND: &str = "198.51.100.7";
    let Some(world) = world("0c0006") else { return };
    world.other.ip(&format!("addr add {BACKEND}/32 dev lo")).unwrap();
    world.serve_at(&world.other, "elsewhere", BACKEND, 9_090);
    world.node.ip(&format!("route add {BACKEND}/32 via {}", V4.other)).unwrap();
    world.pod.ip(&format!("route add {BACKEND}/32 via 10.42.0.1")).unwrap();
    let by_hand = at_port(slice("web-1", &[BACKEND]), 9_090);
    let _running = world.start(Intent::new().service(service(&[&V4])).slice(by_hand).at(1));
    // It knows no way to pods or to who called: what reaches it comes from the node.
    let callers = [(&world.pod, V4.node), (&world.node, "10.42.1.1"), (&world.client, V4.node)];
    for (caller, seen) in callers {
        for (address, port) in frontends(&V4) {
            let expected = format!("elsewhere {seen}");
            assert_eq!(answer(&world, caller, address, port), expected, "{address}:{port}");
        }
    }
}

fn at_port(mut slice: Slice, port: u16) -> Slice {
    slice.ports.iter_mut().for_each(|it| it.port = port);
    slice
}

/// `targetPort: http`, and the pods call different ports so: control makes a slice for each.
#[test]
fn every_pod_is_reached_at_its_own_port_of_that_name() {
    let Some(world) = world("0c0007") else { return };
    world.serve(&world.other, "other at 9090", 9_090);
    let theirs = at_port(slice("web-2", &[V4.other]), 9_090);
    let _running = world.start(Intent::web(&V4, &[V4.pod]).slice(theirs).at(1));
    let callers = [
        (&world.pod, ["pod 10.42.0.2", "other at 9090 10.42.0.2"]),
        (&world.node, ["pod 10.42.0.1", "other at 9090 10.42.1.1"]),
        (&world.client, ["pod 192.0.2.2", "other at 9090 192.0.2.1"]),
    ];
    for (caller, expected) in callers {
        for found in answers(&world, caller, V4.cluster_ip, 80) {
            assert_eq!(found, set(expected));
        }
    }
}
