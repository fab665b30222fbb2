//! Connections to backends here and elsewhere, and their answers.

use std::net::SocketAddr;

use beeline_abi::{
    BackendId, Counter, DropReason, FLOW_TRANSLATED, FRONTEND_LOCAL_ONLY, FlowEventKind, Frontend,
    Hook, Identity, Proto, RuleId, ServiceId, TCP_ACK, TCP_SYN, TRACK_LOCAL, TRACK_SNAT, Verdict,
};
use beeline_test_kernel::Packet;

use crate::world::{
    CLIENT_MAC, DRIVER_PASS, DRIVER_REDIRECT, DRIVER_SEND_BACK, DROP, Family, OTHER_MAC, PASS,
    REDIRECT, Server, World, assert_frame, families, tuple, with,
};

/// The first packet of each transport, and an answer to it.
fn opening(proto: Proto, from: SocketAddr, to: SocketAddr) -> Packet {
    match proto {
        Proto::Tcp => Packet::tcp(from, to, TCP_SYN, b""),
        _ => Packet::udp(from, to, b"an odd number"),
    }
}

fn answer(proto: Proto, from: SocketAddr, to: SocketAddr) -> Packet {
    match proto {
        Proto::Tcp => Packet::tcp(from, to, TCP_SYN | TCP_ACK, b""),
        _ => Packet::udp(from, to, b"of bytes"),
    }
}

fn each(work: impl Fn(&mut World, &Family, Proto) + Sync) {
    with(|world| {
        for family in families() {
            for proto in [Proto::Tcp, Proto::Udp] {
                world.reset();
                work(world, &family, proto);
            }
        }
    });
}

#[test]
fn a_caller_of_a_pod_here_keeps_its_address() {
    each(|world, family, proto| {
        let (caller, pod) = (family.caller(40_000), family.local(3));
        world.serve(family.frontend, proto, &[pod]);
        let packet = opening(proto, caller, family.frontend);
        let (action, frame) = world.arrive(world.up, &packet);
        let (host_mac, pod_mac) = (world.pod.host_mac, world.pod.pod_mac);
        assert_eq!(action, REDIRECT);
        assert_frame(&frame, &opening(proto, caller, pod.at).macs(pod_mac, host_mac).further());

        let (given, became) = (tuple(caller, family.frontend, proto), tuple(caller, pod.at, proto));
        let (forward, reverse) = world.pair(given, became);
        assert_eq!(forward.flags, TRACK_LOCAL);
        assert_eq!((forward.service_id.0, forward.backend_id), (proto as u32, BackendId(3)));
        let bytes = packet.frame().len() as u64 - 14;
        assert_eq!((forward.packets, forward.bytes), (1, bytes));
        assert_eq!((reverse.packets, reverse.bytes), (0, 0));

        let [event] = world.kernel.events().unwrap().try_into().unwrap();
        assert_eq!(
            (event.kind(), event.hook(), event.verdict()),
            (Some(FlowEventKind::New), Some(Hook::FromOutside), Some(Verdict::Translate))
        );
        assert_eq!((event.tuple, event.flow_id), (became, forward.flow_id));
        assert_eq!(event.frontend_addr, family.frontend.ip().into());
        assert_eq!(event.frontend_port.to_host(), 80);
        assert_eq!((event.rule_id, event.flags), (RuleId::SERVICE, FLOW_TRANSLATED));
        assert_eq!((event.service_id, event.backend_id), (forward.service_id, BackendId(3)));
        assert_eq!((event.source_identity, event.dest_identity), (Identity::WORLD, Identity(403)));
        assert_eq!((event.bytes, event.packets), (bytes, 1));

        // The stack routes the pod's answer; at the link it is made the frontend's.
        let (action, frame) = world.depart(world.up, &answer(proto, pod.at, caller));
        assert_eq!(action, PASS);
        assert_frame(&frame, &answer(proto, family.frontend, caller));
        assert_eq!(world.pair(given, became).1.packets, 1);
        assert_eq!(world.kernel.counter(Counter::TranslatedOutside).unwrap(), 1);
        assert_eq!(world.kernel.counter(Counter::ForwardedDirectly).unwrap(), 1);
        assert!(world.kernel.events().unwrap().is_empty(), "one connection, told once");
    });
}

