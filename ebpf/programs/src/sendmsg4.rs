//! cgroup/sendmsg4: an unconnected socket sends a datagram. Translated each time, to the same backend while the list stays.
//! A dual-stack socket that sends to a mapped address arrives here too.

use aya_ebpf::bindings::BPF_ANY;
use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use beeline_abi::{Counter, FlowId, FrontendKey, Hook, UdpReverse, UdpReverseKey};

use crate::call::{self, Choice};
use crate::maps::UDP_REVERSE;
use crate::service::Target;
use crate::socket::{self, Caller, Form};
use crate::{connection, count, events};

/// Entry point.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(ctx: SockAddrContext) -> i32 {
    send(&ctx, Form::Plain)
}

/// The whole of it, for sendmsg6 too.
#[inline(always)]
pub fn send(ctx: &SockAddrContext, form: Form) -> i32 {
    let Some(caller) = socket::caller(ctx) else {
        return socket::ALLOW;
    };
    let Some(dialled) = socket::dialled(ctx, form) else {
        return socket::ALLOW;
    };
    match call::choose(&dialled, &caller, Choice::BySocket) {
        Ok(None) => socket::ALLOW,
        Ok(Some(target)) => translate(ctx, form, &caller, &dialled, &target),
        Err(refusal) => {
            let (reason, service_id) = (refusal.reason, refusal.service_id);
            call::tell_refused(Hook::Sendmsg, &caller, &dialled, reason, service_id);
            socket::refuse(reason)
        }
    }
}

#[inline(always)]
fn translate(
    ctx: &SockAddrContext,
    form: Form,
    caller: &Caller,
    dialled: &FrontendKey,
    target: &Target,
) -> i32 {
    let known = connection::exchange(caller.cookie, target.backend.addr, target.backend.port);
    if !known.is_some_and(|exchange| exchange.addr == dialled.addr && exchange.port == dialled.port)
    {
        begin(caller, dialled, target);
    }
    socket::rewrite(ctx, form, target.backend.addr, target.backend.port);
    socket::ALLOW
}

/// The first datagram of an exchange: remembers what the replies have to look like.
#[inline(always)]
fn begin(caller: &Caller, dialled: &FrontendKey, target: &Target) {
    let flow_id = events::fresh_flow_id();
    // SAFETY: no arguments, callable from every program type.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let key = UdpReverseKey {
        cookie: caller.cookie,
        addr: target.backend.addr,
        port: target.backend.port,
        pad: [0; 6],
    };
    if UDP_REVERSE.insert(key, exchange(dialled, target, flow_id), u64::from(BPF_ANY)).is_err() {
        count::one(Counter::UdpReverseFull);
    }
    call::tell_translated(Hook::Sendmsg, caller, dialled, target, flow_id, now_ns);
}

#[inline(always)]
fn exchange(dialled: &FrontendKey, target: &Target, flow_id: FlowId) -> UdpReverse {
    UdpReverse {
        flow_id,
        addr: dialled.addr,
        port: dialled.port,
        pad: 0,
        service_id: target.service_id,
        backend_id: target.backend_id,
        pad2: 0,
    }
}
