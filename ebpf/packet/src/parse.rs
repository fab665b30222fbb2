//! Headers, from Ethernet to the transport's ports.
//!
//! In: a frame. Out: addresses, ports, lengths and where the transport header is. Refuses: to read anything beyond what the
//! IP header says is the packet, padding included. A later fragment carries no transport header: its payload is never read as ports.
//! The tuple holds the addresses as they lie in the IP header, whatever a routing header says of the way.

use beeline_abi::{DropReason, Tuple};

use crate::Frame;

mod ipv4;
mod ipv6;
mod transport;

pub(crate) use transport::{Echo, echo, proto};

/// Length of an Ethernet header.
pub const ETHERNET_BYTES: usize = 14;
/// Where the IP header begins.
pub(crate) const L3: u16 = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// IPv4 or IPv6; the rest of the journey is about it.
    Ip(Packet),
    /// ARP and whatever else the stack may want.
    Other,
}

/// One IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Addresses, ports and protocol; ports are zero for later fragments and protocols without them.
    pub tuple: Tuple,
    /// Bytes from the IP header on, padding and all segments of an aggregated packet included.
    pub bytes: u32,
    /// Where the packet ends, counted from the frame's start: padding lies behind.
    pub end: u32,
    /// Which datagram a fragment belongs to, as it lies in the header; zero for an IPv6 packet that is none.
    pub fragment_id: u32,
    /// Where the transport header begins, counted from the frame's start; of a later fragment, where its payload begins.
    pub l4: u16,
    /// TCP flags; zero for everything else.
    pub tcp_flags: u8,
    /// How many routers it may still pass.
    pub hop_limit: u8,
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

/// Whether a packet came by itself or is quoted in an ICMP error, which cuts it short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Itself,
    Quoted { end: u32 },
}

/// Reads the headers of a frame.
#[inline(always)]
pub fn parse<F: Frame + ?Sized>(frame: &F) -> Result<Parsed, DropReason> {
    let Some(ethertype) = frame.load::<2>(12) else {
        return Err(DropReason::Truncated);
    };
    match ethertype {
        ETHERTYPE_IPV4 => packet_v4(frame, L3, Place::Itself).map(Parsed::Ip),
        ETHERTYPE_IPV6 => packet_v6(frame, L3, Place::Itself).map(Parsed::Ip),
        _ => Ok(Parsed::Other),
    }
}

/// An IPv4 packet whose header begins at `l3`.
#[inline(always)]
pub(crate) fn packet_v4<F: Frame + ?Sized>(
    frame: &F,
    l3: u16,
    place: Place,
) -> Result<Packet, DropReason> {
    let mut packet = ipv4::read(frame, l3, place)?;
    transport::read(frame, &mut packet, place)?;
    Ok(packet)
}

/// An IPv6 packet whose header begins at `l3`.
#[inline(always)]
pub(crate) fn packet_v6<F: Frame + ?Sized>(
    frame: &F,
    l3: u16,
    place: Place,
) -> Result<Packet, DropReason> {
    let mut packet = ipv6::read(frame, l3, place)?;
    transport::read(frame, &mut packet, place)?;
    Ok(packet)
}

/// `N` bytes of a packet that ends at `end`.
#[inline(always)]
fn take<F: Frame + ?Sized, const N: usize>(
    frame: &F,
    offset: u16,
    end: u32,
) -> Result<[u8; N], DropReason> {
    let offset = usize::from(offset);
    if offset + N > end as usize {
        return Err(DropReason::Truncated);
    }
    frame.load(offset).ok_or(DropReason::Truncated)
}
