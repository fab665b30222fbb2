//! ICMP errors, which quote the packet they are about.
//!
//! In: a frame and its headers. Out: the quoted packet's tuple and where it lies. Refuses: to believe lengths that the quote
//! itself gives, because it is cut short.

use beeline_abi::{DropReason, Proto, Tuple};

use crate::Frame;
use crate::parse::{Packet, Part, Place, packet_v4, packet_v6, proto};

/// Bytes of an ICMP error before the quote, for both families.
const HEADER_BYTES: u16 = 8;

/// The packet that an ICMP error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embedded {
    /// As it lies there: in the direction of the packet that failed.
    pub tuple: Tuple,
    /// Where its IP header begins, counted from the frame's start.
    pub l3: u16,
    /// Where its transport header begins, counted from the frame's start.
    pub l4: u16,
    /// Whether it was whole; of a later fragment the ports are unknown.
    pub part: Part,
}

/// The packet that `packet` complains about; `None` when it is no ICMP error.
#[inline(always)]
pub fn error<F: Frame + ?Sized>(
    frame: &F,
    packet: &Packet,
) -> Option<Result<Embedded, DropReason>> {
    let proto = proto(&packet.tuple)?;
    if !matches!(proto, Proto::Icmp | Proto::Icmp6) || !is_error(frame, packet, proto) {
        return None;
    }
    let l3 = packet.l4 + HEADER_BYTES;
    let place = Place::Quoted { end: packet.end };
    let quoted = if proto == Proto::Icmp {
        packet_v4(frame, l3, place)
    } else {
        packet_v6(frame, l3, place)
    };
    Some(quoted.map(|quoted| Embedded {
        tuple: quoted.tuple,
        l3,
        l4: quoted.l4,
        part: quoted.part,
    }))
}

/// Unreachable, source quench, redirect, time exceeded and parameter problem; of ICMPv6 the first four types.
#[inline(always)]
fn is_error<F: Frame + ?Sized>(frame: &F, packet: &Packet, proto: Proto) -> bool {
    if packet.part == Part::Later {
        return false;
    }
    match (proto, frame.load::<1>(usize::from(packet.l4))) {
        (Proto::Icmp, Some([kind])) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (Proto::Icmp6, Some([kind])) => matches!(kind, 1..=4),
        _ => false,
    }
}
