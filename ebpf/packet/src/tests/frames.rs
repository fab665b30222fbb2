//! Frames for the tests, with every checksum as a sender would write it.

use std::net::IpAddr;

use beeline_abi::{Proto, TCP_SYN};

use crate::fuzz::reference;
use crate::parse::{Packet, Parsed, parse};

/// An address of either family, from text.
pub fn addr(text: &str) -> beeline_abi::Addr {
    text.parse::<IpAddr>().unwrap().into()
}

/// A frame in the making.
#[derive(Clone, Debug)]
pub struct Build {
    pub source: IpAddr,
    pub dest: IpAddr,
    pub proto: u8,
    /// IPv4 options, or IPv6 extension headers of which the first is `extension`.
    pub between: Vec<u8>,
    pub extension: u8,
    /// The fragment field of IPv4.
    pub fragment: u16,
    pub transport: Vec<u8>,
    pub hop_limit: u8,
}

impl Build {
    pub fn new(source: &str, dest: &str, proto: Proto, transport: Vec<u8>) -> Self {
        Build {
            source: source.parse().unwrap(),
            dest: dest.parse().unwrap(),
            proto: proto as u8,
            between: Vec::new(),
            extension: proto as u8,
            fragment: 0,
            transport,
            hop_limit: 64,
        }
    }

    pub fn v4(proto: Proto, transport: Vec<u8>) -> Self {
        Self::new("10.42.0.2", "192.0.2.7", proto, transport)
    }

    pub fn v6(proto: Proto, transport: Vec<u8>) -> Self {
        Self::new("fd42::2", "2001:db8::7", proto, transport)
    }

    /// Both families, with the same transport.
    pub fn both(proto: Proto, transport: &[u8]) -> [Self; 2] {
        [Self::v4(proto, transport.to_vec()), Self::v6(proto, transport.to_vec())]
    }

    pub fn between(mut self, first: u8, bytes: &[u8]) -> Self {
        (self.extension, self.between) = (first, bytes.to_vec());
        self
    }

    /// The frame, its checksums as yet zero.
    pub fn raw(&self) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        let payload = self.between.len() + self.transport.len();
        match (self.source, self.dest) {
            (IpAddr::V4(source), IpAddr::V4(dest)) => {
                let words = u8::try_from(5 + self.between.len() / 4).unwrap();
                frame.extend([8, 0, 0x40 | words, 0]);
                frame.extend(u16::try_from(20 + payload).unwrap().to_be_bytes());
                frame.extend([0x12, 0x34]);
                frame.extend(self.fragment.to_be_bytes());
                frame.extend([self.hop_limit, self.proto, 0, 0]);
                frame.extend(source.octets());
                frame.extend(dest.octets());
            }
            (IpAddr::V6(source), IpAddr::V6(dest)) => {
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
                frame.extend([self.extension, self.hop_limit]);
                frame.extend(source.octets());
                frame.extend(dest.octets());
            }
            mixed => panic!("{mixed:?}"),
        }
        frame.extend(&self.between);
        frame.extend(&self.transport);
        frame
    }

    /// The frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = self.raw();
        if let Ok(Parsed::Ip(packet)) = parse(&frame[..]) {
            reference::fix(&mut frame, &packet);
        }
        frame
    }
}

pub fn tcp(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut header =
        vec![0x9c, 0x40, 0, 80, 1, 2, 3, 4, 0x51, 0x62, 0x73, 0x84, 0x50, flags, 1, 0, 0, 0, 0, 0];
    header.extend(payload);
    header
}

pub fn syn() -> Vec<u8> {
    tcp(TCP_SYN, &[])
}

pub fn udp(payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x9c, 0x40, 0, 53];
    header.extend(u16::try_from(8 + payload.len()).unwrap().to_be_bytes());
    header.extend([0, 0]);
    header.extend(payload);
    header
}

/// An echo of a family: request or reply, with identifier `0x5678`.
pub fn ping(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x56, 0x78, 0, 1];
    message.extend(payload);
    message
}

/// An ICMP error about a frame.
pub fn complaint(kind: u8, about: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 1, 0, 0, 0, 0, 0, 0];
    message.extend(&about[14..]);
    message
}

/// The packet in a frame that has one.
pub fn packet(frame: &[u8]) -> Packet {
    match parse(frame) {
        Ok(Parsed::Ip(packet)) => packet,
        other => panic!("{other:?}"),
    }
}

/// One of everything that can be rewritten: frames of both families.
pub fn everything() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for payload in [&b""[..], b"x", b"an even number!!", b"an odd number of bytes."] {
        for (proto, transport) in [
            (Proto::Tcp, tcp(0x18, payload)),
            (Proto::Udp, udp(payload)),
            (Proto::Sctp, [&[0x9c, 0x40, 0, 80, 0, 0, 0, 9, 1, 2, 3, 4][..], payload].concat()),
        ] {
            frames.extend(Build::both(proto, &transport).map(|build| build.frame()));
        }
        for kind in [0, 8, 13] {
            frames.push(Build::v4(Proto::Icmp, ping(kind, payload)).frame());
        }
        for kind in [128, 129, 135] {
            frames.push(Build::v6(Proto::Icmp6, ping(kind, payload)).frame());
        }
    }
    frames.push(Build::v4(Proto::Tcp, syn()).between(6, &[1, 1, 1, 0, 7, 3, 4, 0]).frame());
    let options = [6, 0, 1, 4, 0, 0, 0, 0];
    frames.push(Build::v6(Proto::Tcp, syn()).between(60, &options).frame());
    frames
}
