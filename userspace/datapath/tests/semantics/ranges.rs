//! `loadBalancerSourceRanges`: who may call the load balancer's address.

use std::sync::Arc;

use beeline_tables::{Service, Snapshot};

use crate::{
    answer,
    intent::{Intent, service, slice},
    world,
    world::{Family, Running, V4, V6, World},
};

const FORBIDDEN: &str = "error permission denied";

fn ranges(epoch: u64, family: &Family, ranges: &[&str]) -> Arc<Snapshot> {
    let source_ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
    let service = Service { source_ranges, ..service(&[family]) };
    Intent::new().service(service).slice(slice("web-1", &[family.pod])).at(epoch)
}

/// Nobody in: callers on the node are told so, those outside hear nothing.
#[track_caller]
fn admits_nobody(world: &World, running: &Running, family: &Family) {
    for caller in [&world.pod, &world.node] {
        assert_eq!(answer(world, caller, family.balanced, 80), FORBIDDEN);
    }
    let before = running.drops("source_range");
    let unheard = world.call_in_vain(&world.client, family.balanced, 80);
    assert_eq!(unheard, "error timed out");
    assert!(running.drops("source_range") > before);
}

fn ranges_tell_callers(instance: &str, family: &Family, pods: &str, world_range: &str) {
    let Some(world) = world(instance) else { return };
    let running = world.start(ranges(1, family, &[pods]));
    assert_eq!(answer(&world, &world.pod, family.balanced, 80), format!("pod {}", family.pod));
    assert_eq!(answer(&world, &world.node, family.balanced, 80), FORBIDDEN);
    assert_eq!(world.call_in_vain(&world.client, family.balanced, 80), "error timed out");

    running.reconcile(ranges(2, family, &[world_range]));
    assert_eq!(answer(&world, &world.pod, family.balanced, 80), FORBIDDEN);
    let node = world.call(&world.node, family.balanced, 80);
    assert!(node.starts_with("pod "), "the node's own address is in the range: {node}");
    let seen = format!("pod {}", family.client);
    assert_eq!(answer(&world, &world.client, family.balanced, 80), seen);
    // Ranges are about the load balancer's addresses alone.
    let seen = format!("pod {}", family.pod);
    for address in [family.cluster_ip, family.external] {
        assert_eq!(answer(&world, &world.pod, address, 80), seen);
    }

    running.reconcile(ranges(3, family, &["198.18.0.0/15", "2001:db8:ffff::/48"]));
    admits_nobody(&world, &running, family);
}

#[test]
fn ipv4_callers_that_are_not_admitted_are_told_so() {
    ranges_tell_callers("0c0008", &V4, "10.42.0.0/24", "192.0.2.0/24");
}

#[test]
fn ipv6_callers_that_are_not_admitted_are_told_so() {
    ranges_tell_callers("0c0009", &V6, "fd42::/64", "2001:db8:1::/64");
}

#[test]
fn ranges_of_the_other_family_admit_nobody() {
    let Some(world) = world("0c000a") else { return };
    for (epoch, family, everybody) in [(1, &V4, "::/0"), (2, &V6, "0.0.0.0/0")] {
        let running = world.start(ranges(epoch, family, &[everybody]));
        admits_nobody(&world, &running, family);
    }
}
