//! The IPv6 header and what may stand between it and the transport (RFC 8200, section 4).

use beeline_abi::{Addr, Be16, DropReason, Tuple};

use super::{Packet, Part, Place, take};
use crate::Frame;

const HEADER_BYTES: u16 = 40;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DEST_OPTIONS: u8 = 60;

/// Extension headers looked through: each of those read here once, destination options twice, as RFC 8200 (4.1) orders them.
const EXTENSIONS_MAX: u32 = 5;

#[inline(always)]
pub(super) fn read<F: Frame + ?Sized>(
    frame: &F,
    l3: u16,
    place: Place,
) -> Result<Packet, DropReason> {
    let limit = match place {
        Place::Itself => frame.length(),
        Place::Quoted { end } => end,
    };
    let header: [u8; 40] = take(frame, l3, limit)?;
    let (source_addr, dest_addr) = (addr(&header, 8), addr(&header, 24));
    // A mapped address has no business on the wire, and here it would pass for IPv4.
    if header[0] >> 4 != 6 || source_addr.is_v4() || dest_addr.is_v4() {
        return Err(DropReason::Malformed);
    }
    let end = match place {
        Place::Itself => end_of(l3, u16::from_be_bytes([header[4], header[5]]), limit)?,
        Place::Quoted { end } => end,
    };
    let mut packet = Packet {
        tuple: Tuple {
            source_addr,
            dest_addr,
            source_port: Be16::ZERO,
            dest_port: Be16::ZERO,
            proto: header[6],
            pad: [0; 3],
        },
        bytes: limit.saturating_sub(u32::from(l3)),
        end,
        fragment_id: 0,
        l4: l3 + HEADER_BYTES,
        tcp_flags: 0,
        hop_limit: header[7],
        part: Part::Whole,
    };
    extensions(frame, &mut packet)?;
    if u32::from(packet.l4) > end {
        return Err(DropReason::Truncated);
    }
    Ok(packet)
}

/// A payload length of zero is a jumbogram or an aggregated packet ("BIG TCP"), where only the frame knows.
#[inline(always)]
fn end_of(l3: u16, payload: u16, limit: u32) -> Result<u32, DropReason> {
    let begin = u32::from(l3) + u32::from(HEADER_BYTES);
    if payload == 0 && limit - begin > 0xffff {
        return Ok(limit);
    }
    let end = begin + u32::from(payload);
    if end > limit {
        return Err(DropReason::Truncated);
    }
    Ok(end)
}

#[inline(always)]
fn addr(header: &[u8; 40], at: usize) -> Addr {
    let word = |at: usize| {
        u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    Addr::from_words([word(at), word(at + 4), word(at + 8), word(at + 12)])
}

/// Walks to the transport header, or to the payload of a later fragment.
#[inline(always)]
fn extensions<F: Frame + ?Sized>(frame: &F, packet: &mut Packet) -> Result<(), DropReason> {
    let mut fragmented = false;
    for _ in 0..EXTENSIONS_MAX {
        match packet.tuple.proto {
            HOP_BY_HOP | ROUTING | DEST_OPTIONS => {
                let [next, words]: [u8; 2] = take(frame, packet.l4, packet.end)?;
                packet.tuple.proto = next;
                packet.l4 += (u16::from(words) + 1) * 8;
            }
            FRAGMENT if fragmented => return Err(DropReason::Malformed),
            FRAGMENT => {
                fragmented = true;
                fragment(packet, &take(frame, packet.l4, packet.end)?);
                if packet.part == Part::Later {
                    return Ok(());
                }
            }
            _ => return Ok(()),
        }
    }
    match packet.tuple.proto {
        HOP_BY_HOP | ROUTING | DEST_OPTIONS | FRAGMENT => Err(DropReason::UnknownHeader),
        _ => Ok(()),
    }
}

/// A fragment header that is first and last at once ("atomic", RFC 6946) makes no part.
#[inline(always)]
fn fragment(packet: &mut Packet, header: &[u8; 8]) {
    let field = u16::from_be_bytes([header[2], header[3]]);
    packet.part = match (field & 0xfff8, field & 1) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        _ => Part::Later,
    };
    packet.fragment_id = u32::from_ne_bytes([header[4], header[5], header[6], header[7]]);
    packet.tuple.proto = header[0];
    packet.l4 += 8;
}
