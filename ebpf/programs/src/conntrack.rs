//! The table of tracked connections: found, counted, begun, forgotten.

use aya_ebpf::bindings::{BPF_ANY, BPF_NOEXIST};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_coarse_ns, bpf_ktime_get_ns};
use beeline_abi::limits::SNAT_ATTEMPTS;
use beeline_abi::{BackendId, Counter, DropReason, Proto, Track, Tuple};
use beeline_packet::flow::Sample;
use beeline_packet::parse::Packet;
use beeline_packet::snat;
use beeline_packet::track;

use crate::maps::{BACKENDS, CONNTRACK, Scratch};
use crate::route::Route;
use crate::{count, node};

/// `EEXIST` of errno-base.h, as helpers return it.
const EXISTS: i32 = -17;

/// The monotonic clock.
#[inline(always)]
pub fn now_ns() -> u64 {
    // SAFETY: no arguments, callable from every program type.
    unsafe { bpf_ktime_get_ns() }
}

/// The same clock as of the last tick: without a look at the hardware, and never ahead of it.
#[inline(always)]
fn tick_ns() -> u64 {
    // SAFETY: no arguments, callable from every program type.
    unsafe { bpf_ktime_get_coarse_ns() }
}

/// The entry of a packet's direction.
#[inline(always)]
pub fn find(tuple: &Tuple) -> Option<&'static mut Track> {
    // SAFETY: a live map value; not preallocated, so a removed one stays readable until the program ends. Two CPUs may hold it:
    // what is written may lose a race with no worse effect than the next packet's saying it, or a count that is off by one.
    CONNTRACK.get_ptr_mut(tuple).map(|track| unsafe { &mut *track })
}

/// Counts a packet under its entry; `false` when it belongs to another connection, which is then forgotten:
/// a tuple used again, or a datagram whose backend has left.
#[inline(always)]
pub fn go_on(track: &mut Track, packet: &Packet) -> bool {
    let sample = sample(packet, tick_ns());
    if track::is_reused(track, &sample) || is_left(track, packet.tuple.proto) {
        forget(&packet.tuple, track);
        return false;
    }
    // Not atomically, which would wait for everything that was written before. A direction comes in by one queue, so on one CPU;
    // what moves between queues may lose a count.
    track.packets = track.packets.wrapping_add(1);
    track.bytes = track.bytes.wrapping_add(sample.bytes);
    track::advance(track, &sample);
    true
}

/// Keeps the way that the routing table gave for a direction, until its entry has another time. Torn by another CPU's reading
/// when it changes, it is wrong for one packet.
#[inline(always)]
pub fn keep_route(tuple: &Tuple, route: &Route) {
    if let Some(track) = find(tuple) {
        track.next_mac = route.next_mac;
        track.own_mac = route.own_mac;
        track.mtu_bytes = route.mtu_bytes;
        track.from_ifindex = route.from_ifindex;
        track.ifindex = route.ifindex;
    }
}

#[inline(always)]
fn sample(packet: &Packet, now_ns: u64) -> Sample {
    Sample { bytes: u64::from(packet.bytes), tcp_flags: packet.tcp_flags, now_ns }
}

/// Whether the backend of an exchange of datagrams is in no list any more: its clients move on at once. TCP ends by itself.
#[inline(always)]
fn is_left(track: &Track, proto: u8) -> bool {
    const ACTIVE: u8 = 1;
    const TERMINATING: u8 = 2;
    if proto == Proto::Tcp as u8 || track.backend_id == BackendId(0) {
        return false;
    }
    !BACKENDS
        .get(track.backend_id.0)
        .is_some_and(|backend| backend.state == ACTIVE || backend.state == TERMINATING)
}

/// Removes both entries of a connection.
#[inline(always)]
fn forget(tuple: &Tuple, track: &Track) {
    let opposite = track::opposite_key(track, tuple.proto);
    // An error says that user space was faster.
    let _ = CONNTRACK.remove(opposite);
    let _ = CONNTRACK.remove(tuple);
}

/// Whose address the packets of a connection carry afterwards.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The caller's own; its port too, unless another connection to the same backend has it.
    Caller,
    /// This node's, with a port of the range that is set aside for it, where the protocol's can be another one.
    Node,
}

/// Makes both entries of a new connection, and counts its first packet. The source port may have to be another one, so that
/// answers are unmistakable; then `opening` says which. Nothing stays behind when there is no room.
#[inline(always)]
pub fn begin(source: Source, scratch: &mut Scratch) -> Result<(), DropReason> {
    let Scratch { packet, opening, track, key, .. } = scratch;
    let (wanted, ports) = (opening.rewrite.source_port, node::snat_ports());
    let has_port = has_port(opening.tuple.proto);
    // SAFETY: no arguments, callable from every program type.
    let random = unsafe { bpf_get_prandom_u32() };
    let mut attempt = 0;
    loop {
        if attempt == SNAT_ATTEMPTS {
            return Err(DropReason::SnatExhausted);
        }
        if has_port && (source == Source::Node || attempt > 0) {
            let (first, last) = ports;
            opening.rewrite.source_port = snat::candidate(attempt, wanted, first, last, random);
        }
        *key = track::reverse_key(opening);
        *track = track::reverse(opening);
        match CONNTRACK.insert(&*key, &*track, u64::from(BPF_NOEXIST)) {
            Ok(()) => break,
            Err(EXISTS) if has_port => {
                count::one(Counter::SnatCollisions);
                attempt += 1;
            }
            Err(EXISTS) => return Err(DropReason::SnatExhausted),
            Err(_) => return Err(DropReason::ConntrackFull),
        }
    }
    *track = track::forward(opening);
    let sample = sample(packet, opening.now_ns);
    track.packets = 1;
    track.bytes = sample.bytes;
    track::advance(track, &sample);
    if CONNTRACK.insert(&opening.tuple, &*track, 0).is_err() {
        // An error says that user space was faster.
        let _ = CONNTRACK.remove(&*key);
        return Err(DropReason::ConntrackFull);
    }
    Ok(())
}

/// Makes or renews both entries of a connection that another node balanced to here.
#[inline(always)]
pub fn note(scratch: &mut Scratch) -> Result<(), DropReason> {
    let Scratch { packet, opening, track, key, .. } = scratch;
    *key = track::reverse_key(opening);
    *track = track::reverse(opening);
    if let Some(known) = find(key)
        && known.source_addr == track.source_addr
        && known.source_port == track.source_port
    {
        known.seen_ns = opening.now_ns;
        return Ok(());
    }
    if CONNTRACK.insert(&*key, &*track, u64::from(BPF_ANY)).is_err() {
        return Err(DropReason::ConntrackFull);
    }
    *track = track::forward(opening);
    track::advance(track, &sample(packet, opening.now_ns));
    if CONNTRACK.insert(&opening.tuple, &*track, u64::from(BPF_ANY)).is_err() {
        // An error says that user space was faster.
        let _ = CONNTRACK.remove(&*key);
        return Err(DropReason::ConntrackFull);
    }
    Ok(())
}

/// Whether the source port of a protocol can be another one.
#[inline(always)]
fn has_port(proto: u8) -> bool {
    !matches!(Proto::from_raw(proto), Some(Proto::Sctp) | None)
}
