//! Records of translated sockets: opened once, closed once.

use aya_ebpf::bindings::BPF_ANY;
use beeline_abi::{
    Addr, BackendCounters, BackendId, Be16, Connection, Counter, FlowLink, Proto, Tuple,
    UdpReverse, UdpReverseKey,
};

use crate::count;
use crate::maps::{BACKEND_COUNTERS, CONNECTIONS, UDP_REVERSE};

/// Records a translated socket. A full map costs the record, never the connection.
#[inline(always)]
pub fn open(cookie: u64, connection: &Connection) {
    if CONNECTIONS.insert(cookie, connection, u64::from(BPF_ANY)).is_err() {
        count::one(Counter::ConnectionsFull);
        return;
    }
    if let Some(counters) = counters(connection.backend_id) {
        // SAFETY: a live map value.
        count::add(unsafe { &raw mut (*counters).opened }, 1);
    }
}

/// Ends the record of a socket, if it has one. Whoever removes it counts it, so that it is counted once.
#[inline(always)]
pub fn close(cookie: u64) {
    let Some(connection) = of(cookie) else {
        return;
    };
    let backend_id = connection.backend_id;
    if CONNECTIONS.remove(cookie).is_err() {
        return;
    }
    if let Some(counters) = counters(backend_id) {
        // SAFETY: a live map value.
        count::add(unsafe { &raw mut (*counters).closed }, 1);
    }
}

/// The record of a socket.
#[inline(always)]
pub fn of(cookie: u64) -> Option<&'static Connection> {
    // SAFETY: not preallocated, so a removed value stays readable until the program ends; values are never written in place.
    unsafe { CONNECTIONS.get(cookie) }
}

/// The exchange of an unconnected socket with one backend.
#[inline(always)]
pub fn exchange(cookie: u64, addr: Addr, port: Be16) -> Option<&'static UdpReverse> {
    // SAFETY: preallocated: a value may be reused while it is read, which at worst shows one datagram's source wrongly.
    unsafe { UDP_REVERSE.get(UdpReverseKey { cookie, addr, port, pad: [0; 6] }) }
}

/// What a socket believes to talk to, when its packets go to or come from `addr` and `port`.
#[inline(always)]
pub fn frontend_of(cookie: u64, addr: Addr, port: Be16) -> Option<(Addr, Be16)> {
    if let Some(connection) = of(cookie)
        && connection.backend_addr == addr
        && connection.backend_port == port
    {
        return Some((connection.frontend_addr, connection.frontend_port));
    }
    exchange(cookie, addr, port).map(|exchange| (exchange.addr, exchange.port))
}

/// What other hooks need to know of the packets that a socket sends under `tuple`, written to `into`; `false` when it knows nothing.
#[inline(always)]
pub fn link_of(cookie: u64, tuple: &Tuple, into: &mut FlowLink) -> bool {
    if cookie == 0 {
        return false;
    }
    if let Some(connection) = of(cookie)
        && connection.backend_addr == tuple.dest_addr
        && connection.backend_port == tuple.dest_port
    {
        *into = link(connection);
        return true;
    }
    if tuple.proto != Proto::Udp as u8 {
        return false;
    }
    let Some(exchange) = exchange(cookie, tuple.dest_addr, tuple.dest_port) else {
        return false;
    };
    *into = FlowLink {
        flow_id: exchange.flow_id,
        frontend_addr: exchange.addr,
        frontend_port: exchange.port,
        pad: 0,
        service_id: exchange.service_id,
        backend_id: exchange.backend_id,
        pad2: 0,
    };
    true
}

/// A record as the other hooks see it.
#[inline(always)]
pub fn link(connection: &Connection) -> FlowLink {
    FlowLink {
        flow_id: connection.flow_id,
        frontend_addr: connection.frontend_addr,
        frontend_port: connection.frontend_port,
        pad: 0,
        service_id: connection.service_id,
        backend_id: connection.backend_id,
        pad2: 0,
    }
}

/// The counters of a backend.
#[inline(always)]
pub fn counters(backend_id: BackendId) -> Option<*mut BackendCounters> {
    BACKEND_COUNTERS.get_ptr_mut(backend_id.0)
}
