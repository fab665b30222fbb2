//! Other addresses and ports for a packet, with every checksum right afterwards.
//!
//! In: a frame, its headers as [`crate::parse`] read them, and what it is to look like. Out: the frame changed in place.
//! Refuses, before anything is written: an address of the other family, and ports that cannot be written.
//! Checksums are updated by what changed (RFC 1624), never computed anew: a wrong one stays wrong, so that the receiver still sees it.

use beeline_abi::{Addr, Be16, Be32, DropReason, Proto, Track, Tuple};

use crate::checksum::{ChecksumChange, Diff};
use crate::icmp::Embedded;
use crate::parse::{Echo, L3, Packet, Part, echo, proto};
use crate::{Frame, FrameMut};

/// What a packet is to look like. Ports of an ICMP echo are its identifier, as [`Tuple`] tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Source address.
    pub source_addr: Addr,
    /// Destination address.
    pub dest_addr: Addr,
    /// Source port.
    pub source_port: Be16,
    /// Destination port.
    pub dest_port: Be16,
}

impl Rewrite {
    /// What a tracked packet is to look like.
    #[inline(always)]
    pub const fn of(track: &Track) -> Self {
        Rewrite {
            source_addr: track.source_addr,
            dest_addr: track.dest_addr,
            source_port: track.source_port,
            dest_port: track.dest_port,
        }
    }

    /// What leaves a packet as it is.
    #[inline(always)]
    pub const fn unchanged(tuple: &Tuple) -> Self {
        Rewrite {
            source_addr: tuple.source_addr,
            dest_addr: tuple.dest_addr,
            source_port: tuple.source_port,
            dest_port: tuple.dest_port,
        }
    }

    /// The same seen from the other side: what a packet that an ICMP error quotes is to look like, when this is what its
    /// answer would.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Rewrite {
            source_addr: self.dest_addr,
            dest_addr: self.source_addr,
            source_port: self.dest_port,
            dest_port: self.source_port,
        }
    }

    /// The tuple of the packet afterwards.
    #[inline(always)]
    pub const fn tuple(&self, proto: u8) -> Tuple {
        Tuple {
            source_addr: self.source_addr,
            dest_addr: self.dest_addr,
            source_port: self.source_port,
            dest_port: self.dest_port,
            proto,
            pad: [0; 3],
        }
    }
}

/// Where a transport keeps its checksum and what it covers.
struct Checksum {
    offset: u16,
    pseudo_header: bool,
    zero_means_none: bool,
}

/// SCTP's checksum is none of these: it covers ports and payload, but no addresses.
#[inline(always)]
fn checksum(proto: Option<Proto>) -> Option<Checksum> {
    let (offset, pseudo_header, zero_means_none) = match proto? {
        Proto::Tcp => (16, true, false),
        Proto::Udp => (6, true, true),
        Proto::Icmp => (2, false, false),
        Proto::Icmp6 => (2, true, false),
        Proto::Sctp => return None,
    };
    Some(Checksum { offset, pseudo_header, zero_means_none })
}

/// Gives a packet other addresses and, unless it is a later fragment, other ports.
#[inline(always)]
pub fn rewrite<F: FrameMut + ?Sized>(
    frame: &mut F,
    packet: &Packet,
    to: &Rewrite,
) -> Result<(), DropReason> {
    let from = &packet.tuple;
    same_family(from, to)?;
    if packet.part != Part::Later {
        let ports = ports(frame, from, packet.l4, to)?;
        if let Some(checksum) = checksum(proto(from)) {
            let pseudo = if checksum.pseudo_header { addresses_diff(from, to) } else { Diff::NONE };
            let change = ChecksumChange { pseudo, rest: ports, v6: !from.source_addr.is_v4() };
            let offset = usize::from(packet.l4 + checksum.offset);
            adjust(frame, offset, &change, checksum.zero_means_none)?;
        }
    }
    addresses(frame, L3, from, to).map(drop)
}

