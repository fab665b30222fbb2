//! Packets as a sender would write them, every checksum computed over the whole packet.
//!
//! In: addresses, ports, payload. Out: frames. Nothing here is shared with the code under test: a frame that a program changed
//! is right when it equals the frame written anew with what it should say.

use std::net::{IpAddr, SocketAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
/// "Do not fragment", and "more pieces follow".
const DF: u16 = 0x4000;
const MF: u16 = 0x2000;

/// An IP packet in an Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Hardware addresses: destination, source.
    pub macs: ([u8; 6], [u8; 6]),
    /// Who sends.
    pub source: IpAddr,
    /// Who receives.
    pub dest: IpAddr,
    /// How many routers it may still pass.
    pub hop_limit: u8,
    /// IPv4's type of service.
    pub service: u8,
    /// IPv4's identification, and that of pieces.
    pub id: u16,
    /// IPv4's flags and offset.
    pub fragment: u16,
    /// Protocol number of what follows.
    pub proto: u8,
    /// Transport header and payload; their checksum is written with the frame.
    pub transport: Vec<u8>,
    /// A piece keeps the checksum that it has, since it covers more than the piece.
    piece: Option<u16>,
}

impl Packet {
    /// Of any protocol.
    pub fn new(source: IpAddr, dest: IpAddr, proto: u8, transport: Vec<u8>) -> Self {
        let macs = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let (hop_limit, service, id, fragment, piece) = (64, 0, 0x1234, 0, None);
        Packet { macs, source, dest, hop_limit, service, id, fragment, proto, transport, piece }
    }

    /// A TCP segment.
    pub fn tcp(source: SocketAddr, dest: SocketAddr, flags: u8, data: &[u8]) -> Self {
        Self::segment(source, dest, flags, (0x0102_0304, 0x5162_7384, 0xfaf0), data)
    }

    /// A TCP segment with its sequence number, acknowledgement and window.
    pub fn segment(
        source: SocketAddr,
        dest: SocketAddr,
        flags: u8,
        (seq, ack, window): (u32, u32, u16),
        data: &[u8],
    ) -> Self {
        let mut header = ports(source, dest);
        header.extend(seq.to_be_bytes());
        header.extend(ack.to_be_bytes());
        header.extend([0x50, flags]);
        header.extend(window.to_be_bytes());
        header.extend([0; 4]);
        header.extend(data);
        Self::new(source.ip(), dest.ip(), TCP, header)
    }

    /// A datagram.
    pub fn udp(source: SocketAddr, dest: SocketAddr, data: &[u8]) -> Self {
        let mut header = ports(source, dest);
        header.extend(short(8 + data.len()).to_be_bytes());
        header.extend([0, 0]);
        header.extend(data);
        Self::new(source.ip(), dest.ip(), UDP, header)
    }

    /// A message of the family's ICMP: type, code, the four bytes after the checksum, and what follows.
    pub fn icmp(source: IpAddr, dest: IpAddr, kind: (u8, u8), rest: [u8; 4], data: &[u8]) -> Self {
        let proto = if source.is_ipv4() { ICMP } else { ICMP6 };
        let mut message = vec![kind.0, kind.1, 0, 0];
        message.extend(rest);
        message.extend(data);
        Self::new(source, dest, proto, message)
    }

    /// A ping's request.
    pub fn ping(source: IpAddr, dest: IpAddr, id: u16) -> Self {
        let kind = if source.is_ipv4() { 8 } else { 128 };
        let [high, low] = id.to_be_bytes();
        Self::icmp(source, dest, (kind, 0), [high, low, 0, 7], b"sixteen or more!")
    }

    /// A ping's answer.
    pub fn pong(source: IpAddr, dest: IpAddr, id: u16) -> Self {
        let kind = if source.is_ipv4() { 0 } else { 129 };
        let [high, low] = id.to_be_bytes();
        Self::icmp(source, dest, (kind, 0), [high, low, 0, 7], b"sixteen or more!")
    }

    /// "Nobody listens at that port", about a packet, of which all is quoted.
    pub fn port_unreachable(from: IpAddr, to: IpAddr, about: &Packet) -> Self {
        let kind = if from.is_ipv4() { (3, 3) } else { (1, 4) };
        Self::icmp(from, to, kind, [0; 4], &about.frame()[14..])
    }

