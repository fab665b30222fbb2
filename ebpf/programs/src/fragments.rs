//! Datagrams in pieces: only the first piece carries ports, which the others then borrow.

use aya_ebpf::bindings::BPF_ANY;
use beeline_abi::{Counter, FragmentKey, FragmentPorts};
use beeline_packet::parse::{Packet, Part};

use crate::count;
use crate::maps::FRAGMENTS;

#[inline(always)]
fn key(packet: &Packet) -> FragmentKey {
    FragmentKey {
        source_addr: packet.tuple.source_addr,
        dest_addr: packet.tuple.dest_addr,
        id: packet.fragment_id,
        proto: packet.tuple.proto,
        pad: [0; 3],
    }
}

/// Remembers the ports of a first piece as they arrived, for the pieces to come.
#[inline(always)]
pub fn remember(packet: &Packet) {
    if packet.part != Part::First {
        return;
    }
    let ports =
        FragmentPorts { source_port: packet.tuple.source_port, dest_port: packet.tuple.dest_port };
    // An LRU makes room by itself; a datagram that could not be remembered arrives in part, and is sent again.
    let _ = FRAGMENTS.insert(key(packet), ports, u64::from(BPF_ANY));
}

/// Gives a later piece the ports of its first; `false` when that was not seen.
#[inline(always)]
pub fn join(packet: &mut Packet) -> bool {
    // SAFETY: preallocated: a value may be reused while it is copied, which at worst loses one datagram.
    let Some(ports) = (unsafe { FRAGMENTS.get(key(packet)) }) else {
        return false;
    };
    packet.tuple.source_port = ports.source_port;
    packet.tuple.dest_port = ports.dest_port;
    count::one(Counter::FragmentsJoined);
    true
}
