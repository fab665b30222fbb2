//! ICMP errors about translated connections: whoever receives one sees the packet that it sent itself.

use std::net::SocketAddr;

use beeline_abi::{Counter, Proto, TCP_ACK, TCP_SYN};
use beeline_test_kernel::Packet;

use crate::world::{
    CLIENT_MAC, DRIVER_PASS, Family, OTHER_MAC, PASS, REDIRECT, Server, World, assert_frame,
    families, with,
};

/// A connection under way: caller, node's side of it, backend.
fn connect(world: &mut World, family: &Family, proto: Proto, server: Server) -> [SocketAddr; 3] {
    world.reset();
    world.serve(family.frontend, proto, &[server]);
    let caller = family.caller(20_500);
    world.arrive(world.up, &request(proto, caller, family.frontend));
    world.kernel.events().unwrap();
    let seen = if server.is_local { caller } else { family.node(20_500) };
    [caller, seen, server.at]
}

fn request(proto: Proto, from: SocketAddr, to: SocketAddr) -> Packet {
    match proto {
        Proto::Tcp => Packet::tcp(from, to, TCP_SYN, b""),
        _ => Packet::udp(from, to, b"an odd number"),
    }
}

fn answer(proto: Proto, from: SocketAddr, to: SocketAddr) -> Packet {
    match proto {
        Proto::Tcp => Packet::tcp(from, to, TCP_ACK, b"some data, a lot of it"),
        _ => Packet::udp(from, to, b"some data"),
    }
}

fn each(work: impl Fn(&mut World, &Family, Proto) + Sync) {
    with(|world| {
        for family in families() {
            for proto in [Proto::Tcp, Proto::Udp] {
                work(world, &family, proto);
            }
        }
    });
}

#[test]
fn a_caller_learns_what_became_of_its_packet_beyond_the_node() {
    each(|world, family, proto| {
        let [caller, node, server] = connect(world, family, proto, family.remote(4));
        let sent = request(proto, node, server).further();
        let own = request(proto, caller, family.frontend).further();
        // A router on the way keeps its address.
        let error = Packet::too_big(family.router, family.node, &sent);
        let (action, frame) = world.arrive(world.back, &error);
        assert_eq!(action, REDIRECT);
        let told = Packet::too_big(family.router, family.client, &own);
        assert_frame(&frame, &told.macs(CLIENT_MAC, world.up.mac).further());
        // The backend's own word comes from the frontend.
        let error = Packet::port_unreachable(family.other, family.node, &sent);
        let (action, frame) = world.arrive(world.back, &error);
        assert_eq!(action, REDIRECT);
        let told = Packet::port_unreachable(family.frontend.ip(), family.client, &own);
        assert_frame(&frame, &told.macs(CLIENT_MAC, world.up.mac).further());
        assert_eq!(world.kernel.counter(Counter::IcmpErrors).unwrap(), 2);
        assert_eq!(world.tracks().len(), 2, "an error is no connection");
    });
}

#[test]
fn a_caller_learns_what_a_pod_here_says_of_its_packet() {
    each(|world, family, proto| {
        let [caller, _, pod] = connect(world, family, proto, family.local(3));
        let error = Packet::port_unreachable(pod.ip(), family.client, &request(proto, caller, pod));
        let (action, frame) = world.depart(world.up, &error);
        assert_eq!(action, PASS);
        let own = request(proto, caller, family.frontend);
        let told = Packet::port_unreachable(family.frontend.ip(), family.client, &own);
        assert_frame(&frame, &told);
        assert_eq!(world.kernel.counter(Counter::IcmpErrors).unwrap(), 1);
    });
}