#[test]
fn a_caller_of_another_node_takes_our_address_and_its_answer_comes_back_by_us() {
    each(|world, family, proto| {
        // A port within the range stays.
        let (caller, server) = (family.caller(20_500), family.remote(4));
        let node = family.node(20_500);
        world.serve(family.frontend, proto, &[server]);
        let (action, frame) = world.arrive(world.up, &opening(proto, caller, family.frontend));
        assert_eq!(action, REDIRECT);
        let sent = opening(proto, node, server.at).macs(OTHER_MAC, world.back.mac).further();
        assert_frame(&frame, &sent);

        let (given, became) =
            (tuple(caller, family.frontend, proto), tuple(node, server.at, proto));
        let (forward, _) = world.pair(given, became);
        assert_eq!((forward.flags, forward.backend_id), (TRACK_SNAT, BackendId(4)));

        let (action, frame) = world.arrive(world.back, &answer(proto, server.at, node));
        assert_eq!(action, REDIRECT);
        let back = answer(proto, family.frontend, caller).macs(CLIENT_MAC, world.up.mac).further();
        assert_frame(&frame, &back);
        let (forward, reverse) = world.pair(given, became);
        assert_eq!((forward.packets, reverse.packets), (1, 1));
        assert_eq!(world.kernel.counter(Counter::ForwardedDirectly).unwrap(), 2);
        assert_eq!(world.kernel.counter(Counter::SnatCollisions).unwrap(), 0);
        assert_eq!(world.kernel.events().unwrap().len(), 1);
    });
}

#[test]
fn a_port_outside_the_range_becomes_one_within() {
    each(|world, family, proto| {
        let (caller, server) = (family.caller(40_000), family.remote(4));
        world.serve(family.frontend, proto, &[server]);
        let (action, frame) = world.arrive(world.up, &opening(proto, caller, family.frontend));
        let given = tuple(caller, family.frontend, proto);
        let port = world.tracks()[&given].source_port.to_host();
        assert!((20_000..=20_999).contains(&port), "{port}");
        assert_eq!(action, REDIRECT);
        let node = family.node(port);
        assert_frame(
            &frame,
            &opening(proto, node, server.at).macs(OTHER_MAC, world.back.mac).further(),
        );
        world.pair(given, tuple(node, server.at, proto));
    });
}

#[test]
fn the_driver_sends_on_what_goes_elsewhere_and_leaves_the_rest_rewritten_to_the_stack() {
    each(|world, family, proto| {
        let caller = family.caller(20_500);
        let (pod, server) = (family.local(3), family.remote(4));
        world.serve(family.frontend, proto, &[server]);
        let packet = opening(proto, caller, family.frontend);
        let (action, frame) = world.drive(world.up, &packet);
        assert_eq!(action, DRIVER_REDIRECT);
        let node = family.node(20_500);
        let sent = opening(proto, node, server.at).macs(OTHER_MAC, world.back.mac).further();
        assert_frame(&frame, &sent);
        world.pair(tuple(caller, family.frontend, proto), tuple(node, server.at, proto));
        let [event] = world.kernel.events().unwrap().try_into().unwrap();
        assert_eq!(
            (event.hook(), event.bytes),
            (Some(Hook::Edge), packet.frame().len() as u64 - 14)
        );

        let (action, frame) = world.drive(world.back, &answer(proto, server.at, node));
        assert_eq!(action, DRIVER_REDIRECT);
        let back = answer(proto, family.frontend, caller).macs(CLIENT_MAC, world.up.mac).further();
        assert_frame(&frame, &back);

        // To somebody on the link by which it came.
        world.reset();
        let beside = Server { at: SocketAddr::new(family.neighbour, 8_080), ..server };
        world.serve(family.frontend, proto, &[beside]);
        let (action, frame) = world.drive(world.up, &packet);
        assert_eq!(action, DRIVER_SEND_BACK);
        let sent = opening(proto, node, beside.at).macs(CLIENT_MAC, world.up.mac).further();
        assert_frame(&frame, &sent);

        // To a pod here: tc finds it done.
        world.reset();
        world.serve(family.frontend, proto, &[pod]);
        let (action, frame) = world.drive(world.up, &packet);
        assert_eq!(action, DRIVER_PASS);
        let rewritten = opening(proto, caller, pod.at);
        assert_frame(&frame, &rewritten);
        assert_eq!(world.kernel.counter(Counter::ForwardedDirectly).unwrap(), 0);
        let (action, frame) = world.arrive(world.up, &rewritten);
        assert_eq!(action, PASS);
        assert_frame(&frame, &rewritten);
        assert_eq!(world.tracks().len(), 2);
    });
}

