//! sock_ops: the life of TCP sockets. Joins a translated socket with its packets, and measures it.
//!
//! The source port exists only from here on, which is why connect4 cannot write the link.
//! When the connection closes its socket is long released, which is why the link names the backend.

use aya_ebpf::bindings::{
    BPF_ANY, BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG,
    BPF_SOCK_OPS_TCP_CONNECT_CB, BPF_TCP_CLOSE,
};
use aya_ebpf::macros::sock_ops;
use aya_ebpf::programs::SockOpsContext;
use beeline_abi::{Addr, BackendCounters, Be16, Be32, Counter, Proto, Tuple};

use crate::maps::FLOW_LINKS;
use crate::{connection, count, socket};

/// Entry point; its result means nothing for the operations used here.
#[sock_ops]
pub fn sock_ops(ctx: SockOpsContext) -> u32 {
    match ctx.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connecting(&ctx),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(&ctx),
        BPF_SOCK_OPS_STATE_CB if ctx.arg(1) == BPF_TCP_CLOSE => closed(&ctx),
        _ => {}
    }
    1
}

/// The SYN is about to leave. Asks for a call when the state changes, but only for translated sockets.
#[inline(always)]
fn connecting(ctx: &SockOpsContext) {
    let Some(connection) = connection::of(socket::cookie(ctx)) else {
        return;
    };
    if FLOW_LINKS.insert(tuple(ctx), connection::link(connection), u64::from(BPF_ANY)).is_err() {
        count::one(Counter::LinksFull);
    }
    // Without the call the bytes of this connection stay uncounted; nothing else depends on it.
    let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
}

/// The handshake has measured the first round trip.
#[inline(always)]
fn established(ctx: &SockOpsContext) {
    let Some(connection) = connection::of(socket::cookie(ctx)) else {
        return;
    };
    if let Some(counters) = connection::counters(connection.backend_id) {
        sample_rtt(ctx, counters);
    }
}

#[inline(always)]
fn closed(ctx: &SockOpsContext) {
    // SAFETY: preallocated: a value may be reused while it is read, which at worst counts bytes for another backend.
    let Some(link) = (unsafe { FLOW_LINKS.get(tuple(ctx)) }) else {
        return;
    };
    let Some(counters) = connection::counters(link.backend_id) else {
        return;
    };
    // SAFETY: a field of the context.
    let sent = unsafe { (&raw const (*ctx.ops).bytes_acked).read_volatile() };
    // SAFETY: a field of the context.
    let received = unsafe { (&raw const (*ctx.ops).bytes_received).read_volatile() };
    // SAFETY: a live map value.
    count::add(unsafe { &raw mut (*counters).tx_bytes }, sent);
    // SAFETY: a live map value.
    count::add(unsafe { &raw mut (*counters).rx_bytes }, received);
    sample_rtt(ctx, counters);
}

#[inline(always)]
fn sample_rtt(ctx: &SockOpsContext, counters: *mut BackendCounters) {
    // SAFETY: a field of the context.
    let scaled = unsafe { (&raw const (*ctx.ops).srtt_us).read_volatile() };
    if scaled == 0 {
        return;
    }
    // The kernel keeps eight times the smoothed time.
    // SAFETY: a live map value.
    count::add(unsafe { &raw mut (*counters).rtt_sum_us }, u64::from(scaled >> 3));
    // SAFETY: a live map value.
    count::add(unsafe { &raw mut (*counters).rtt_samples }, 1);
}

/// The packets' addresses. Of the ports, the kernel gives the local one as a number and the remote one in network order.
#[inline(always)]
fn tuple(ctx: &SockOpsContext) -> Tuple {
    let (source_addr, dest_addr) = addresses(ctx);
    Tuple {
        source_addr,
        dest_addr,
        source_port: Be16::from_host(ctx.local_port() as u16),
        dest_port: Be16::from_host(u32::from_be(ctx.remote_port()) as u16),
        proto: Proto::Tcp as u8,
        pad: [0; 3],
    }
}

/// Ours and theirs. An IPv6 socket that speaks IPv4 has mapped addresses, which are the same to us.
#[inline(always)]
fn addresses(ctx: &SockOpsContext) -> (Addr, Addr) {
    const AF_INET: u32 = 2;
    if ctx.family() == AF_INET {
        return (
            Addr::v4(Be32::from_raw(ctx.local_ip4())),
            Addr::v4(Be32::from_raw(ctx.remote_ip4())),
        );
    }
    let local = |index| {
        // SAFETY: fields of the context; every index is a constant below four.
        unsafe { (&raw const (*ctx.ops).local_ip6).cast::<u32>().add(index).read_volatile() }
    };
    let remote = |index| {
        // SAFETY: as above.
        unsafe { (&raw const (*ctx.ops).remote_ip6).cast::<u32>().add(index).read_volatile() }
    };
    (
        Addr::from_words([local(0), local(1), local(2), local(3)]),
        Addr::from_words([remote(0), remote(1), remote(2), remote(3)]),
    )
}
