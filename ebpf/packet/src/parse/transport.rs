//! Ports, and what takes their place.

use beeline_abi::{Be16, DropReason, Proto, Tuple};

use super::{Packet, Part, Place, take};
use crate::Frame;

const TCP_HEADER_BYTES: u32 = 20;

/// An ICMP message that has an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Echo {
    /// The identifier is the source port.
    Request,
    /// The identifier is the destination port.
    Reply,
}

/// Whether an ICMP or ICMPv6 message of that type is one end of a ping.
#[inline(always)]
pub(crate) fn echo(proto: Proto, kind: u8) -> Option<Echo> {
    match (proto, kind) {
        (Proto::Icmp, 8) | (Proto::Icmp6, 128) => Some(Echo::Request),
        (Proto::Icmp, 0) | (Proto::Icmp6, 129) => Some(Echo::Reply),
        _ => None,
    }
}

/// The transport protocol as far as it is understood; ICMP of the other family is not.
#[inline(always)]
pub(crate) fn proto(tuple: &Tuple) -> Option<Proto> {
    match Proto::from_raw(tuple.proto) {
        Some(Proto::Icmp) if !tuple.source_addr.is_v4() => None,
        Some(Proto::Icmp6) if tuple.source_addr.is_v4() => None,
        known => known,
    }
}

/// Fills in ports and TCP flags. Of a quoted packet eight bytes are enough: more is not promised (RFC 792).
#[inline(always)]
pub(super) fn read<F: Frame + ?Sized>(
    frame: &F,
    packet: &mut Packet,
    place: Place,
) -> Result<(), DropReason> {
    if packet.part == Part::Later {
        return Ok(());
    }
    let Some(proto) = proto(&packet.tuple) else {
        return Ok(());
    };
    let header: [u8; 8] = take(frame, packet.l4, packet.end)?;
    match proto {
        Proto::Tcp | Proto::Udp | Proto::Sctp => {
            packet.tuple.source_port = port(header[0], header[1]);
            packet.tuple.dest_port = port(header[2], header[3]);
        }
        Proto::Icmp | Proto::Icmp6 => match echo(proto, header[0]) {
            Some(Echo::Request) => packet.tuple.source_port = port(header[4], header[5]),
            Some(Echo::Reply) => packet.tuple.dest_port = port(header[4], header[5]),
            None => packet.tuple.dest_port = port(header[0], header[1]),
        },
    }
    if proto == Proto::Tcp && place == Place::Itself {
        if u32::from(packet.l4) + TCP_HEADER_BYTES > packet.end {
            return Err(DropReason::Truncated);
        }
        let [flags]: [u8; 1] = take(frame, packet.l4 + 13, packet.end)?;
        packet.tcp_flags = flags & 0x3f;
    }
    Ok(())
}

#[inline(always)]
fn port(high: u8, low: u8) -> Be16 {
    Be16::from_raw(u16::from_ne_bytes([high, low]))
}