#[test]
fn a_next_hop_that_is_not_known_yet_is_asked_for_by_the_stack() {
    each(|world, family, proto| {
        let (caller, node) = (family.caller(20_500), family.node(20_500));
        let server = Server { at: SocketAddr::new(family.router, 8_080), ..family.remote(4) };
        world.serve(family.frontend, proto, &[server]);
        let packet = opening(proto, caller, family.frontend);
        // The driver cannot ask: it gives the packet back as it came, and tc finds the connection begun.
        let (action, frame) = world.drive(world.up, &packet);
        assert_eq!(action, DRIVER_PASS);
        assert_frame(&frame, &packet);
        let (action, frame) = world.arrive(world.up, &packet);
        assert_eq!(action, REDIRECT);
        assert_frame(&frame, &opening(proto, node, server.at).further());
        world.pair(tuple(caller, family.frontend, proto), tuple(node, server.at, proto));
        assert_eq!(world.kernel.counter(Counter::NextHopUnknown).unwrap(), 2);
        assert_eq!(world.kernel.events().unwrap().len(), 1);
    });
}

#[test]
fn external_policy_local_keeps_the_caller_and_drops_where_nobody_serves() {
    each(|world, family, proto| {
        let (caller, pod) = (family.caller(20_500), family.local(3));
        let local = Frontend { flags: FRONTEND_LOCAL_ONLY, ..Frontend::default() };
        world.serve_with(family.frontend, proto, local, &[pod]);
        let packet = opening(proto, caller, family.frontend);
        assert_eq!(world.arrive(world.up, &packet).0, REDIRECT);
        let track = world.tracks()[&tuple(caller, family.frontend, proto)];
        assert_eq!((track.flags, track.source_addr), (TRACK_LOCAL, caller.ip().into()));
        assert_eq!(world.kernel.events().unwrap().len(), 1);

        let flags = FRONTEND_LOCAL_ONLY | beeline_abi::FRONTEND_HAS_REMOTE;
        world.serve_with(family.frontend, proto, Frontend { flags, ..local }, &[]);
        let other = opening(proto, family.caller(20_501), family.frontend);
        let (action, frame) = world.arrive(world.up, &other);
        assert_eq!(action, DROP);
        assert_frame(&frame, &other);
        let bytes = other.frame().len() as u64;
        let drops = world.kernel.drops(DropReason::NoLocalBackend).unwrap();
        assert_eq!(drops.packets, 1);
        assert!((bytes - 14..=bytes).contains(&drops.bytes), "{drops:?}");
        let [event] = world.kernel.events().unwrap().try_into().unwrap();
        assert_eq!(
            (event.kind(), event.hook()),
            (Some(FlowEventKind::Drop), Some(Hook::FromOutside))
        );
        assert_eq!(event.drop_reason(), Some(DropReason::NoLocalBackend));
        assert_eq!(event.verdict(), Some(Verdict::Drop));
        assert_eq!(world.tracks().len(), 2, "only the first");
        let (action, frame) = world.drive(world.up, &other);
        assert_eq!(action, 1, "dropped in the driver");
        assert_frame(&frame, &other);
    });
}

#[test]
fn the_last_router_is_not_us() {
    each(|world, family, proto| {
        for (server, link) in [(family.local(3), "pod"), (family.remote(4), "back")] {
            world.serve(family.frontend, proto, &[server]);
            let mut packet = opening(proto, family.caller(20_500), family.frontend);
            packet.hop_limit = 1;
            assert_eq!(world.arrive(world.up, &packet).0, DROP, "{link}");
            world.kernel.clear::<beeline_abi::Tuple, beeline_abi::Track>("CONNTRACK").unwrap();
        }
        assert_eq!(world.kernel.drops(DropReason::HopLimit).unwrap().packets, 2);
    });
}

#[test]
fn every_backend_has_its_turn_and_one_connection_stays() {
    each(|world, family, proto| {
        world.serve(family.frontend, proto, &[family.local(3), family.remote(4)]);
        for port in 0..64 {
            let packet = opening(proto, family.caller(20_000 + port), family.frontend);
            world.arrive(world.up, &packet);
            world.arrive(world.up, &packet);
        }
        let tracks = world.tracks();
        assert_eq!(tracks.len(), 128);
        for id in [3, 4] {
            let taken = tracks.values().filter(|track| track.backend_id == BackendId(id)).count();
            assert!((32..=96).contains(&taken), "{taken} of 128 entries");
        }
        assert!(tracks.values().all(|track| matches!(track.packets, 0 | 2)));
        assert!(tracks.values().all(|track| track.service_id == ServiceId(proto as u32)));
    });
}
