//! The table of tracked connections: full, crowded, and used again.

use std::net::SocketAddr;
use std::time::Duration;

use beeline_abi::limits::TRACK_SYN_NS;
use beeline_abi::{
    BackendId, Counter, DropReason, FlowEventKind, Proto, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN,
    Track, Tuple, maps,
};
use beeline_test_kernel::Packet;

use crate::world::{
    DROP, PASS, REDIRECT, SNAT_PORTS, Server, World, assert_frame, families, tuple, with,
    with_limit,
};

fn syn(from: SocketAddr, to: SocketAddr) -> Packet {
    Packet::tcp(from, to, TCP_SYN, b"")
}

#[test]
fn a_full_table_refuses_what_is_new_and_breaks_nothing_old() {
    // Room for two connections and half of one.
    with_limit("CONNTRACK", 5, |world| {
        for family in families() {
            world.reset();
            let (pod, server) = (family.local(3), family.remote(4));
            world.serve(family.frontend, Proto::Tcp, &[pod]);
            for port in [1, 2] {
                let packet = syn(family.caller(port), family.frontend);
                assert_eq!(world.arrive(world.up, &packet).0, REDIRECT);
            }
            world.kernel.events().unwrap();
            // The first half of the third finds room, its second does not; then there is none at all.
            let filler = tuple(family.node(9), SocketAddr::new(family.router, 9), Proto::Udp);
            for filled in [false, true] {
                if filled {
                    let mut table = world.kernel.hash::<Tuple, Track>(maps::CONNTRACK).unwrap();
                    table.insert(filler, Track::default(), 0).unwrap();
                }
                for servers in [[pod], [server]] {
                    world.serve(family.frontend, Proto::Tcp, &servers);
                    let before = world.tracks();
                    let packet = syn(family.caller(20_500), family.frontend);
                    let (action, frame) = world.arrive(world.up, &packet);
                    assert_eq!(action, DROP);
                    assert_frame(&frame, &packet);
                    let (action, frame) = world.drive(world.up, &packet);
                    assert_eq!(action, 1, "dropped in the driver");
                    assert_frame(&frame, &packet);
                    assert_eq!(world.tracks(), before, "nothing half-made stays");
                }
            }
            assert_eq!(world.kernel.drops(DropReason::ConntrackFull).unwrap().packets, 8);
            let events = world.kernel.events().unwrap();
            assert!(
                !events.is_empty()
                    && events.iter().all(|event| {
                        event.drop_reason() == Some(DropReason::ConntrackFull)
                            && event.kind() == Some(FlowEventKind::Drop)
                    })
            );
            // The old ones go on, both ways.
            let caller = family.caller(1);
            let data = |from, to| Packet::tcp(from, to, TCP_ACK, b"data");
            assert_eq!(world.arrive(world.up, &data(caller, family.frontend)).0, REDIRECT);
            let (action, frame) = world.depart(world.up, &data(pod.at, caller));
            assert_eq!(action, PASS);
            assert_frame(&frame, &data(family.frontend, caller));
            let (forward, reverse) = world.pair_of(
                tuple(caller, family.frontend, Proto::Tcp),
                tuple(caller, pod.at, Proto::Tcp),
            );
            assert_eq!((forward.packets, reverse.packets), (2, 1));
        }
    });
}

#[test]
fn two_callers_with_one_port_get_two() {
    with(|world| {
        for family in families() {
            world.reset();
            let server = family.remote(4);
            world.serve(family.frontend, Proto::Tcp, &[server]);
            let second = SocketAddr::new(family.neighbour, 20_500);
            let mut seen = Vec::new();
            for caller in [family.caller(20_500), second] {
                assert_eq!(world.arrive(world.up, &syn(caller, family.frontend)).0, REDIRECT);
                let given = tuple(caller, family.frontend, Proto::Tcp);
                let port = world.tracks()[&given].source_port.to_host();
                world.pair_of(given, tuple(family.node(port), server.at, Proto::Tcp));
                assert!((SNAT_PORTS.0..=SNAT_PORTS.1).contains(&port), "{port}");
                seen.push(port);
            }
            assert_eq!(seen[0], 20_500);
            assert_ne!(seen[1], 20_500);
            assert_eq!(world.kernel.counter(Counter::SnatCollisions).unwrap(), 1);
            assert_eq!(world.tracks().len(), 4);
        }
    });
}

#[test]
fn a_caller_who_dials_two_frontends_from_one_port_is_told_apart() {
    with(|world| {
        for family in families() {
            world.reset();
            let pod = family.local(3);
            let another = SocketAddr::new(family.frontend.ip(), 81);
            let caller = family.caller(40_000);
            for frontend in [family.frontend, another] {
                world.serve(frontend, Proto::Tcp, &[pod]);
                assert_eq!(world.arrive(world.up, &syn(caller, frontend)).0, REDIRECT);
            }
            let given = tuple(caller, another, Proto::Tcp);
            let port = world.tracks()[&given].source_port.to_host();
            assert_ne!(port, 40_000);
            world.pair_of(given, tuple(family.caller(port), pod.at, Proto::Tcp));
            world.pair_of(
                tuple(caller, family.frontend, Proto::Tcp),
                tuple(caller, pod.at, Proto::Tcp),
            );
        }
    });
}