/// Translates an ICMP error: what it quotes gets `inner`, the packet itself the addresses of `outer`.
#[inline(always)]
pub fn rewrite_error<F: FrameMut + ?Sized>(
    frame: &mut F,
    packet: &Packet,
    embedded: &Embedded,
    outer: &Rewrite,
    inner: &Rewrite,
) -> Result<(), DropReason> {
    same_family(&packet.tuple, outer)?;
    same_family(&embedded.tuple, inner)?;
    let v6 = !packet.tuple.source_addr.is_v4();
    let rest = quoted(frame, packet.end, embedded, inner)?;
    let pseudo = if v6 { addresses_diff(&packet.tuple, outer) } else { Diff::NONE };
    let change = ChecksumChange { pseudo, rest, v6 };
    adjust(frame, usize::from(packet.l4 + 2), &change, false)?;
    addresses(frame, L3, &packet.tuple, outer).map(drop)
}

/// One router further; the last one it may pass is not this.
#[inline(always)]
pub fn decrement_hop_limit<F: FrameMut + ?Sized>(
    frame: &mut F,
    packet: &Packet,
) -> Result<(), DropReason> {
    if packet.hop_limit <= 1 {
        return Err(DropReason::HopLimit);
    }
    let hop_limit = packet.hop_limit - 1;
    let stored = if packet.tuple.source_addr.is_v4() {
        let at = usize::from(L3) + 8;
        let [old, proto, high, low] = frame.load::<4>(at).ok_or(DropReason::Truncated)?;
        let change =
            Diff::port(Be16::from_raw(pair(old, proto)), Be16::from_raw(pair(hop_limit, proto)));
        let old_sum = pair(high, low);
        let [high, low] = change.applied(old_sum, false).unwrap_or(old_sum).to_ne_bytes();
        frame.store(at, [hop_limit, proto, high, low])
    } else {
        frame.store(usize::from(L3) + 7, [hop_limit])
    };
    written(stored)
}

/// Rewrites the quoted packet and tells by how much the sum of its bytes changed.
#[inline(always)]
fn quoted<F: FrameMut + ?Sized>(
    frame: &mut F,
    end: u32,
    embedded: &Embedded,
    to: &Rewrite,
) -> Result<Diff, DropReason> {
    let from = &embedded.tuple;
    let mut diff = Diff::NONE;
    if embedded.part != Part::Later {
        diff = ports(frame, from, embedded.l4, to)?;
        if let Some(checksum) = checksum(proto(from)) {
            let pseudo = if checksum.pseudo_header { addresses_diff(from, to) } else { Diff::NONE };
            let at = embedded.l4 + checksum.offset;
            if u32::from(at) + 2 <= end {
                let change = pseudo.and(diff);
                let zero_means_none = checksum.zero_means_none;
                diff = diff.and(plain_checksum(frame, usize::from(at), change, zero_means_none)?);
            }
        }
    }
    Ok(diff.and(addresses(frame, embedded.l3, from, to)?))
}

/// Writes the addresses and IPv4's header checksum; tells by how much the sum of the header's bytes changed.
#[inline(always)]
fn addresses<F: FrameMut + ?Sized>(
    frame: &mut F,
    l3: u16,
    from: &Tuple,
    to: &Rewrite,
) -> Result<Diff, DropReason> {
    let l3 = usize::from(l3);
    let change = addresses_diff(from, to);
    if from.source_addr == to.source_addr && from.dest_addr == to.dest_addr {
        return Ok(Diff::NONE);
    }
    if !from.source_addr.is_v4() {
        let source =
            from.source_addr == to.source_addr || frame.store(l3 + 8, octets(&to.source_addr));
        let dest = from.dest_addr == to.dest_addr || frame.store(l3 + 24, octets(&to.dest_addr));
        return written(source && dest).map(|()| change);
    }
    let checksum = plain_checksum(frame, l3 + 10, change, false)?;
    let [s0, s1, s2, s3] = to.source_addr.last_word().raw().to_ne_bytes();
    let [d0, d1, d2, d3] = to.dest_addr.last_word().raw().to_ne_bytes();
    written(frame.store(l3 + 12, [s0, s1, s2, s3, d0, d1, d2, d3])).map(|()| change.and(checksum))
}

