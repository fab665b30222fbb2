//! What is dialled: node ports, who may call, who stays with whom, and the answer where nobody serves.

use std::net::{IpAddr, SocketAddr};

use beeline_abi::{
    Addr, Affinity, AffinityKey, AffinityOkKey, BackendId, CONFIG_HOST_PORTS, Counter, DropReason,
    FRONTEND_NODE_ONLY, FRONTEND_SOURCE_RANGES, FlowEventKind, Frontend, NODE_ADDRESS_LOOPBACK,
    NODE_ADDRESS_PORTS, Proto, Scope, ServiceId, TCP_ACK, TCP_FIN, TCP_RST, TCP_SYN, Verdict, maps,
};
use beeline_test_kernel::Packet;

use crate::world::{
    DRIVER_PASS, DROP, NODE_PORT, PASS, REDIRECT, SNAT_PORTS, World, assert_frame, families, tuple,
    with,
};

/// The node port's frontend: the wildcard of the family of an address.
fn wildcard(like: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(if like.is_ipv4() { [0; 4].into() } else { [0; 16].into() }, port)
}

#[test]
fn a_node_port_answers_at_the_addresses_chosen_for_it_and_at_no_other() {
    with(|world| {
        for family in families() {
            let pod = family.local(3);
            let chosen = SocketAddr::new(family.node, NODE_PORT);
            let unchosen = SocketAddr::new(family.neighbour, NODE_PORT);
            let loopback = SocketAddr::new(family.router, NODE_PORT);
            world.node_address(loopback.ip(), NODE_ADDRESS_PORTS | NODE_ADDRESS_LOOPBACK);
            world.node_address(unchosen.ip(), 0);
            world.serve(wildcard(family.node, NODE_PORT), Proto::Tcp, &[pod]);
            for (number, (dialled, verdict)) in
                [(chosen, REDIRECT), (unchosen, PASS), (loopback, PASS)].into_iter().enumerate()
            {
                let caller = family.caller(40_000 + u16::try_from(number).unwrap());
                let packet = Packet::tcp(caller, dialled, TCP_SYN, b"");
                let (action, frame) = world.arrive(world.up, &packet);
                assert_eq!(action, verdict, "{dialled}");
                if verdict == PASS {
                    assert_frame(&frame, &packet);
                }
            }
            // The answer comes from the address that was dialled.
            let caller = family.caller(40_000);
            world.pair_of(tuple(caller, chosen, Proto::Tcp), tuple(caller, pod.at, Proto::Tcp));
            let answer = |from| Packet::tcp(from, caller, TCP_SYN | TCP_ACK, b"");
            assert_frame(&world.depart(world.up, &answer(pod.at)).1, &answer(chosen));
        }
        assert_eq!(world.tracks().len(), 4);
    });
}

#[test]
fn a_frontend_at_the_loopback_does_not_answer_the_world() {
    with(|world| {
        for family in families() {
            let is_v4 = family.node.is_ipv4();
            let loopback = if is_v4 { "127.0.0.1:8443" } else { "[::1]:8443" };
            let loopback: SocketAddr = loopback.parse().unwrap();
            let shape = Frontend { flags: FRONTEND_NODE_ONLY, ..Frontend::default() };
            world.serve_with(loopback, Proto::Tcp, shape, &[family.local(3)]);
            let packet = Packet::tcp(family.caller(40_000), loopback, TCP_SYN, b"");
            let (action, frame) = world.arrive(world.up, &packet);
            assert_eq!(action, PASS, "the stack knows such packets for martians");
            assert_frame(&frame, &packet);
        }
        assert!(world.tracks().is_empty());
    });
}

#[test]
fn ports_outside_the_range_are_looked_for_only_where_pods_took_some() {
    with(|world| {
        for family in families() {
            world.config(0, SNAT_PORTS);
            world.serve(wildcard(family.node, 8_443), Proto::Tcp, &[family.local(3)]);
            let packet = Packet::tcp(family.caller(40_000), family.node(8_443), TCP_SYN, b"");
            assert_eq!(world.arrive(world.up, &packet).0, PASS);
            world.config(CONFIG_HOST_PORTS, SNAT_PORTS);
            assert_eq!(world.arrive(world.up, &packet).0, REDIRECT);
        }
    });
}

/// Admits callers of Service 6 from a range, as long as it has `bits` bits of the family.
fn admit(world: &mut World, address: IpAddr, bits: u32) {
    let mut key = [0u8; 20];
    key[..4].copy_from_slice(&(Proto::Tcp as u32).to_ne_bytes());
    let octets = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    };
    key[4..].copy_from_slice(&octets);
    let bits = if address.is_ipv4() { 96 + bits } else { bits };
    world.kernel.prefix(maps::SOURCE_RANGES, 32 + bits, key, 1).unwrap();
}

