//! The way that a connection's entries keep: used while it is young and fits, else the routing table is asked again.

use beeline_abi::{Proto, TCP_SYN, Track, Tuple, limits::TRACK_SEEN_NS, maps};
use beeline_test_kernel::Packet;

use crate::world::{
    DRIVER_REDIRECT, OTHER_MAC, REDIRECT, World, assert_frame, families, tuple, with,
};

/// A next hop that no routing table knows.
const KEPT_MAC: [u8; 6] = [2, 0, 0, 0, 0x77, 0x77];

fn change(world: &mut World, key: Tuple, work: impl Fn(Track) -> Track) {
    let mut table = world.kernel.hash::<Tuple, Track>(maps::CONNTRACK).unwrap();
    let track = table.get(&key, 0).unwrap();
    table.insert(key, work(track), 0).unwrap();
}

#[test]
fn a_way_is_kept_while_it_is_young_and_fits() {
    with(|world| {
        for family in families() {
            for in_driver in [true, false] {
                world.reset();
                let (caller, server) = (family.caller(20_500), family.remote(4));
                world.serve(family.frontend, Proto::Tcp, &[server]);
                let packet = Packet::tcp(caller, family.frontend, TCP_SYN, b"");
                let sent = Packet::tcp(family.node(20_500), server.at, TCP_SYN, b"");
                let (up, back) = (world.up, world.back);
                let send = |world: &mut World, to: [u8; 6]| {
                    let redirected = if in_driver {
                        let (action, frame) = world.drive(up, &packet);
                        (action == DRIVER_REDIRECT, frame)
                    } else {
                        let (action, frame) = world.arrive(up, &packet);
                        (action == REDIRECT, frame)
                    };
                    assert!(redirected.0);
                    assert_frame(&redirected.1, &sent.clone().macs(to, back.mac).further());
                };
                let key = tuple(caller, family.frontend, Proto::Tcp);
                let kept = |track: &Track| {
                    (track.ifindex, track.next_mac, track.mtu_bytes, track.from_ifindex)
                };
                send(world, OTHER_MAC);
                let right = (back.ifindex, OTHER_MAC, 1500, up.ifindex);
                assert_eq!(kept(&world.tracks()[&key]), right);

                let other_hop = |track| Track { next_mac: KEPT_MAC, ..track };
                change(world, key, other_hop);
                send(world, KEPT_MAC);
                send(world, KEPT_MAC);
                change(world, key, |track| Track {
                    seen_ns: track.seen_ns - 2 * TRACK_SEEN_NS,
                    ..track
                });
                send(world, OTHER_MAC);
                assert_eq!(kept(&world.tracks()[&key]), right);

                change(world, key, |track| Track { mtu_bytes: 20, ..other_hop(track) });
                send(world, OTHER_MAC);
                change(world, key, |track| Track {
                    from_ifindex: back.ifindex,
                    ..other_hop(track)
                });
                send(world, OTHER_MAC);
                assert_eq!(kept(&world.tracks()[&key]), right);
            }
        }
    });
}
