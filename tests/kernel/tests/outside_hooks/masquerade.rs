//! Pods of this node that leave the cluster, under the node's address.

use std::net::{IpAddr, SocketAddr};

use beeline_abi::{
    Addr, BackendId, CONFIG_MASQUERADE, Counter, DropReason, Endpoint, FlowEventKind, Hook,
    Identity, Proto, RANGE_CLUSTER, RANGE_LOCAL_PODS, ServiceId, TCP_ACK, TCP_RST, TCP_SYN,
    TRACK_MASQUERADE, TRACK_SNAT, maps,
};
use beeline_test_kernel::Packet;

use crate::world::{
    DROP, Family, PASS, REDIRECT, SNAT_PORTS, World, assert_frame, families, tuple, with,
};

/// The pod's and the other node's ranges belong to the cluster.
fn each(work: impl Fn(&mut World, &Family) + Sync) {
    with(|world| {
        for family in families() {
            world.reset();
            world.config(CONFIG_MASQUERADE, SNAT_PORTS);
            let (whole, pods) = if family.client.is_ipv4() { (96, 24) } else { (0, 64) };
            for (address, flags) in
                [(family.pod, RANGE_CLUSTER | RANGE_LOCAL_PODS), (family.other, RANGE_CLUSTER)]
            {
                let key = Addr::from(address);
                world.kernel.prefix(maps::CLUSTER_RANGES, whole + pods, key, flags).unwrap();
            }
            work(world, &family);
        }
    });
}

fn pod(family: &Family, port: u16) -> SocketAddr {
    SocketAddr::new(family.pod, port)
}

#[test]
fn connections_of_pods_leave_under_the_nodes_address_and_come_back() {
    each(|world, family| {
        let (own, world_side) = (pod(family, 20_500), SocketAddr::new(family.client, 443));
        let node = family.node(20_500);
        for (proto, write) in [
            (Proto::Tcp, (|from, to| Packet::tcp(from, to, TCP_SYN, b"")) as fn(_, _) -> Packet),
            (Proto::Udp, |from, to| Packet::udp(from, to, b"an odd number")),
        ] {
            let (action, frame) = world.depart(world.up, &write(own, world_side));
            assert_eq!(action, PASS);
            assert_frame(&frame, &write(node, world_side));
            let (given, became) = (tuple(own, world_side, proto), tuple(node, world_side, proto));
            let (forward, _) = world.pair_of(given, became);
            assert_eq!(forward.flags, TRACK_MASQUERADE | TRACK_SNAT);
            assert_eq!((forward.service_id, forward.backend_id), (ServiceId(0), BackendId(0)));
            let [event] = world.kernel.events().unwrap().try_into().unwrap();
            assert_eq!(
                (event.kind(), event.hook()),
                (Some(FlowEventKind::New), Some(Hook::ToOutside))
            );
            let identities = (event.source_identity, event.dest_identity);
            assert_eq!(identities, (world.pod.identity, Identity::WORLD));
            assert_eq!((event.frontend_addr, event.tuple), (Addr::NONE, given));

            let answer = |to| match proto {
                Proto::Tcp => Packet::tcp(world_side, to, TCP_SYN | TCP_ACK, b""),
                _ => Packet::udp(world_side, to, b"of bytes"),
            };
            let (action, frame) = world.arrive(world.up, &answer(node));
            assert_eq!(action, REDIRECT);
            let back = answer(own).macs(world.pod.pod_mac, world.pod.host_mac).further();
            assert_frame(&frame, &back);
            let (action, frame) = world.drive(world.up, &answer(node));
            assert_eq!(action, 2, "for a pod here: tc hands it over");
            assert_frame(&frame, &answer(own));
        }
        assert_eq!(world.kernel.counter(Counter::Masqueraded).unwrap(), 2);
    });
}

#[test]
fn two_pods_with_one_port_or_one_ping_are_told_apart() {
    each(|world, family| {
        let [second, peer] = match family.pod {
            IpAddr::V4(_) => ["10.96.1.3", "192.0.2.2"],
            IpAddr::V6(_) => ["fd42::3", "2001:db8:1::2"],
        }
        .map(|text| text.parse::<IpAddr>().unwrap());
        world.kernel.endpoint(second.into(), Endpoint { ifindex: 0, ..world.pod }).unwrap();
        let mut seen = Vec::new();
        for (number, source) in [family.pod, second].into_iter().enumerate() {
            let ping = Packet::ping(source, peer, 20_700);
            let (action, frame) = world.depart(world.up, &ping);
            assert_eq!(action, PASS);
            let at = frame.len() - 16 - 4;
            let id = u16::from_be_bytes([frame[at], frame[at + 1]]);
            assert_frame(&frame, &Packet::ping(family.node, peer, id));
            let (action, frame) = world.arrive(world.up, &Packet::pong(peer, family.node, id));
            let back = Packet::pong(peer, source, 20_700);
            if number == 0 {
                assert_eq!(action, REDIRECT);
                let (pod_mac, host_mac) = (world.pod.pod_mac, world.pod.host_mac);
                assert_frame(&frame, &back.macs(pod_mac, host_mac).further());
            } else {
                // It has no link here: the stack is to say so.
                assert_eq!(action, PASS);
                assert_frame(&frame, &back);
            }
            seen.push(id);
        }
        assert_eq!(seen[0], 20_700);
        assert_ne!(seen[1], 20_700);
        assert_eq!(world.kernel.counter(Counter::SnatCollisions).unwrap(), 1);
    });
}

