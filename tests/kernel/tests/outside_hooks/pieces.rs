//! Datagrams in pieces: all take the way of the first.

use beeline_abi::{Counter, Proto};
use beeline_test_kernel::Packet;

use crate::world::{
    CLIENT_MAC, DRIVER_PASS, OTHER_MAC, PASS, REDIRECT, assert_frame, families, tuple, with,
};

const DATA: [u8; 100] = [0x5a; 100];

#[test]
fn pieces_take_the_way_of_the_first_there_and_back() {
    with(|world| {
        for family in families() {
            world.reset();
            let (caller, node, server) =
                (family.caller(20_500), family.node(20_500), family.remote(4));
            world.serve(family.frontend, Proto::Udp, &[server]);
            let sent = Packet::udp(caller, family.frontend, &DATA).pieces(40);
            let becomes = Packet::udp(node, server.at, &DATA)
                .macs(OTHER_MAC, world.back.mac)
                .further()
                .pieces(40);
            assert_eq!(sent.len(), 3);
            for (sent, becomes) in sent.iter().zip(&becomes) {
                let (action, frame) = world.arrive(world.up, sent);
                assert_eq!(action, REDIRECT);
                assert_frame(&frame, becomes);
            }
            let answer = Packet::udp(server.at, node, &DATA).pieces(48);
            let becomes = Packet::udp(family.frontend, caller, &DATA)
                .macs(CLIENT_MAC, world.up.mac)
                .further()
                .pieces(48);
            for (answer, becomes) in answer.iter().zip(&becomes) {
                let (action, frame) = world.arrive(world.back, answer);
                assert_eq!(action, REDIRECT);
                assert_frame(&frame, becomes);
            }
            let (given, became) =
                (tuple(caller, family.frontend, Proto::Udp), tuple(node, server.at, Proto::Udp));
            let (forward, reverse) = world.pair(given, became);
            assert_eq!((forward.packets, reverse.packets), (3, 3));
            assert_eq!(world.kernel.counter(Counter::FragmentsJoined).unwrap(), 4);
            assert_eq!(world.kernel.counter(Counter::TranslatedOutside).unwrap(), 1);
        }
    });
}

#[test]
fn a_pod_here_receives_and_sends_pieces() {
    with(|world| {
        for family in families() {
            world.reset();
            let (caller, pod) = (family.caller(40_000), family.local(3));
            world.serve(family.frontend, Proto::Udp, &[pod]);
            let sent = Packet::udp(caller, family.frontend, &DATA).pieces(64);
            let becomes = Packet::udp(caller, pod.at, &DATA)
                .macs(world.pod.pod_mac, world.pod.host_mac)
                .further()
                .pieces(64);
            for (sent, becomes) in sent.iter().zip(&becomes) {
                let (action, frame) = world.arrive(world.up, sent);
                assert_eq!(action, REDIRECT);
                assert_frame(&frame, becomes);
            }
            let answer = Packet::udp(pod.at, caller, &DATA).pieces(64);
            let becomes = Packet::udp(family.frontend, caller, &DATA).pieces(64);
            for (answer, becomes) in answer.iter().zip(&becomes) {
                let (action, frame) = world.depart(world.up, answer);
                assert_eq!(action, PASS);
                assert_frame(&frame, becomes);
            }
        }
    });
}

#[test]
fn a_piece_whose_first_was_not_seen_passes_unchanged() {
    with(|world| {
        for family in families() {
            world.reset();
            let caller = family.caller(20_500);
            world.serve(family.frontend, Proto::Udp, &[family.remote(4)]);
            let pieces = Packet::udp(caller, family.frontend, &DATA).pieces(40);
            let (action, frame) = world.arrive(world.up, &pieces[1]);
            assert_eq!(action, PASS);
            assert_frame(&frame, &pieces[1]);
            assert!(world.tracks().is_empty() && world.kernel.events().unwrap().is_empty());
            // Once the first is there, the one that comes again finds its way.
            assert_eq!(world.arrive(world.up, &pieces[0]).0, REDIRECT);
            assert_eq!(world.arrive(world.up, &pieces[1]).0, REDIRECT);
            // The same number from another sender is another datagram.
            let mut other = pieces[2].clone();
            other.source = family.neighbour;
            let (action, frame) = world.arrive(world.up, &other);
            assert_eq!(action, PASS);
            assert_frame(&frame, &other);
        }
    });
}

#[test]
fn the_driver_leaves_pieces_to_tc() {
    with(|world| {
        for family in families() {
            world.reset();
            world.serve(family.frontend, Proto::Udp, &[family.remote(4)]);
            for piece in Packet::udp(family.caller(20_500), family.frontend, &DATA).pieces(40) {
                let (action, frame) = world.drive(world.up, &piece);
                assert_eq!(action, DRIVER_PASS);
                assert_frame(&frame, &piece);
            }
            assert!(world.tracks().is_empty());
        }
    });
}
