//! What is none of ours, or broken: it goes on as it came, each byte of it.

use std::net::{IpAddr, SocketAddr};

use beeline_abi::{Proto, TCP_ACK, TCP_SYN};
use beeline_test_kernel::{Packet, frame};

use crate::world::{DRIVER_PASS, PASS, World, families, with};

/// Through every hook, unchanged.
fn passes(world: &mut World, bytes: &[u8]) {
    let up = world.up.ifindex;
    for program in ["from_outside", "to_outside"] {
        let (action, after) = world.kernel.send(program, up, bytes).unwrap();
        assert_eq!((action, &after[..]), (PASS, bytes), "{program}");
    }
    let (action, after) = world.kernel.receive("edge", up, bytes).unwrap();
    assert_eq!((action, &after[..]), (DRIVER_PASS, bytes));
}

#[test]
fn packets_of_nobody_we_know_pass_unchanged() {
    with(|world| {
        for family in families() {
            world.serve(family.frontend, Proto::Tcp, &[family.remote(4)]);
            let (client, node) = (family.caller(20_500), family.node(22));
            let beside = SocketAddr::new(family.frontend.ip(), 81);
            let datagram = Packet::udp(client, family.frontend, b"another protocol");
            let packets = [
                Packet::tcp(client, node, TCP_SYN, b""),
                Packet::tcp(client, beside, TCP_SYN, b""),
                Packet::tcp(client, family.node(30_080), TCP_ACK, b"a node port that is none"),
                datagram.clone(),
                Packet::ping(family.client, family.node, 7),
                Packet::pong(family.client, family.node, 7),
                Packet::port_unreachable(family.client, family.node, &datagram),
                Packet::new(family.client, family.node, 47, vec![7; 24]),
                Packet::new(family.client, family.frontend.ip(), 132, vec![7; 24]),
            ];
            for packet in &packets {
                passes(world, &packet.frame());
            }
            // A checksum that is wrong already, padding behind the end, options between.
            let mut wrong = packets[0].frame();
            *wrong.last_mut().unwrap() ^= 0xff;
            passes(world, &wrong);
            passes(world, &[packets[0].frame(), vec![0xee; 9]].concat());
        }
        passes(world, &frame::arp());
        let link_local: [IpAddr; 2] = ["fe80::1", "ff02::1"].map(|text| text.parse().unwrap());
        let [from, to] = link_local;
        passes(world, &Packet::icmp(from, to, (135, 0), [0; 4], &[0xfe; 24]).frame());
        passes(world, &Packet::icmp(from, to, (134, 0), [0; 4], &[0; 8]).frame());
        assert!(world.tracks().is_empty());
        assert!(world.kernel.events().unwrap().is_empty());
    });
}

#[test]
fn frames_that_end_too_early_never_change() {
    with(|world| {
        for family in families() {
            world.reset();
            world.serve(family.frontend, Proto::Tcp, &[family.remote(4)]);
            world.serve(family.frontend, Proto::Udp, &[family.remote(5)]);
            let caller = family.caller(20_500);
            let failed = Packet::udp(family.node(20_500), family.remote(5).at, b"x");
            world.arrive(world.up, &Packet::udp(caller, family.frontend, b"x"));
            let error = Packet::too_big(family.router, family.node, &failed).frame();
            let count = world.tracks().len();
            for whole in [
                Packet::tcp(caller, family.frontend, TCP_SYN, b"").frame(),
                Packet::udp(caller, family.frontend, b"data").frame(),
                error,
            ] {
                // The kernel itself refuses to run a test with less than an IP header.
                let shortest = if family.client.is_ipv4() { 34 } else { 54 };
                for length in shortest..whole.len() {
                    passes(world, &whole[..length]);
                }
            }
            assert_eq!(world.tracks().len(), count);
        }
    });
}

#[test]
fn headers_that_contradict_themselves_pass_unchanged() {
    with(|world| {
        for family in families() {
            world.serve(family.frontend, Proto::Tcp, &[family.remote(4)]);
            let good = Packet::tcp(family.caller(20_500), family.frontend, TCP_SYN, b"").frame();
            // Version, and lengths that are too small and too large.
            let places: &[(usize, u8)] = if family.client.is_ipv4() {
                &[(14, 0x65), (14, 0x44), (16, 0xff), (17, 10)]
            } else {
                &[(14, 0x40), (18, 0xff), (19, 3)]
            };
            for (at, byte) in places {
                let mut bad = good.clone();
                bad[*at] = *byte;
                passes(world, &bad);
            }
        }
        assert!(world.tracks().is_empty());
    });
}

#[test]
fn a_packet_to_our_backend_that_nobody_translated_is_the_stacks() {
    with(|world| {
        for family in families() {
            world.serve(family.frontend, Proto::Tcp, &[family.local(3)]);
            let direct = Packet::tcp(family.caller(1), family.local(3).at, TCP_SYN, b"");
            passes(world, &direct.frame());
        }
        assert!(world.tracks().is_empty());
    });
}
