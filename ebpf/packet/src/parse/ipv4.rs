//! The IPv4 header.

use beeline_abi::{Addr, Be16, Be32, DropReason, Tuple};

use super::{Packet, Part, Place, take};
use crate::Frame;

const HEADER_BYTES: u16 = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

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
    let header: [u8; 20] = take(frame, l3, limit)?;
    let header_bytes = u16::from(header[0] & 0x0f) * 4;
    if header[0] >> 4 != 4 || header_bytes < HEADER_BYTES {
        return Err(DropReason::Malformed);
    }
    let end = match place {
        Place::Itself => {
            end_of(l3, header_bytes, u16::from_be_bytes([header[2], header[3]]), limit)?
        }
        Place::Quoted { end } if u32::from(l3) + u32::from(header_bytes) > end => {
            return Err(DropReason::Truncated);
        }
        Place::Quoted { end } => end,
    };
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    let part = match (fragment & FRAGMENT_OFFSET, fragment & MORE_FRAGMENTS) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        _ => Part::Later,
    };
    let source_addr = Be32::from([header[12], header[13], header[14], header[15]]);
    let dest_addr = Be32::from([header[16], header[17], header[18], header[19]]);
    Ok(Packet {
        tuple: Tuple {
            source_addr: Addr::v4(source_addr),
            dest_addr: Addr::v4(dest_addr),
            source_port: Be16::ZERO,
            dest_port: Be16::ZERO,
            proto: header[9],
            pad: [0; 3],
        },
        bytes: limit.saturating_sub(u32::from(l3)),
        end,
        fragment_id: u32::from(u16::from_ne_bytes([header[4], header[5]])),
        l4: l3 + header_bytes,
        tcp_flags: 0,
        hop_limit: header[8],
        part,
    })
}

/// A total length of zero is an aggregated packet beyond 64 KiB ("BIG TCP"), where only the frame knows.
#[inline(always)]
fn end_of(l3: u16, header_bytes: u16, total: u16, limit: u32) -> Result<u32, DropReason> {
    if total == 0 && limit - u32::from(l3) > 0xffff {
        return Ok(limit);
    }
    if total < header_bytes {
        return Err(DropReason::Malformed);
    }
    let end = u32::from(l3) + u32::from(total);
    if end > limit {
        return Err(DropReason::Truncated);
    }
    Ok(end)
}
