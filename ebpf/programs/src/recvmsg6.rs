//! cgroup/recvmsg6: a socket asks who sent a datagram. A backend shows as the frontend that was dialled.
//! Here the socket is a dual-stack one and the address `::ffff:a.b.c.d`; real IPv6 passes.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::socket::{self, Form};

/// Entry point.
#[cgroup_sock_addr(recvmsg6)]
pub fn recvmsg6(ctx: SockAddrContext) -> i32 {
    socket::show_frontend(&ctx, Form::Six)
}