#[test]
fn a_pod_here_learns_what_became_of_its_answer() {
    each(|world, family, proto| {
        let [caller, _, pod] = connect(world, family, proto, family.local(3));
        let seen = answer(proto, family.frontend, caller);
        let own = answer(proto, pod, caller);
        let (pod_mac, host_mac) = (world.pod.pod_mac, world.pod.host_mac);
        for from in [family.neighbour, family.client] {
            for write in [Packet::too_big, Packet::port_unreachable] {
                let (action, frame) =
                    world.arrive(world.up, &write(from, family.frontend.ip(), &seen));
                assert_eq!(action, REDIRECT);
                assert_frame(
                    &frame,
                    &write(from, pod.ip(), &own).macs(pod_mac, host_mac).further(),
                );
            }
        }
        assert_eq!(world.kernel.counter(Counter::IcmpErrors).unwrap(), 4);
    });
}

#[test]
fn a_backend_elsewhere_learns_what_became_of_its_answer() {
    each(|world, family, proto| {
        let [caller, node, server] = connect(world, family, proto, family.remote(4));
        let seen = answer(proto, family.frontend, caller);
        let own = answer(proto, server, node);
        // The caller's word comes from whom the backend takes for its caller.
        for (from, as_from) in [(family.neighbour, family.neighbour), (family.client, family.node)]
        {
            let error = Packet::too_big(from, family.frontend.ip(), &seen);
            let (action, frame) = world.arrive(world.up, &error);
            assert_eq!(action, REDIRECT);
            let told = Packet::too_big(as_from, family.other, &own);
            assert_frame(&frame, &told.macs(OTHER_MAC, world.back.mac).further());
        }
    });
}

#[test]
fn a_quote_of_eight_bytes_is_enough() {
    each(|world, family, proto| {
        let [caller, node, server] = connect(world, family, proto, family.remote(4));
        let header = if family.client.is_ipv4() { 20 } else { 40 };
        let kind = if family.client.is_ipv4() { (11, 0) } else { (3, 0) };
        let quote = |from, to| request(proto, from, to).frame()[14..14 + header + 8].to_vec();
        let error = Packet::icmp(family.router, family.node, kind, [0; 4], &quote(node, server));
        let (action, frame) = world.arrive(world.back, &error);
        assert_eq!(action, REDIRECT);
        let own = quote(caller, family.frontend);
        let told = Packet::icmp(family.router, family.client, kind, [0; 4], &own);
        assert_frame(&frame, &told.macs(CLIENT_MAC, world.up.mac).further());
    });
}

#[test]
fn the_driver_leaves_errors_to_tc() {
    each(|world, family, proto| {
        // With a way to the caller, and, by a neighbour nobody knows, without.
        let [_, node, server] = connect(world, family, proto, family.remote(4));
        for from in [family.router, family.other] {
            let error = Packet::too_big(from, family.node, &request(proto, node, server));
            let (action, frame) = world.drive(world.back, &error);
            assert_eq!(action, DRIVER_PASS);
            assert_frame(&frame, &error);
        }
        let [caller, ..] = connect(world, family, proto, family.local(3));
        let seen = answer(proto, family.frontend, caller);
        let error = Packet::too_big(family.client, family.frontend.ip(), &seen);
        let (action, frame) = world.drive(world.up, &error);
        assert_eq!(action, DRIVER_PASS);
        assert_frame(&frame, &error);
    });
}

#[test]
fn errors_about_what_nobody_knows_pass_unchanged() {
    each(|world, family, proto| {
        let [caller, ..] = connect(world, family, proto, family.remote(4));
        let unknown = request(proto, family.node(1), SocketAddr::new(family.other, 2));
        let error = Packet::too_big(family.router, family.node, &unknown);
        // About a packet that the node never sent: it went the other way.
        let reversed = request(proto, caller, family.frontend);
        let odd = Packet::too_big(family.router, family.node, &reversed);
        for packet in [error, odd] {
            let (action, frame) = world.arrive(world.back, &packet);
            assert_eq!(action, PASS);
            assert_frame(&frame, &packet);
            let (action, frame) = world.depart(world.back, &packet);
            assert_eq!(action, PASS);
            assert_frame(&frame, &packet);
        }
        assert_eq!(world.kernel.counter(Counter::IcmpErrors).unwrap(), 0);
    });
}