/// Writes the ports, or the identifier of an ICMP echo, if they change; tells by how much the sum of the bytes changed.
#[inline(always)]
fn ports<F: FrameMut + ?Sized>(
    frame: &mut F,
    from: &Tuple,
    l4: u16,
    to: &Rewrite,
) -> Result<Diff, DropReason> {
    let l4 = usize::from(l4);
    let change =
        Diff::port(from.source_port, to.source_port).and(Diff::port(from.dest_port, to.dest_port));
    if from.source_port == to.source_port && from.dest_port == to.dest_port {
        return Ok(Diff::NONE);
    }
    let stored = match proto(from) {
        Some(Proto::Tcp | Proto::Udp) => {
            let [s0, s1] = to.source_port.raw().to_ne_bytes();
            let [d0, d1] = to.dest_port.raw().to_ne_bytes();
            frame.store(l4, [s0, s1, d0, d1])
        }
        Some(proto @ (Proto::Icmp | Proto::Icmp6)) => {
            let id = identifier(frame, proto, from, l4, to)?;
            frame.store(l4 + 4, id.raw().to_ne_bytes())
        }
        Some(Proto::Sctp) | None => return Err(DropReason::Untranslatable),
    };
    written(stored).map(|()| change)
}

/// The new identifier of an ICMP echo; its other "port" is zero and stays so.
#[inline(always)]
fn identifier<F: Frame + ?Sized>(
    frame: &F,
    proto: Proto,
    from: &Tuple,
    l4: usize,
    to: &Rewrite,
) -> Result<Be16, DropReason> {
    let [kind] = frame.load::<1>(l4).ok_or(DropReason::Truncated)?;
    match echo(proto, kind) {
        Some(Echo::Request) if from.dest_port == to.dest_port => Ok(to.source_port),
        Some(Echo::Reply) if from.source_port == to.source_port => Ok(to.dest_port),
        _ => Err(DropReason::Untranslatable),
    }
}

/// Updates a checksum that no network card completes; tells by how much it changed.
#[inline(always)]
fn plain_checksum<F: FrameMut + ?Sized>(
    frame: &mut F,
    offset: usize,
    change: Diff,
    zero_means_none: bool,
) -> Result<Diff, DropReason> {
    let old = u16::from_ne_bytes(frame.load::<2>(offset).ok_or(DropReason::Truncated)?);
    let Some(new) = change.applied(old, zero_means_none) else {
        return Ok(Diff::NONE);
    };
    written(frame.store(offset, new.to_ne_bytes()))
        .map(|()| Diff::port(Be16::from_raw(old), Be16::from_raw(new)))
}

#[inline(always)]
fn adjust<F: FrameMut + ?Sized>(
    frame: &mut F,
    offset: usize,
    change: &ChecksumChange,
    zero_means_none: bool,
) -> Result<(), DropReason> {
    if change.pseudo == Diff::NONE && change.rest == Diff::NONE {
        return Ok(());
    }
    written(frame.adjust_checksum(offset, change, zero_means_none))
}

#[inline(always)]
fn same_family(from: &Tuple, to: &Rewrite) -> Result<(), DropReason> {
    let v4 = from.source_addr.is_v4();
    if to.source_addr.is_v4() == v4 && to.dest_addr.is_v4() == v4 {
        Ok(())
    } else {
        Err(DropReason::Untranslatable)
    }
}

#[inline(always)]
fn addresses_diff(from: &Tuple, to: &Rewrite) -> Diff {
    Diff::addr(&from.source_addr, &to.source_addr).and(Diff::addr(&from.dest_addr, &to.dest_addr))
}

/// An IPv6 address as it lies in a header.
#[inline(always)]
pub(crate) fn octets(addr: &Addr) -> [u8; 16] {
    let [a, b, c, d] = addr.words();
    let ([a0, a1, a2, a3], [b0, b1, b2, b3]) = (a.to_ne_bytes(), b.to_ne_bytes());
    let ([c0, c1, c2, c3], [d0, d1, d2, d3]) = (c.to_ne_bytes(), d.to_ne_bytes());
    [a0, a1, a2, a3, b0, b1, b2, b3, c0, c1, c2, c3, d0, d1, d2, d3]
}

/// An IPv4 address as it lies in a header.
#[inline(always)]
pub(crate) fn octets_v4(addr: Be32) -> [u8; 4] {
    addr.raw().to_ne_bytes()
}

#[inline(always)]
fn pair(high: u8, low: u8) -> u16 {
    u16::from_ne_bytes([high, low])
}

#[inline(always)]
fn written(stored: bool) -> Result<(), DropReason> {
    if stored { Ok(()) } else { Err(DropReason::RewriteFailed) }
}