#[test]
fn source_ranges_admit_some_and_drop_others() {
    with(|world| {
        for family in families() {
            let ranged = Frontend { flags: FRONTEND_SOURCE_RANGES, ..Frontend::default() };
            world.serve_with(family.frontend, Proto::Tcp, ranged, &[family.local(3)]);
            let bits = if family.client.is_ipv4() { 32 } else { 128 };
            admit(world, family.client, bits);
            let call =
                |from| Packet::tcp(SocketAddr::new(from, 40_000), family.frontend, TCP_SYN, b"");
            assert_eq!(world.arrive(world.up, &call(family.client)).0, REDIRECT);
            world.kernel.events().unwrap();
            let packet = call(family.neighbour);
            let (action, frame) = world.arrive(world.up, &packet);
            assert_eq!(action, DROP);
            assert_frame(&frame, &packet);
            let [event] = world.kernel.events().unwrap().try_into().unwrap();
            assert_eq!(event.kind(), Some(FlowEventKind::Drop));
            assert_eq!(event.drop_reason(), Some(DropReason::SourceRange));
            // Another range beside, which holds both.
            admit(world, family.client, bits - 8);
            assert_eq!(world.arrive(world.up, &packet).0, REDIRECT);
            world.kernel.zero::<beeline_abi::DropCount>(maps::DROPS).unwrap();
        }
    });
}

fn calls(world: &mut World, frontend: SocketAddr, from: SocketAddr) -> BackendId {
    world.arrive(world.up, &Packet::tcp(from, frontend, TCP_SYN, b""));
    world.tracks()[&tuple(from, frontend, Proto::Tcp)].backend_id
}

fn stands(world: &mut World, backend: u32, stands: bool) {
    let key = AffinityOkKey {
        service_id: ServiceId(Proto::Tcp as u32),
        backend_id: BackendId(backend),
        scope: Scope::Outside as u32,
    };
    let mut map = world.kernel.hash::<AffinityOkKey, u32>(maps::AFFINITY_OK).unwrap();
    if stands { map.insert(key, 1, 0).unwrap() } else { map.remove(&key).unwrap() }
}

#[test]
fn a_client_stays_with_its_backend_until_that_leaves_or_the_time_is_over() {
    with(|world| {
        for family in families() {
            world.reset();
            let affine = Frontend { affinity_s: 8, ..Frontend::default() };
            let both = [family.local(3), family.remote(4)];
            world.serve_with(family.frontend, Proto::Tcp, affine, &both);
            stands(world, 3, true);
            stands(world, 4, true);
            let port = |number: u16| family.caller(20_000 + number);
            let first = calls(world, family.frontend, port(0));
            for number in 1..16 {
                assert_eq!(calls(world, family.frontend, port(number)), first);
            }
            assert_eq!(world.kernel.counter(Counter::AffinityHits).unwrap(), 15);

            // It is in no list any more, though its entry is there still.
            let left = if first == BackendId(3) { both[0] } else { both[1] };
            let stays = if first == BackendId(3) { both[1] } else { both[0] };
            stands(world, left.id, false);
            world.serve_with(family.frontend, Proto::Tcp, affine, &[stays]);
            assert_eq!(calls(world, family.frontend, port(16)), BackendId(stays.id));
            assert_eq!(world.kernel.counter(Counter::AffinityHits).unwrap(), 15);
            assert_eq!(calls(world, family.frontend, port(17)), BackendId(stays.id));
            assert_eq!(world.kernel.counter(Counter::AffinityHits).unwrap(), 16);

            let key = AffinityKey {
                client: Addr::from(family.client),
                service_id: ServiceId(Proto::Tcp as u32),
                scope: Scope::Outside as u32,
            };
            let mut map = world.kernel.hash::<AffinityKey, Affinity>(maps::AFFINITY).unwrap();
            let known = map.get(&key, 0).unwrap();
            let aged = |seconds: u64| Affinity {
                used_ns: known.used_ns.wrapping_sub(seconds * 1_000_000_000),
                ..known
            };
            // The clock may have begun with the test: so the times are short.
            map.insert(key, aged(1), 0).unwrap();
            calls(world, family.frontend, port(18));
            assert_eq!(world.kernel.counter(Counter::AffinityHits).unwrap(), 17);
            let mut map = world.kernel.hash::<AffinityKey, Affinity>(maps::AFFINITY).unwrap();
            assert!(map.get(&key, 0).unwrap().used_ns >= known.used_ns, "each call begins it anew");
            map.insert(key, aged(8), 0).unwrap();
            calls(world, family.frontend, port(19));
            assert_eq!(world.kernel.counter(Counter::AffinityHits).unwrap(), 17);
        }
    });
}

