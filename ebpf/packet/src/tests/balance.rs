//! Slot choice.

use beeline_abi::{Addr, Be16, Be32, FrontendKey, Proto, ServiceId, Tuple};

use crate::balance::{by_client, by_hash, by_random, by_tuple};

#[test]
fn slots_are_in_range_and_even() {
    assert_eq!(by_random(u32::MAX, 0), 0);
    assert_eq!((by_random(0, 3), by_random(u32::MAX, 3)), (0, 2));
    let key =
        FrontendKey::new(Addr::v4(Be32::from([10, 43, 0, 10])), Be16::from_host(53), Proto::Udp);
    let mut hits = [0u32; 4];
    for cookie in 0..40_000 {
        hits[by_hash(cookie, &key, 4) as usize] += 1;
        assert_eq!(by_hash(cookie, &key, 4), by_hash(cookie, &key, 4));
    }
    for hit in hits {
        assert!((9_500..10_500).contains(&hit), "{hits:?}");
    }
    assert!((0..100).any(|cookie| by_hash(cookie, &key, 4) != by_hash(cookie, &key, 3)));
}

fn even(hits: &[u32]) {
    let mean = hits.iter().sum::<u32>() / u32::try_from(hits.len()).unwrap();
    for hit in hits {
        assert!((mean * 9 / 10..mean * 11 / 10).contains(hit), "{hits:?}");
    }
}

fn address(last: u32) -> [Addr; 2] {
    let v6 = [0x2001_0db8u32.to_be(), 0, 0, last.to_be()];
    [Addr::v4(Be32::from_host(0x0a2a_0000 + last)), Addr::from_words(v6)]
}

#[test]
fn neighbouring_clients_and_ports_spread_evenly() {
    for family in 0..2 {
        let (mut by_port, mut by_address) = ([0u32; 7], [0u32; 7]);
        for number in 0..28_000u16 {
            let mut tuple = Tuple {
                source_addr: address(1)[family],
                dest_addr: address(0xffff)[family],
                source_port: Be16::from_host(number + 1_024),
                dest_port: Be16::from_host(443),
                proto: Proto::Tcp as u8,
                pad: [0; 3],
            };
            by_port[by_tuple(&tuple, 7) as usize] += 1;
            tuple.source_port = Be16::from_host(1_024);
            tuple.source_addr = address(u32::from(number))[family];
            by_address[by_tuple(&tuple, 7) as usize] += 1;
        }
        even(&by_port);
        even(&by_address);
    }
}

#[test]
fn every_field_of_a_tuple_counts_except_padding() {
    let base = Tuple {
        source_addr: address(1)[0],
        dest_addr: address(2)[0],
        source_port: Be16::from_host(1),
        dest_port: Be16::from_host(2),
        proto: 6,
        pad: [0; 3],
    };
    let place = |tuple: &Tuple| by_tuple(tuple, u32::MAX);
    let others = [
        Tuple { source_addr: address(3)[0], ..base },
        Tuple { dest_addr: address(3)[0], ..base },
        Tuple { source_port: Be16::from_host(3), ..base },
        Tuple { dest_port: Be16::from_host(3), ..base },
        Tuple { proto: 17, ..base },
        base.reversed(),
    ];
    for other in others {
        assert_ne!(place(&base), place(&other), "{other:?}");
    }
    assert_eq!(place(&base), place(&Tuple { pad: [1; 3], ..base }));
}

#[test]
fn clients_spread_evenly_and_differently_for_each_service() {
    for family in 0..2 {
        let mut hits = [0u32; 5];
        let mut same = 0;
        for number in 0..20_000 {
            let client = address(number)[family];
            let slot = by_random(by_client(&client, ServiceId(1)), 5);
            hits[slot as usize] += 1;
            same += u32::from(slot == by_random(by_client(&client, ServiceId(2)), 5));
        }
        even(&hits);
        assert!((3_600..4_400).contains(&same), "{same}");
    }
}
