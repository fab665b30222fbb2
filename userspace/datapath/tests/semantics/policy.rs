//! Traffic policies: `internalTrafficPolicy: Local` keeps callers of the ClusterIP on this node, `externalTrafficPolicy: Local`
//! those who come from outside.

use std::sync::Arc;

use beeline_tables::{Service, Snapshot, TrafficPolicy};

use crate::{
    REFUSED, answer, answers,
    intent::{Intent, service, slice},
    set, world,
    world::{NODE_PORT, V4},
};

fn internal_local(epoch: u64, backends: &[&str]) -> Arc<Snapshot> {
    let service = Service { internal_policy: TrafficPolicy::Local, ..service(&[&V4]) };
    Intent::new().service(service).slice(slice("web-1", backends)).at(epoch)
}

#[test]
fn callers_of_the_cluster_ip_stay_on_the_node() {
    let Some(world) = world("0c0011") else { return };
    let _running = world.start(internal_local(1, &[V4.pod, V4.other]));
    for (caller, seen) in [(&world.pod, "pod 10.42.0.2"), (&world.node, "pod 10.42.0.1")] {
        for found in answers(&world, caller, V4.cluster_ip, 80) {
            assert_eq!(found, set([seen]));
        }
    }
    // Other frontends have the other policy.
    for found in answers(&world, &world.pod, V4.external, 80) {
        assert_eq!(found, set(["pod 10.42.0.2", "other 10.42.0.2"]));
    }
}

/// Packets are dropped, as by kube-proxy's rules; a socket on the node, which can be told, is refused.
#[test]
fn without_a_backend_here_sockets_are_refused_and_packets_dropped() {
    let Some(world) = world("0c0012") else { return };
    let running = world.start(internal_local(1, &[V4.other]));
    for caller in [&world.pod, &world.node] {
        assert_eq!(answer(&world, caller, V4.cluster_ip, 80), REFUSED);
    }
    assert!(running.drops("no_backend") >= 4);
    assert_eq!(world.call_in_vain(&world.client, V4.cluster_ip, 80), "error timed out");
    assert!(running.drops("no_local_backend") > 0);
    assert_eq!(running.counter("refused_outside"), 0);
    // With nobody anywhere there is nothing to wait for.
    running.reconcile(internal_local(2, &[]));
    assert_eq!(answer(&world, &world.client, V4.cluster_ip, 80), REFUSED);
}

/// They may be sent anywhere: their address is kept either way.
#[test]
fn external_policy_does_not_bind_callers_on_the_node() {
    let Some(world) = world("0c001e") else { return };
    let service = Service { external_policy: TrafficPolicy::Local, ..service(&[&V4]) };
    let intent = Intent::new().service(service).slice(slice("web-1", &[V4.other]));
    let running = world.start(intent.at(1));
    for (caller, seen) in [(&world.pod, "other 10.42.0.2"), (&world.node, "other 10.42.1.1")] {
        for (address, port) in [(V4.node, NODE_PORT), (V4.external, 80), (V4.balanced, 80)] {
            assert_eq!(answer(&world, caller, address, port), seen, "{address}:{port}");
        }
    }
    assert_eq!(world.call_in_vain(&world.client, V4.external, 80), "error timed out");
    assert!(running.drops("no_local_backend") > 0);
}
