//! One Service with addresses of both families.

use crate::{
    REFUSED, answer, answers, frontends,
    intent::{Intent, service, slice},
    world,
    world::{V4, V6},
};

#[test]
fn each_family_is_served_by_backends_of_its_own() {
    let Some(world) = world("0c0013") else { return };
    let both = |ipv6: &[&str]| {
        let intent = Intent::new().service(service(&[&V4, &V6]));
        intent.slice(slice("web-1", &[V4.pod, V4.other])).slice(slice("web-2", ipv6))
    };
    let running = world.start(both(&[V6.pod, V6.other]).at(1));
    for family in [&V4, &V6] {
        for (address, port) in frontends(family) {
            let pod = [format!("pod {}", family.pod), format!("other {}", family.pod)];
            let client = [format!("pod {}", family.client), format!("other {}", family.node)];
            for (caller, expected) in [(&world.pod, pod), (&world.client, client)] {
                for found in answers(&world, caller, address, port) {
                    assert_eq!(found, expected.clone().into(), "{address}:{port}");
                }
            }
        }
    }
    // One family goes without the other.
    running.reconcile(both(&[]).at(2));
    for caller in [&world.pod, &world.node, &world.client] {
        assert_eq!(answer(&world, caller, V6.cluster_ip, 80), REFUSED);
        assert_ne!(world.call(caller, V4.cluster_ip, 80), REFUSED);
    }
}

/// Java, Node.js and others open IPv6 sockets for everything and dial IPv4 as `::ffff:a.b.c.d`.
#[test]
fn a_mapped_address_is_an_ipv4_frontend() {
    let Some(world) = world("0c0014") else { return };
    let intent = Intent::new().service(service(&[&V4, &V6]));
    let intent = intent.slice(slice("web-1", &[V4.pod])).slice(slice("web-2", &[V6.other]));
    let running = world.start(intent.at(1));
    for (caller, seen) in [(&world.pod, "pod 10.42.0.2"), (&world.node, "pod 10.42.0.1")] {
        for (address, port) in frontends(&V4) {
            let mapped = format!("::ffff:{address}");
            assert_eq!(answer(&world, caller, &mapped, port), seen, "{mapped}:{port}");
        }
    }
    running.reconcile(Intent::new().service(service(&[&V4, &V6])).at(2));
    assert_eq!(answer(&world, &world.pod, "::ffff:10.43.0.10", 80), REFUSED);
}