#[test]
fn without_a_free_port_what_is_new_is_dropped_with_its_reason() {
    with(|world| {
        for family in families() {
            world.reset();
            world.config(0, (20_500, 20_501));
            world.serve(family.frontend, Proto::Tcp, &[family.remote(4)]);
            for caller in [family.caller(1), family.caller(2)] {
                assert_eq!(world.arrive(world.up, &syn(caller, family.frontend)).0, REDIRECT);
            }
            let before = world.tracks();
            let packet = syn(family.caller(3), family.frontend);
            let (action, frame) = world.arrive(world.up, &packet);
            assert_eq!(action, DROP);
            assert_frame(&frame, &packet);
            assert_eq!(world.tracks(), before);
            assert_eq!(world.kernel.drops(DropReason::SnatExhausted).unwrap().packets, 1);
            let collisions = world.kernel.counter(Counter::SnatCollisions).unwrap();
            assert!(collisions >= u64::from(beeline_abi::limits::SNAT_ATTEMPTS), "{collisions}");
            // The port serves another backend all the same.
            let beside = Server { at: SocketAddr::new(family.other, 9_090), ..family.remote(5) };
            world.serve(family.frontend, Proto::Tcp, &[beside]);
            assert_eq!(world.arrive(world.up, &packet).0, REDIRECT);
        }
    });
}

/// A connection to backend 3 that `ends`, then a SYN from the same port when only backend 4 serves.
fn begins_anew(ends: impl Fn(&mut World, SocketAddr) + Sync, anew: bool) {
    with(|world| {
        for family in families() {
            world.reset();
            let (caller, pod, server) = (family.caller(20_500), family.local(3), family.remote(4));
            world.serve(family.frontend, Proto::Tcp, &[pod]);
            world.arrive(world.up, &syn(caller, family.frontend));
            world.arrive(world.up, &Packet::tcp(caller, family.frontend, TCP_ACK, b"data"));
            ends(world, caller);
            let given = tuple(caller, family.frontend, Proto::Tcp);
            let first = world.tracks()[&given];
            world.serve(family.frontend, Proto::Tcp, &[server]);
            world.arrive(world.up, &syn(caller, family.frontend));
            let second = world.tracks()[&given];
            assert_eq!(second.flow_id != first.flow_id, anew);
            if anew {
                assert_eq!((second.packets, second.backend_id), (1, BackendId(4)));
                // Of the first nothing is left.
                world.pair(given, tuple(family.node(20_500), server.at, Proto::Tcp));
            } else {
                assert_eq!(second.packets, first.packets + 1);
                world.pair(given, tuple(caller, pod.at, Proto::Tcp));
            }
        }
    });
}

#[test]
fn a_tuple_used_again_after_its_end_is_another_connection() {
    for flags in [TCP_FIN | TCP_ACK, TCP_RST] {
        begins_anew(
            |world, caller| {
                let frontend = families().map(|family| family.frontend);
                let frontend = if caller.is_ipv4() { frontend[0] } else { frontend[1] };
                world.arrive(world.up, &Packet::tcp(caller, frontend, flags, b""));
            },
            true,
        );
    }
}

#[test]
fn a_tuple_used_again_after_long_silence_is_another_connection() {
    begins_anew(
        |world, _| {
            for (key, track) in world.tracks() {
                // The clock begins with the machine, which may have begun just now.
                std::thread::sleep(Duration::from_nanos(
                    TRACK_SYN_NS.saturating_sub(track.seen_ns),
                ));
                let seen_ns = track.seen_ns.saturating_sub(TRACK_SYN_NS);
                let track = Track { seen_ns, tcp_flags: TCP_SYN, ..track };
                let mut table = world.kernel.hash::<Tuple, Track>(maps::CONNTRACK).unwrap();
                table.insert(key, track, 0).unwrap();
            }
        },
        true,
    );
}

#[test]
fn a_syn_that_is_sent_again_begins_nothing() {
    begins_anew(|_, _| {}, false);
}

#[test]
fn datagrams_move_on_when_their_backend_leaves_and_connections_stay() {
    with(|world| {
        for family in families() {
            world.reset();
            let (caller, pod, server) = (family.caller(20_500), family.local(3), family.remote(4));
            for (proto, id) in [(Proto::Udp, 3), (Proto::Tcp, 13)] {
                world.serve(family.frontend, proto, &[Server { id, ..pod }]);
            }
            let datagram = Packet::udp(caller, family.frontend, b"x");
            world.arrive(world.up, &datagram);
            world.arrive(world.up, &syn(caller, family.frontend));
            for (proto, id) in [(Proto::Udp, 4), (Proto::Tcp, 14)] {
                world.serve(family.frontend, proto, &[Server { id, ..server }]);
            }
            world.leave(pod);
            world.leave(Server { id: 13, ..pod });

            assert_eq!(world.arrive(world.up, &datagram).0, REDIRECT);
            let node = family.node(20_500);
            let udp = tuple(caller, family.frontend, Proto::Udp);
            let (forward, _) = world.pair_of(udp, tuple(node, server.at, Proto::Udp));
            assert_eq!((forward.backend_id, forward.packets), (BackendId(4), 1));
            let ack = Packet::tcp(caller, family.frontend, TCP_ACK, b"data");
            assert_eq!(world.arrive(world.up, &ack).0, REDIRECT);
            let tcp = tuple(caller, family.frontend, Proto::Tcp);
            let (forward, _) = world.pair_of(tcp, tuple(caller, pod.at, Proto::Tcp));
            assert_eq!((forward.backend_id, forward.packets), (BackendId(13), 2));
            assert_eq!(world.tracks().len(), 4, "nothing of the first exchange is left");

            // With nobody left, the caller is told.
            world.leave(server);
            world.serve(family.frontend, Proto::Udp, &[]);
            assert_eq!(world.arrive(world.up, &datagram).0, REDIRECT);
            assert_eq!(world.kernel.counter(Counter::RefusedOutside).unwrap(), 1);
            assert_eq!(world.tracks().len(), 2);
        }
    });
}
