//! `internalTrafficPolicy: Local`: callers of the ClusterIP stay on this node.

use std::sync::Arc;

use beeline_tables::{Service, Snapshot, TrafficPolicy};

use crate::{
    REFUSED, answer, answers,
    intent::{Intent, service, slice},
    set, world,
    world::V4,
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
