//! The frontend inside the packet.

use beeline_abi::{Addr, Be16, Be32, Proto};

use super::frames::{Build, addr, everything, packet, syn};
use super::nat::wish;
use crate::dsr::{
    Dialled, decode_v4, decode_v6, encode_v4, encode_v6, insert_v4, insert_v6, read, remove_v4,
    remove_v6,
};
use crate::fuzz;

#[test]
fn the_ipv4_option_is_laid_out_as_documented() {
    let addr = Be32::from([192, 0, 2, 10]);
    let option = encode_v4(addr, Be16::from_host(443));
    assert_eq!(option, [0x9a, 8, 1, 187, 192, 0, 2, 10]);
    let dialled = Dialled { addr: Addr::v4(addr), port: Be16::from_host(443) };
    assert_eq!(decode_v4(&option), Some(dialled));
    for at in [0, 1] {
        let mut other = option;
        other[at] ^= 1;
        assert_eq!(decode_v4(&other), None);
    }
}

#[test]
fn the_ipv6_header_is_laid_out_as_documented() {
    let dialled = Dialled { addr: addr("2001:db8::a"), port: Be16::from_host(443) };
    let header = encode_v6(6, &dialled.addr, dialled.port);
    let mut wanted = [0; 24];
    wanted[..8].copy_from_slice(&[6, 2, 0x1b, 20, 0x20, 1, 0xd, 0xb8]);
    wanted[19..22].copy_from_slice(&[0xa, 1, 187]);
    assert_eq!(header, wanted);
    assert_eq!(decode_v6(&header), Some((dialled, 6)));
    for at in [1, 2, 3] {
        let mut other = header;
        other[at] ^= 1;
        assert_eq!(decode_v6(&other), None);
    }
    assert_eq!(decode_v6(&encode_v6(6, &addr("10.0.0.1"), dialled.port)), None);
}

#[test]
fn it_goes_in_is_read_and_comes_out_of_any_packet() {
    for frame in everything() {
        assert_eq!(read(&frame[..], &packet(&frame)), None);
        fuzz::dsr(&[wish(0).to_bytes(), frame].concat());
    }
}

#[test]
fn a_header_or_packet_that_would_grow_too_long_is_refused() {
    let option = encode_v4(Be32::from([192, 0, 2, 10]), Be16::from_host(443));
    let header = |options: usize| -> [u8; 20] {
        let frame = Build::v4(Proto::Tcp, syn()).between(6, &vec![1; options]).frame();
        frame[14..34].try_into().unwrap()
    };
    assert!(insert_v4(&header(32), &option).is_some());
    assert_eq!(insert_v4(&header(36), &option), None);
    let mut long = header(0);
    long[2..4].copy_from_slice(&65_528u16.to_be_bytes());
    assert_eq!(insert_v4(&long, &option), None);
    let frame = Build::v6(Proto::Tcp, syn()).frame();
    let mut long: [u8; 40] = frame[14..54].try_into().unwrap();
    assert!(insert_v6(&long).is_some());
    long[4..6].copy_from_slice(&65_512u16.to_be_bytes());
    assert_eq!(insert_v6(&long), None);
}

#[test]
fn what_is_not_there_is_not_taken_out() {
    let option = encode_v4(Be32::from([192, 0, 2, 10]), Be16::from_host(443));
    let v4 = Build::v4(Proto::Tcp, syn()).frame();
    let header: [u8; 20] = v4[14..34].try_into().unwrap();
    assert_eq!(remove_v4(&header, &option), None);
    let longer = insert_v4(&header, &option).unwrap();
    assert_eq!(remove_v4(&longer, &[1; 8]), None);
    assert_eq!(remove_v4(&longer, &option), Some(header));
    let v6 = Build::v6(Proto::Tcp, syn()).frame();
    let header: [u8; 40] = v6[14..54].try_into().unwrap();
    let option = encode_v6(6, &addr("2001:db8::a"), Be16::from_host(443));
    assert_eq!(remove_v6(&header, &option), None);
    let longer = insert_v6(&header).unwrap();
    assert_eq!(remove_v6(&longer, &[0; 24]), None);
    assert_eq!(remove_v6(&longer, &option), Some(header));
}
