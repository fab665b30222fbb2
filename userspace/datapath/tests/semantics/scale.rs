//! Backends that come and go: to none and back, to those that end, to no Service at all.

use std::net::TcpStream;

use beeline_sys::netns;
use beeline_test_support::Net;

use crate::{
    REFUSED, answer, answers, frontends,
    intent::{Intent, ending, service, slice},
    set, world,
    world::{PATIENCE, V4, V6, World, address, ask, talk},
};

fn callers(world: &World) -> [&Net; 3] {
    [&world.pod, &world.node, &world.client]
}

#[test]
fn scaling_to_zero_refuses_at_once_and_scaling_up_serves_at_once() {
    let Some(world) = world("0c0017") else { return };
    for (epoch, family) in [(1, &V4), (10, &V6)] {
        let running = world.start(Intent::web(family, &[family.pod]).at(epoch));
        for round in 0..3 {
            running.reconcile(Intent::web(family, &[]).at(epoch + 2 * round + 1));
            for caller in callers(&world) {
                for (address, port) in frontends(family) {
                    assert_eq!(answer(&world, caller, address, port), REFUSED);
                }
            }
            running.reconcile(Intent::web(family, &[family.pod]).at(epoch + 2 * round + 2));
            for caller in callers(&world) {
                for (address, port) in frontends(family) {
                    let served = answer(&world, caller, address, port);
                    assert!(served.starts_with("pod "), "{address}:{port}: {served}");
                }
            }
        }
    }
}

#[test]
fn unconnected_datagram_sockets_follow_every_change() {
    let Some(world) = world("0c0018") else { return };
    let running = world.start(Intent::web(&V4, &[V4.pod]).at(1));
    let bind = || Ok(std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
    let socket = netns::inside(&world.pod.path(), bind).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = || {
        let mut buffer = [0; 64];
        match socket.send_to(b"?", (V4.cluster_ip, 80)).and_then(|_| socket.recv_from(&mut buffer))
        {
            Ok((length, from)) => {
                assert_eq!(from, address(V4.cluster_ip, 80), "who answers is who was asked");
                String::from_utf8_lossy(&buffer[..length]).into_owned()
            }
            Err(error) => format!("error {}", error.kind()),
        }
    };
    assert_eq!(ask(), "pod 10.42.0.2");
    running.reconcile(Intent::web(&V4, &[V4.other]).at(2));
    assert_eq!(ask(), "other 10.42.0.2");
    running.reconcile(Intent::web(&V4, &[]).at(3));
    assert_eq!(ask(), REFUSED);
    running.reconcile(Intent::web(&V4, &[V4.pod]).at(4));
    assert_eq!(ask(), "pod 10.42.0.2");
    running.reconcile(Intent::new().at(5));
    assert_eq!(ask(), "error network unreachable", "there is no such Service");
}

/// Ready ones first; those that end only when nothing else is left (KEP-1669).
#[test]
fn backends_that_end_serve_when_nobody_else_does() {
    let Some(world) = world("0c0019") else { return };
    let with = |ready: &[&str]| {
        let mut slice = slice("web-1", ready);
        slice.backends.push(ending(V4.other));
        Intent::new().service(service(&[&V4])).slice(slice)
    };
    let running = world.start(with(&[V4.pod]).at(1));
    for caller in callers(&world) {
        for found in answers(&world, caller, V4.cluster_ip, 80) {
            assert!(found.iter().all(|answer| answer.starts_with("pod ")), "{found:?}");
        }
    }
    running.reconcile(with(&[]).at(2));
    let seen = ["other 10.42.0.2", "other 10.42.1.1", "other 192.0.2.1"];
    for (caller, seen) in callers(&world).into_iter().zip(seen) {
        for found in answers(&world, caller, V4.cluster_ip, 80) {
            assert_eq!(found, set([seen]));
        }
    }
    running.reconcile(Intent::web(&V4, &[]).at(3));
    for caller in callers(&world) {
        assert_eq!(answer(&world, caller, V4.cluster_ip, 80), REFUSED);
    }
}

#[test]
fn deleting_a_service_ends_datagrams_and_leaves_connections() {
    let Some(world) = world("0c001a") else { return };
    let running = world.start(Intent::web(&V4, &[V4.other]).at(1));
    let to = address(V4.external, 80);
    let dial = |net: &Net| {
        let connect = || Ok(TcpStream::connect_timeout(&to, PATIENCE).unwrap());
        netns::inside(&net.path(), connect).unwrap()
    };
    let seen = ["other 10.42.0.2", "other 10.42.1.1", "other 192.0.2.1"];
    let standing: Vec<_> = callers(&world)
        .into_iter()
        .zip(seen)
        .map(|(caller, seen)| {
            let (socket, answer) = world.datagram(caller, V4.external, 80);
            assert_eq!(answer, seen);
            (dial(caller), socket, seen)
        })
        .collect();
    running.reconcile(Intent::new().at(2));
    for (mut stream, socket, seen) in standing {
        assert_eq!(talk(&mut stream), seen, "what stands is nobody's but its two ends'");
        let answer = ask(&socket);
        assert!(answer.starts_with("error ") && answer != "error timed out", "{answer}");
    }
    for caller in callers(&world) {
        let answer = answer_of_nobody(&world, caller);
        assert!(answer.ends_with("unreachable"), "{answer}");
    }
}

/// Nothing of the cluster has the address any more, and no route leads to it.
fn answer_of_nobody(world: &World, caller: &Net) -> String {
    world.call(caller, V4.external, 80)
}

/// A connected socket is told (its owner opens another); an exchange from outside goes on elsewhere with the next datagram.
#[test]
fn clients_of_a_datagram_backend_that_leaves_move_on_at_once() {
    let Some(world) = world("0c001b") else { return };
    let running = world.start(Intent::web(&V4, &[V4.other]).at(1));
    let sockets = callers(&world).map(|caller| world.datagram(caller, V4.external, 80));
    for (_, answer) in &sockets {
        assert!(answer.starts_with("other "), "{answer}");
    }
    running.reconcile(Intent::web(&V4, &[V4.pod]).at(2));
    let [(pod, _), (node, _), (client, _)] = sockets;
    for socket in [pod, node] {
        let told = socket.take_error().unwrap().unwrap();
        assert_eq!(told.kind(), std::io::ErrorKind::ConnectionAborted);
    }
    assert_eq!(ask(&client), "pod 192.0.2.2");
    for caller in [&world.pod, &world.node] {
        assert!(answer(&world, caller, V4.external, 80).starts_with("pod "));
    }
}
