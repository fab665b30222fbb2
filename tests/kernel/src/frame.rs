//! Frames, byte by byte.

use beeline_abi::{Addr, Proto};

/// An Ethernet frame around an IPv4 packet.
pub fn ipv4(source: Addr, dest: Addr, proto: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x08, 0x00, 0x45, 0];
    let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 1]);
    frame.extend(fragment.to_be_bytes());
    frame.extend([64, proto, 0, 0]);
    frame.extend(source.last_word().raw().to_ne_bytes());
    frame.extend(dest.last_word().raw().to_ne_bytes());
    frame.extend(payload);
    frame
}

/// A TCP segment without data.
pub fn tcp(source: (Addr, u16), dest: (Addr, u16), flags: u8) -> Vec<u8> {
    let mut header = ports(source.1, dest.1);
    header.resize(20, 0);
    header[12] = 0x50;
    header[13] = flags;
    ipv4(source.0, dest.0, Proto::Tcp as u8, 0, &header)
}

/// A UDP datagram.
pub fn udp(source: (Addr, u16), dest: (Addr, u16), data: &[u8]) -> Vec<u8> {
    let mut payload = ports(source.1, dest.1);
    payload.extend(u16::try_from(8 + data.len()).unwrap_or(u16::MAX).to_be_bytes());
    payload.extend([0, 0]);
    payload.extend(data);
    ipv4(source.0, dest.0, Proto::Udp as u8, 0, &payload)
}

/// An ARP request, as far as a program looks at it.
pub fn arp() -> Vec<u8> {
    let mut frame = vec![0xff; 6];
    frame.extend([2, 0, 0, 0, 0, 2, 0x08, 0x06]);
    frame.resize(60, 0);
    frame
}

fn ports(source: u16, dest: u16) -> Vec<u8> {
    [source.to_be_bytes(), dest.to_be_bytes()].concat()
}