#[test]
fn an_error_about_a_masqueraded_packet_reaches_the_pod() {
    each(|world, family| {
        let (own, far) = (pod(family, 20_500), SocketAddr::new(family.client, 443));
        let write = |from| Packet::udp(from, far, b"too long");
        world.depart(world.up, &write(own));
        for from in [family.neighbour, family.client] {
            let error = Packet::too_big(from, family.node, &write(family.node(20_500)));
            let (action, frame) = world.arrive(world.up, &error);
            assert_eq!(action, REDIRECT);
            let told = Packet::too_big(from, family.pod, &write(own));
            assert_frame(&frame, &told.macs(world.pod.pod_mac, world.pod.host_mac).further());
        }
    });
}

#[test]
fn what_stays_in_the_cluster_or_is_no_pods_keeps_its_address() {
    each(|world, family| {
        let far = SocketAddr::new(family.client, 443);
        let syn = |from, to| Packet::tcp(from, to, TCP_SYN, b"");
        let own = pod(family, 20_500);
        let kept = [
            syn(own, SocketAddr::new(family.other, 80)),
            syn(family.node(20_500), far),
            syn(SocketAddr::new(family.other, 1), far),
            Packet::tcp(own, far, TCP_RST, b""),
            // Somebody outside who knows the way dialled the pod itself.
            Packet::tcp(own, far, TCP_SYN | TCP_ACK, b""),
            Packet::tcp(own, far, TCP_ACK, b"data"),
            Packet::pong(family.pod, family.client, 7),
            Packet::port_unreachable(family.pod, family.client, &syn(far, own)),
        ];
        for packet in &kept {
            let (action, frame) = world.depart(world.up, packet);
            assert_eq!(action, PASS, "{packet:?}");
            assert_frame(&frame, packet);
        }
        world.config(0, SNAT_PORTS);
        let (action, frame) = world.depart(world.up, &syn(own, far));
        assert_eq!(action, PASS);
        assert_frame(&frame, &syn(own, far));
        assert!(world.tracks().is_empty(), "{:#?}", world.tracks());
        assert_eq!(world.kernel.counter(Counter::Masqueraded).unwrap(), 0);
        assert!(world.kernel.events().unwrap().is_empty());
    });
}

#[test]
fn what_has_no_ports_that_could_be_others_keeps_what_it_has() {
    each(|world, family| {
        // SCTP's ports are covered by a checksum of the whole packet; the others have none.
        let far = family.client;
        let sctp = [&[0x9c, 0x40, 0x01, 0xbb][..], &[7; 28]].concat();
        for (proto, transport) in [(132, sctp), (47, vec![7; 24]), (50, vec![9; 24])] {
            let write = |from| Packet::new(from, far, proto, transport.clone());
            let (action, frame) = world.depart(world.up, &write(family.pod));
            assert_eq!(action, PASS, "protocol {proto}");
            assert_frame(&frame, &write(family.node));
            let back = |to| {
                let mut transport = transport.clone();
                if proto == 132 {
                    transport.swap(0, 2);
                    transport.swap(1, 3);
                }
                Packet::new(far, to, proto, transport)
            };
            let (action, frame) = world.arrive(world.up, &back(family.node));
            assert_eq!(action, REDIRECT, "protocol {proto}");
            let (pod_mac, host_mac) = (world.pod.pod_mac, world.pod.host_mac);
            assert_frame(&frame, &back(family.pod).macs(pod_mac, host_mac).further());
        }
        assert_eq!(world.tracks().len(), 6);
        // A second pod to the same place could not be told from the first.
        let second = if far.is_ipv4() { "10.96.1.3" } else { "fd42::3" };
        let packet = Packet::new(second.parse().unwrap(), far, 47, vec![7; 24]);
        let (action, frame) = world.depart(world.up, &packet);
        assert_eq!(action, DROP);
        assert_frame(&frame, &packet);
        assert_eq!(world.kernel.drops(DropReason::SnatExhausted).unwrap().packets, 1);
        assert_eq!(world.tracks().len(), 6);
    });
}
