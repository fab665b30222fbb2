//! Direct server return: the frontend travels inside the packet to the backend's node, which answers in its name.
//!
//! IPv4: an option of eight bytes, first among the options. IPv6: a destination options header of 24 bytes, first after the
//! fixed header. Numbers and layout are Cilium's. In: headers and a frontend. Out: the option, and headers that account for it.
//! Refuses: to move bytes, which the caller does; and any option that is not exactly ours.
//!
//! ```text
//! IPv4  | 0x9a | 8 | port | address |
//! IPv6  | next header | 2 | 0x1b | 20 | address (16) | port | 0 0 |
//! ```

use beeline_abi::{Addr, Be16, Be32};

use crate::Frame;
use crate::checksum::{Diff, Sum};
use crate::nat::{octets, octets_v4};
use crate::parse::{ETHERNET_BYTES, Packet};

/// Length of the IPv4 option.
pub const V4_BYTES: u16 = 8;
/// Length of the IPv6 header.
pub const V6_BYTES: u16 = 24;

const V4_TYPE: u8 = 0x9a;
const V6_TYPE: u8 = 0x1b;
const DEST_OPTIONS: u8 = 60;
/// Options at most, in words; the header's length has four bits, of which five words are the fixed part.
const V4_WORDS_MAX: u8 = 15;

/// What a caller dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialled {
    /// Address.
    pub addr: Addr,
    /// Port.
    pub port: Be16,
}

/// The IPv4 option.
#[inline(always)]
pub fn encode_v4(addr: Be32, port: Be16) -> [u8; 8] {
    let [p0, p1] = port.raw().to_ne_bytes();
    let [a0, a1, a2, a3] = octets_v4(addr);
    [V4_TYPE, 8, p0, p1, a0, a1, a2, a3]
}

/// The frontend in an IPv4 option, if it is ours.
#[inline(always)]
pub fn decode_v4(option: &[u8; 8]) -> Option<Dialled> {
    match *option {
        [V4_TYPE, 8, p0, p1, a0, a1, a2, a3] => {
            Some(Dialled { addr: Addr::v4(Be32::from([a0, a1, a2, a3])), port: port(p0, p1) })
        }
        _ => None,
    }
}

/// The IPv6 header, before `next_header`.
#[inline(always)]
pub fn encode_v6(next_header: u8, addr: &Addr, port: Be16) -> [u8; 24] {
    let [p0, p1] = port.raw().to_ne_bytes();
    let [a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, b0, b1, b2, b3, b4, b5] = octets(addr);
    [
        next_header,
        2,
        V6_TYPE,
        20,
        a0,
        a1,
        a2,
        a3,
        a4,
        a5,
        a6,
        a7,
        a8,
        a9,
        b0,
        b1,
        b2,
        b3,
        b4,
        b5,
        p0,
        p1,
        0,
        0,
    ]
}

/// The frontend in an IPv6 header and what follows, if it is ours.
#[inline(always)]
pub fn decode_v6(header: &[u8; 24]) -> Option<(Dialled, u8)> {
    let h = header;
    if h[1] != 2 || h[2] != V6_TYPE || h[3] != 20 {
        return None;
    }
    let word = |at: usize| u32::from_ne_bytes([h[at], h[at + 1], h[at + 2], h[at + 3]]);
    let addr = Addr::from_words([word(4), word(8), word(12), word(16)]);
    if addr.is_v4() {
        return None;
    }
    Some((Dialled { addr, port: port(h[20], h[21]) }, h[0]))
}

/// The frontend that a frame carries, if it does.
#[inline(always)]
pub fn read<F: Frame + ?Sized>(frame: &F, packet: &Packet) -> Option<Dialled> {
    let l3 = ETHERNET_BYTES;
    if packet.tuple.source_addr.is_v4() {
        if usize::from(packet.l4) < l3 + 28 {
            return None;
        }
        return decode_v4(&frame.load(l3 + 20)?);
    }
    if usize::from(packet.l4) < l3 + 64 || frame.load::<1>(l3 + 6)? != [DEST_OPTIONS] {
        return None;
    }
    decode_v6(&frame.load(l3 + 40)?).map(|(dialled, _)| dialled)
}