    /// "Too long for the next link, which takes 1,280 bytes", about a packet.
    pub fn too_big(from: IpAddr, to: IpAddr, about: &Packet) -> Self {
        let kind = if from.is_ipv4() { (3, 4) } else { (2, 0) };
        Self::icmp(from, to, kind, [0, 0, 5, 0], &about.frame()[14..])
    }

    /// With these hardware addresses: destination, source.
    pub fn macs(mut self, dest: [u8; 6], source: [u8; 6]) -> Self {
        self.macs = (dest, source);
        self
    }

    /// One router further.
    pub fn further(mut self) -> Self {
        self.hop_limit -= 1;
        self
    }

    /// As a host writes an answer of its own: no identification, not to be divided.
    pub fn own(mut self, service: u8) -> Self {
        (self.id, self.fragment, self.service) = (0, DF, service);
        self
    }

    /// In pieces of at most `bytes`, a multiple of eight.
    pub fn pieces(&self, bytes: usize) -> Vec<Self> {
        let whole = self.transport();
        let last = whole.len().div_ceil(bytes) - 1;
        let piece = |(index, data): (usize, &[u8])| {
            let units = short(index * bytes / 8);
            let more = if index == last { 0 } else { MF };
            Self { transport: data.to_vec(), piece: Some(units | more), ..self.clone() }
        };
        whole.chunks(bytes).enumerate().map(piece).collect()
    }

    /// The frame.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = [self.macs.0, self.macs.1].concat();
        match (self.source, self.dest) {
            (IpAddr::V4(source), IpAddr::V4(dest)) => {
                let mut header = vec![0x45, self.service];
                header.extend(short(20 + self.transport.len()).to_be_bytes());
                header.extend(self.id.to_be_bytes());
                header.extend(self.piece.unwrap_or(self.fragment).to_be_bytes());
                header.extend([self.hop_limit, self.proto, 0, 0]);
                header.extend(source.octets());
                header.extend(dest.octets());
                let sum = checksum(&header);
                header[10..12].copy_from_slice(&sum.to_be_bytes());
                frame.extend([8, 0]);
                frame.extend(header);
            }
            (IpAddr::V6(source), IpAddr::V6(dest)) => {
                let between = self.piece.map_or(Vec::new(), |piece| self.fragment_header(piece));
                frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                frame.extend(short(between.len() + self.transport.len()).to_be_bytes());
                frame.extend([if between.is_empty() { self.proto } else { 44 }, self.hop_limit]);
                frame.extend(source.octets());
                frame.extend(dest.octets());
                frame.extend(between);
            }
            mixed => unreachable!("{mixed:?} are of two families"),
        }
        frame.extend(self.transport());
        frame
    }

    fn fragment_header(&self, piece: u16) -> Vec<u8> {
        let field = (piece & 0x1fff) << 3 | u16::from(piece & MF != 0);
        let [f0, f1] = field.to_be_bytes();
        let [i0, i1] = self.id.to_be_bytes();
        vec![self.proto, 0, f0, f1, 0, 0, i0, i1]
    }

    /// The transport with its checksum.
    fn transport(&self) -> Vec<u8> {
        let mut bytes = self.transport.clone();
        let at = match self.proto {
            TCP => 16,
            UDP => 6,
            ICMP | ICMP6 => 2,
            _ => return bytes,
        };
        if self.piece.is_some() {
            return bytes;
        }
        bytes[at..at + 2].fill(0);
        let mut covered = if self.proto == ICMP { Vec::new() } else { self.pseudo() };
        covered.extend(&bytes);
        let sum = match checksum(&covered) {
            0 if self.proto == UDP => 0xffff,
            sum => sum,
        };
        bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn pseudo(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for address in [self.source, self.dest] {
            match address {
                IpAddr::V4(address) => bytes.extend(address.octets()),
                IpAddr::V6(address) => bytes.extend(address.octets()),
            }
        }
        bytes.extend([0, self.proto]);
        bytes.extend(short(self.transport.len()).to_be_bytes());
        bytes
    }
}

/// The checksum of RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0u32, |sum, pair| {
        let word = u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]);
        let sum = sum + u32::from(word);
        (sum & 0xffff) + (sum >> 16)
    });
    !short(sum as usize)
}

fn ports(source: SocketAddr, dest: SocketAddr) -> Vec<u8> {
    [source.port().to_be_bytes(), dest.port().to_be_bytes()].concat()
}

fn short(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}
