//! Callers outside the node, in network namespaces: every kind of frontend, both families, through real programs.
//!
//! Skips, saying so, without root, cgroup v2 or a kernel object.

#[cfg(test)]
#[path = "outside/world.rs"]
mod world;

use std::collections::BTreeSet;

use beeline_datapath::{Edge, LbMode};
use world::{Family, NODE_PORT, SERVER_PORT, Shape, V4, V6, World, ask, tables, talk};

/// A world whose pod and other node serve.
fn world(instance: &str) -> Option<World> {
    let world = World::new(instance)?;
    world.serve(&world.pod, "pod", SERVER_PORT);
    world.serve(&world.other, "other", SERVER_PORT);
    Some(world)
}

/// Every address and port at which the Service is reached from outside.
fn frontends(family: &Family) -> [(&'static str, u16); 4] {
    [
        (family.node, NODE_PORT),
        (family.external, 80),
        (family.balanced, 80),
        (family.cluster_ip, 80),
    ]
}

fn every_frontend_reaches_both_backends(instance: &str, family: &Family) {
    let Some(world) = world(instance) else { return };
    let running = world.start(tables(1, family, &[family.pod, family.other], Shape::default()));
    for (address, port) in frontends(family) {
        let tcp: BTreeSet<String> =
            (0..24).map(|_| world.call(&world.client, address, port)).collect();
        // The pod here sees its caller; the other node, whose answers must come back this way, sees the node.
        let expected = [format!("other {}", family.node), format!("pod {}", family.client)];
        assert_eq!(tcp, expected.clone().into(), "TCP to {address}:{port}");
        let udp: BTreeSet<String> =
            (0..24).map(|_| world.datagram(&world.client, address, port).1).collect();
        assert_eq!(udp, expected.into(), "UDP to {address}:{port}");
    }
    // A datagram may come from a port that an earlier one had, and belongs to that connection then.
    let connections = running.counter("translated_outside");
    assert!(connections > 4 * 24 + 4 * 12, "{connections} of 192 calls began a connection");
    assert!(running.counter("forwarded_directly") > 0);
}

#[test]
fn ipv4_frontends_reach_pods_here_and_elsewhere() {
    every_frontend_reaches_both_backends("0a0001", &V4);
}

#[test]
fn ipv6_frontends_reach_pods_here_and_elsewhere() {
    every_frontend_reaches_both_backends("0a0002", &V6);
}

#[test]
fn without_a_backend_callers_are_refused_at_once() {
    let Some(world) = world("0a0003") else { return };
    for (epoch, family) in [(1, &V4), (2, &V6)] {
        let running = world.start(tables(epoch, family, &[], Shape::default()));
        for (address, port) in frontends(family) {
            assert_eq!(world.call(&world.client, address, port), "error connection refused");
            let (_, answer) = world.datagram(&world.client, address, port);
            assert_eq!(answer, "error connection refused", "UDP to {address}:{port}");
        }
        assert_eq!(running.counter("refused_outside"), 8 * epoch);
    }
}

#[test]
fn local_policy_keeps_the_caller_and_drops_where_nobody_serves() {
    let Some(world) = world("0a0004") else { return };
    let shape = Shape { external_local: true, ..Shape::default() };
    let running = world.start(tables(1, &V4, &[V4.pod, V4.other], shape));
    for _ in 0..8 {
        assert_eq!(world.call(&world.client, V4.node, NODE_PORT), "pod 192.0.2.2");
    }
    running.reconcile(tables(2, &V4, &[V4.other], shape));
    assert_eq!(world.call_in_vain(&world.client, V4.node, NODE_PORT), "error timed out");
    assert!(running.drops("no_local_backend") > 0);
    // The ClusterIP has another policy.
    assert_eq!(world.call(&world.client, V4.cluster_ip, 80), "other 192.0.2.1");
}

#[test]
fn source_ranges_admit_some() {
    let Some(world) = world("0a0005") else { return };
    let shape = |range| Shape { range: Some(range), ..Shape::default() };
    let running = world.start(tables(1, &V4, &[V4.pod], shape("192.0.2.0/28")));
    assert_eq!(world.call(&world.client, V4.balanced, 80), "pod 192.0.2.2");
    running.reconcile(tables(2, &V4, &[V4.pod], shape("192.0.2.64/28")));
    assert_eq!(world.call_in_vain(&world.client, V4.balanced, 80), "error timed out");
    assert!(running.drops("source_range") > 0);
    assert_eq!(world.call(&world.client, V4.external, 80), "pod 192.0.2.2", "not balanced");
}

#[test]
fn clients_stay_with_their_backend_until_it_leaves() {
    let Some(world) = world("0a0006") else { return };
    let shape = Shape { affinity_s: Some(600), ..Shape::default() };
    let running = world.start(tables(1, &V4, &[V4.pod, V4.other], shape));
    let first = world.call(&world.client, V4.external, 80);
    for _ in 0..16 {
        assert_eq!(world.call(&world.client, V4.external, 80), first);
    }
    let (stays, answer) = if first.starts_with("pod") {
        (V4.other, "other 192.0.2.1")
    } else {
        (V4.pod, "pod 192.0.2.2")
    };
    running.reconcile(tables(2, &V4, &[stays], shape));
    assert_eq!(world.call(&world.client, V4.external, 80), answer);
    assert!(running.counter("affinity_hits") >= 16);
}

#[test]
fn connections_outlive_the_process_and_datagrams_move_on() {
    let Some(world) = world("0a0007") else { return };
    let running = world.start(tables(1, &V4, &[V4.other], Shape::default()));
    let to = world::address(V4.external, 80);
    let connect = || Ok(std::net::TcpStream::connect_timeout(&to, world::PATIENCE).unwrap());
    let mut stream = beeline_sys::netns::inside(&world.client.path(), connect).unwrap();
    assert_eq!(talk(&mut stream), "other 192.0.2.1");
    let (socket, answer) = world.datagram(&world.client, V4.external, 80);
    assert_eq!(answer, "other 192.0.2.1");
    drop(running);
    assert_eq!(talk(&mut stream), "other 192.0.2.1", "nobody is there");
    let running = world.start(tables(2, &V4, &[V4.pod], Shape::default()));
    assert_eq!(talk(&mut stream), "other 192.0.2.1", "a connection stays where it is");
    assert_eq!(ask(&socket), "pod 192.0.2.2", "an exchange of datagrams moves at once");
    running.reconcile(tables(3, &V4, &[], Shape::default()));
    assert_eq!(ask(&socket), "error connection refused", "and is refused when nobody is left");
}

#[test]
fn pods_leave_the_cluster_under_the_nodes_address() {
    let Some(world) = world("0a0008") else { return };
    world.serve(&world.client, "world", 9_000);
    let running = world.start(tables(1, &V4, &[V4.pod], Shape::default()));
    assert_eq!(world.call(&world.pod, V4.client, 9_000), "world 192.0.2.1");
    assert_eq!(world.datagram(&world.pod, V4.client, 9_000).1, "world 192.0.2.1");
    let ping = |to: &str| {
        world
            .pod
            .command("ping")
            .args(["-c", "1", "-W", "1", to])
            .output()
            .unwrap()
            .status
            .success()
    };
    if world.pod.command("ping").arg("-V").output().is_ok_and(|found| found.status.success()) {
        assert!(ping(V4.client), "an echo finds its way back");
    }
    assert!(running.counter("masqueraded") >= 2);
    // Within the cluster a pod is itself.
    world.join_pods();
    assert_eq!(world.call(&world.pod, V4.other, SERVER_PORT), "other 10.42.0.2");
}

#[test]
fn tracked_connections_end_when_both_directions_are_silent() {
    let Some(world) = world("0a0009") else { return };
    let running = world.start(tables(1, &V4, &[V4.pod], Shape::default()));
    let (_socket, answer) = world.datagram(&world.client, V4.external, 80);
    assert_eq!(answer, "pod 192.0.2.2");
    let standing = || {
        running.wait(running.datapath.collect_tracked()).unwrap();
        let held = running.wait(running.datapath.services()).unwrap();
        held.maps.iter().find(|usage| usage.map == "CONNTRACK").unwrap().entries
    };
    assert_eq!(standing(), 2, "one entry for each direction");
    world.age_tracked(|reply| reply);
    assert_eq!(standing(), 2, "the caller was heard a moment ago");
    world.age_tracked(|_| true);
    assert_eq!(standing(), 0);
}

#[test]
fn tracked_connections_are_forgotten_on_request_and_begin_anew() {
    let Some(world) = world("0a000f") else { return };
    let running = world.start(tables(1, &V4, &[V4.pod], Shape::default()));
    let (_socket, answer) = world.datagram(&world.client, V4.external, 80);
    assert_eq!(answer, "pod 192.0.2.2");
    let standing = || {
        let held = running.wait(running.datapath.services()).unwrap();
        held.maps.iter().find(|usage| usage.map == "CONNTRACK").unwrap().entries
    };
    running.wait(running.datapath.collect_tracked()).unwrap();
    assert_eq!(standing(), 2);
    running.wait(running.datapath.forget_tracked()).unwrap();
    assert_eq!(standing(), 0);
    assert_eq!(world.datagram(&world.client, V4.external, 80).1, "pod 192.0.2.2");
}

#[test]
fn connected_datagram_sockets_are_told_that_their_backend_left() {
    let Some(world) = world("0a000a") else { return };
    let running = world.start(tables(1, &V4, &[V4.other], Shape::default()));
    world.join_pods();
    let (socket, answer) = world.datagram(&world.pod, V4.cluster_ip, 80);
    assert_eq!(answer, "other 10.42.0.2");
    running.reconcile(tables(2, &V4, &[V4.pod], Shape::default()));
    let told = socket.take_error().unwrap().unwrap();
    assert_eq!(told.kind(), std::io::ErrorKind::ConnectionAborted);
    assert_eq!(world.datagram(&world.pod, V4.cluster_ip, 80).1, "pod 10.42.0.2");
}

#[test]
fn the_driver_sends_on_what_goes_elsewhere() {
    let Some(mut world) = world("0a000b") else { return };
    if !world.offload_nothing() {
        eprintln!("SKIPPED: ethtool is missing: apt-get install ethtool");
        return;
    }
    world.config.edge = Edge::Native;
    let running = world.start(tables(1, &V4, &[V4.other], Shape::default()));
    for _ in 0..4 {
        assert_eq!(world.call(&world.client, V4.external, 80), "other 192.0.2.1");
        assert_eq!(world.datagram(&world.client, V4.node, NODE_PORT).1, "other 192.0.2.1");
    }
    let before = running.counter("forwarded_directly");
    assert!(before > 0);
    assert!(world.has_driver_program("up0"), "the program is in the driver");
    running.reconcile(tables(2, &V4, &[V4.pod], Shape::default()));
    assert_eq!(world.call(&world.client, V4.external, 80), "pod 192.0.2.2");
    running.reconcile(tables(3, &V6, &[V6.other], Shape::default()));
    assert_eq!(world.call(&world.client, V6.external, 80), "other 2001:db8:1::1");
    running.reconcile(tables(4, &V4, &[], Shape::default()));
    assert_eq!(world.call(&world.client, V4.external, 80), "error connection refused");
}

#[test]
fn large_datagrams_arrive_in_pieces_and_errors_find_their_way() {
    let Some(world) = world("0a000c") else { return };
    let _running = world.start(tables(1, &V4, &[V4.other], Shape::default()));
    let (socket, answer) = world.datagram(&world.client, V4.external, 80);
    assert_eq!(answer, "other 192.0.2.1");
    socket.send(&[b'?'; 4_000]).unwrap();
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"other 192.0.2.1", "three pieces made one datagram");
    // Nobody listens there any more: the error comes from the backend, about an address that the client never dialled.
    world.refuse(&world.other, SERVER_PORT);
    assert_eq!(ask(&socket), "error connection refused");
}

#[test]
fn the_backends_node_answers_directly_under_the_frontends_address() {
    let Some(mut world) = world("0a000d") else { return };
    world.config.lb_mode = LbMode::Dsr;
    world.join_client_and_other();
    for (epoch, family) in [(1, &V4), (2, &V6)] {
        let shape = tables(epoch, family, &[family.other], Shape::default());
        let balancer = world.start(shape.clone());
        let other = world.start_other("0b000d", shape);
        for _ in 0..3 {
            let seen = format!("other {}", family.client);
            assert_eq!(world.call(&world.client, family.external, 80), seen);
            assert_eq!(world.call(&world.client, family.node, NODE_PORT), seen);
            assert_eq!(world.datagram(&world.client, family.external, 80).1, seen);
        }
        assert!(balancer.counter("translated_outside") >= 9, "chosen here");
        assert_eq!(other.counter("translated_outside"), 0, "and not once more there");
    }
}