/// The fixed part of an IPv4 header that the option is put behind; `None` when header or packet would grow too long.
#[inline(always)]
pub fn insert_v4(header: &[u8; 20], option: &[u8; 8]) -> Option<[u8; 20]> {
    let words = (header[0] & 0x0f).checked_add(2).filter(|words| *words <= V4_WORDS_MAX)?;
    let total = u16::from_be_bytes([header[2], header[3]]).checked_add(V4_BYTES)?;
    Some(fixed_v4(header, words, total, Sum::default().bytes(option), Diff::NONE))
}

/// The fixed part of an IPv4 header that the option is taken away from; `None` when lengths say that there is none.
#[inline(always)]
pub fn remove_v4(header: &[u8; 20], option: &[u8; 8]) -> Option<[u8; 20]> {
    decode_v4(option)?;
    let words = (header[0] & 0x0f).checked_sub(2).filter(|words| *words >= 5)?;
    let total = u16::from_be_bytes([header[2], header[3]])
        .checked_sub(V4_BYTES)
        .filter(|total| *total >= u16::from(words) * 4)?;
    let gone = Sum::default().bytes(option).value();
    Some(fixed_v4(header, words, total, Sum::default(), Diff::word(gone, 0)))
}

/// The IPv6 header that `encode_v6(header[6], ..)` is put behind; `None` when the packet would grow too long.
#[inline(always)]
pub fn insert_v6(header: &[u8; 40]) -> Option<[u8; 40]> {
    let payload = u16::from_be_bytes([header[4], header[5]]).checked_add(V6_BYTES)?;
    Some(fixed_v6(header, payload, DEST_OPTIONS))
}

/// The IPv6 header that the option is taken away from; `None` when it says that there is none.
#[inline(always)]
pub fn remove_v6(header: &[u8; 40], option: &[u8; 24]) -> Option<[u8; 40]> {
    let (_, next_header) = decode_v6(option)?;
    if header[6] != DEST_OPTIONS {
        return None;
    }
    let payload = u16::from_be_bytes([header[4], header[5]]).checked_sub(V6_BYTES)?;
    Some(fixed_v6(header, payload, next_header))
}

/// Length fields and checksum of IPv4 after `more` came under the checksum and `less` changed there.
#[inline(always)]
fn fixed_v4(header: &[u8; 20], words: u8, total: u16, more: Sum, less: Diff) -> [u8; 20] {
    let mut fixed = *header;
    let [t0, t1] = total.to_be_bytes();
    fixed[0] = (header[0] & 0xf0) | words;
    (fixed[2], fixed[3]) = (t0, t1);
    let field = |header: &[u8; 20], at: usize| {
        Be16::from_raw(u16::from_ne_bytes([header[at], header[at + 1]]))
    };
    let change = Diff::port(field(header, 0), field(&fixed, 0))
        .and(Diff::port(field(header, 2), field(&fixed, 2)))
        .and(Diff::word(0, more.value()))
        .and(less);
    let old = field(header, 10).raw();
    let [c0, c1] = change.applied(old, false).unwrap_or(old).to_ne_bytes();
    (fixed[10], fixed[11]) = (c0, c1);
    fixed
}

#[inline(always)]
fn fixed_v6(header: &[u8; 40], payload: u16, next_header: u8) -> [u8; 40] {
    let mut fixed = *header;
    let [p0, p1] = payload.to_be_bytes();
    (fixed[4], fixed[5], fixed[6]) = (p0, p1, next_header);
    fixed
}

#[inline(always)]
fn port(high: u8, low: u8) -> Be16 {
    Be16::from_raw(u16::from_ne_bytes([high, low]))
}