#[test]
fn without_a_backend_tcp_is_reset() {
    with(|world| {
        for family in families() {
            world.reset();
            world.serve(family.frontend, Proto::Tcp, &[]);
            let caller = family.caller(40_000);
            let packet = Packet::tcp(caller, family.frontend, TCP_SYN, b"");
            let (action, frame) = world.arrive(world.up, &packet);
            assert_eq!(action, REDIRECT);
            // It acknowledges the SYN, which takes one number.
            let numbers = (0, 0x0102_0305, 0);
            let (dest, source) = (packet.macs.1, packet.macs.0);
            let reset = Packet::segment(family.frontend, caller, TCP_RST | TCP_ACK, numbers, b"");
            assert_frame(&frame, &reset.own(0).macs(dest, source));
            let [event] = world.kernel.events().unwrap().try_into().unwrap();
            assert_eq!(event.kind(), Some(FlowEventKind::Drop));
            assert_eq!(event.drop_reason(), Some(DropReason::NoBackend));
            assert!(matches!(event.verdict(), Some(Verdict::Drop | Verdict::Refuse)));

            // What acknowledges is answered with the number that it expects; data and FIN are counted.
            let packet = Packet::tcp(caller, family.frontend, TCP_ACK, b"data");
            let (_, frame) = world.arrive(world.up, &packet);
            let numbers = (0x5162_7384, 0, 0);
            let reset = Packet::segment(family.frontend, caller, TCP_RST, numbers, b"");
            assert_frame(&frame, &reset.own(0).macs(dest, source));
            let packet = Packet::tcp(caller, family.frontend, TCP_FIN, b"data");
            let (_, frame) = world.arrive(world.up, &packet);
            let numbers = (0, 0x0102_0309, 0);
            let reset = Packet::segment(family.frontend, caller, TCP_RST | TCP_ACK, numbers, b"");
            assert_frame(&frame, &reset.own(0).macs(dest, source));

            // A reset is not answered, and the driver answers nothing.
            let packet = Packet::tcp(caller, family.frontend, TCP_RST, b"");
            let (action, frame) = world.arrive(world.up, &packet);
            assert_eq!(action, PASS);
            assert_frame(&frame, &packet);
            assert_eq!(world.kernel.counter(Counter::RefusedOutside).unwrap(), 3);
            assert_eq!(world.kernel.drops(DropReason::NoBackend).unwrap().packets, 3);
            let packet = Packet::tcp(caller, family.frontend, TCP_SYN, b"");
            let (action, frame) = world.drive(world.up, &packet);
            assert_eq!(action, DRIVER_PASS);
            assert_frame(&frame, &packet);
            assert!(world.tracks().is_empty());
        }
    });
}

#[test]
fn without_a_backend_datagrams_are_answered_with_port_unreachable() {
    with(|world| {
        for family in families() {
            world.reset();
            world.serve(family.frontend, Proto::Udp, &[]);
            let packet =
                Packet::udp(family.caller(40_000), family.frontend, b"longer than eight bytes");
            let (action, frame) = world.arrive(world.up, &packet);
            assert_eq!(action, REDIRECT);
            // The IP header and eight bytes of what follows are quoted.
            let header = if family.client.is_ipv4() { 20 } else { 40 };
            let quote = &packet.frame()[14..14 + header + 8];
            let (kind, service) =
                if family.client.is_ipv4() { ((3, 3), 0xc0) } else { ((1, 4), 0) };
            let (from, to) = (family.frontend.ip(), family.client);
            let answer = Packet::icmp(from, to, kind, [0; 4], quote).own(service);
            assert_frame(&frame, &answer.macs(packet.macs.1, packet.macs.0));
            assert_eq!(world.kernel.counter(Counter::RefusedOutside).unwrap(), 1);
            assert_eq!(world.kernel.drops(DropReason::NoBackend).unwrap().packets, 1);
            assert!(world.tracks().is_empty());
        }
    });
}

#[test]
fn a_frontend_that_names_places_of_another_list_refuses() {
    with(|world| {
        let [family, _] = families();
        let gone = beeline_abi::List { first: 16, count: 1, id: beeline_abi::ListId(9_999) };
        world.serve_with(family.frontend, Proto::Tcp, Frontend::default(), &[family.local(3)]);
        let key = beeline_abi::FrontendKey::new(
            family.frontend.ip().into(),
            beeline_abi::Be16::from_host(80),
            Proto::Tcp,
        );
        let stale = Frontend { outside: gone, ..Frontend::default() };
        world.kernel.frontend(key, stale).unwrap();
        let packet = Packet::tcp(family.caller(40_000), family.frontend, TCP_SYN, b"");
        assert_eq!(world.arrive(world.up, &packet).0, REDIRECT);
        assert_eq!(world.kernel.counter(Counter::SlotRetries).unwrap(), 1);
        assert_eq!(world.kernel.counter(Counter::RefusedOutside).unwrap(), 1);
        assert!(world.tracks().is_empty());
    });
}
