//! Headers, from Ethernet to the transport's ports.
//!
//! A later fragment carries no transport header: its payload is never read as ports.

use beeline_abi::{Be16, Be32, DropReason, Proto, Tuple};

use crate::Frame;

/// Length of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;
const IPV4_BYTES: usize = 20;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// IPv4; the rest of the journey is about it.
    Ipv4(Ipv4),
    /// ARP, IPv6 and whatever else the stack may want.
    Other,
}

/// One IPv4 packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Addresses, ports and protocol; ports are zero for later fragments and protocols without them.
    pub tuple: Tuple,
    /// Bytes from the IP header on, padding and all segments of an aggregated packet included.
    pub bytes: u32,
    /// TCP flags; zero for everything else.
    pub tcp_flags: u8,
    /// Whether it is whole.
    pub part: Part,
}

/// Which part of a datagram a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The beginning, with the transport header.
    First,
    /// A continuation, without ports.
    Later,
}

/// Reads the headers of a frame.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F) -> Result<Parsed, DropReason> {
    let Some(ethertype) = frame.load::<2>(12) else {
        return Err(DropReason::Truncated);
    };
    if ethertype != ETHERTYPE_IPV4 {
        return Ok(Parsed::Other);
    }
    let Some(header) = frame.load::<IPV4_BYTES>(ETHERNET_BYTES) else {
        return Err(DropReason::Truncated);
    };
    ipv4(frame, &header).map(Parsed::Ipv4)
}

#[inline(always)]
fn ipv4<F: Frame + ?Sized>(frame: &F, header: &[u8; IPV4_BYTES]) -> Result<Ipv4, DropReason> {
    let header_bytes = usize::from(header[0] & 0x0f) * 4;
    let total = u32::from(u16::from_be_bytes([header[2], header[3]]));
    let bytes = frame.length().saturating_sub(14);
    check_lengths(header[0] >> 4, header_bytes, total, bytes)?;
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let part = match (fragment & 0x1fff, fragment & 0x2000) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        _ => Part::Later,
    };
    let mut packet = Ipv4 {
        tuple: Tuple {
            source_addr: Be32::from([header[12], header[13], header[14], header[15]]),
            dest_addr: Be32::from([header[16], header[17], header[18], header[19]]),
            source_port: Be16::ZERO,
            dest_port: Be16::ZERO,
            proto: header[9],
            pad: [0; 3],
        },
        bytes,
        tcp_flags: 0,
        part,
    };
    if part != Part::Later {
        transport(frame, ETHERNET_BYTES + header_bytes, &mut packet)?;
    }
    Ok(packet)
}

/// A total length of zero is an aggregated packet beyond 64 KiB ("BIG TCP"), where only the frame knows.
#[inline(always)]
fn check_lengths(
    version: u8,
    header_bytes: usize,
    total: u32,
    bytes: u32,
) -> Result<(), DropReason> {
    if version != 4 || header_bytes < IPV4_BYTES {
        return Err(DropReason::Malformed);
    }
    if total == 0 && bytes > 0xffff {
        return Ok(());
    }
    if (total as usize) < header_bytes {
        return Err(DropReason::Malformed);
    }
    if total > bytes {
        return Err(DropReason::Truncated);
    }
    Ok(())
}

#[inline(always)]
fn transport<F: Frame + ?Sized>(
    frame: &F,
    offset: usize,
    packet: &mut Ipv4,
) -> Result<(), DropReason> {
    match Proto::from_raw(packet.tuple.proto) {
        Some(Proto::Tcp) => {
            let header = frame.load::<14>(offset).ok_or(DropReason::Truncated)?;
            ports(&mut packet.tuple, [header[0], header[1], header[2], header[3]]);
            packet.tcp_flags = header[13] & 0x3f;
        }
        Some(Proto::Udp | Proto::Sctp) => {
            let header = frame.load::<8>(offset).ok_or(DropReason::Truncated)?;
            ports(&mut packet.tuple, [header[0], header[1], header[2], header[3]]);
        }
        Some(Proto::Icmp) => {
            let header = frame.load::<8>(offset).ok_or(DropReason::Truncated)?;
            ports(&mut packet.tuple, [0, 0, header[0], header[1]]);
        }
        None => {}
    }
    Ok(())
}

#[inline(always)]
fn ports(tuple: &mut Tuple, bytes: [u8; 4]) {
    tuple.source_port = Be16::from_raw(u16::from_ne_bytes([bytes[0], bytes[1]]));
    tuple.dest_port = Be16::from_raw(u16::from_ne_bytes([bytes[2], bytes[3]]));
}
