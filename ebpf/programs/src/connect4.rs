//! cgroup/connect4: a TCP or UDP socket connects. A Service frontend is translated here, once for the whole connection.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;
use aya_log_ebpf::warn;
use beeline_abi::{Connection, DropReason, FlowId, FrontendKey, Hook};

use crate::call::{self, Choice};
use crate::service::Target;
use crate::socket::{self, Caller, Form};
use crate::{connection, events};

/// Entry point.
#[cgroup_sock_addr(connect4)]
pub fn connect4(ctx: SockAddrContext) -> i32 {
    connect(&ctx, Form::Plain)
}

/// The whole of it, for connect6 too.
#[inline(always)]
pub fn connect(ctx: &SockAddrContext, form: Form) -> i32 {
    let Some(caller) = socket::caller(ctx) else {
        return socket::ALLOW;
    };
    // A datagram socket may connect again, and a failed connect may be repeated: the earlier record ends first.
    connection::close(caller.cookie);
    let Some(dialled) = socket::dialled(ctx, form) else {
        return socket::ALLOW;
    };
    match call::choose(&dialled, &caller, Choice::of(&dialled)) {
        Ok(None) => socket::ALLOW,
        Ok(Some(target)) => translate(ctx, form, &caller, &dialled, &target),
        Err(refusal) => {
            let (reason, service_id) = (refusal.reason, refusal.service_id);
            if matches!(reason, DropReason::BackendMissing) {
                warn!(ctx, "service {} names a backend that is not in the maps", service_id.0);
            }
            call::tell_refused(Hook::Connect, &caller, &dialled, reason, service_id);
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
    let flow_id = events::fresh_flow_id();
    // SAFETY: no arguments, callable from every program type.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    connection::open(caller.cookie, &record(caller, dialled, target, flow_id, now_ns));
    socket::rewrite(ctx, form, target.backend.addr, target.backend.port);
    call::tell_translated(Hook::Connect, caller, dialled, target, flow_id, now_ns);
    socket::ALLOW
}

#[inline(always)]
fn record(
    caller: &Caller,
    dialled: &FrontendKey,
    target: &Target,
    flow_id: FlowId,
    now_ns: u64,
) -> Connection {
    Connection {
        flow_id,
        opened_ns: now_ns,
        frontend_addr: dialled.addr,
        backend_addr: target.backend.addr,
        frontend_port: dialled.port,
        backend_port: target.backend.port,
        source_addr: caller.owner.addr_like(dialled.addr),
        source_identity: caller.owner.identity,
        backend_id: target.backend_id,
        service_id: target.service_id,
        proto: dialled.proto,
        pad: [0; 7],
    }
}
