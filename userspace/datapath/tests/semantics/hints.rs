//! Topology hints: whose callers a backend is meant for (KEP-2433, KEP-3015).

use std::sync::Arc;

use beeline_tables::{Backend, Hints, NodeName};

use crate::{
    answers,
    intent::{Intent, backend, service, slice},
    set, world,
    world::V4,
};

fn meant_for(address: &str, node: &str) -> Backend {
    let hints = Hints { zones: Vec::new(), nodes: vec![NodeName(node.into())] };
    Backend { hints: Some(Arc::new(hints)), ..backend(address) }
}

#[test]
fn hints_keep_callers_near_if_every_backend_has_one() {
    let Some(world) = world("0c001d") else { return };
    let with = |other: Backend| {
        let backends = vec![meant_for(V4.pod, "n1"), other];
        let slice = beeline_tables::Slice { backends, ..slice("web-1", &[]) };
        Intent::new().service(service(&[&V4])).slice(slice)
    };
    let running = world.start(with(meant_for(V4.other, "n2")).at(1));
    for (caller, seen) in [(&world.pod, V4.pod), (&world.client, V4.client)] {
        for found in answers(&world, caller, V4.cluster_ip, 80) {
            assert_eq!(found, set([&format!("pod {seen}")]));
        }
    }
    running.reconcile(with(backend(V4.other)).at(2));
    for found in answers(&world, &world.pod, V4.cluster_ip, 80) {
        assert_eq!(found, set(["pod 10.42.0.2", "other 10.42.0.2"]));
    }
}
