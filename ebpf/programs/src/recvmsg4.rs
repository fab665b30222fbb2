//! cgroup/recvmsg4: a socket asks who sent a datagram. A backend shows as the frontend that was dialled.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::socket::{self, Form};

/// Entry point.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    socket::show_frontend(&ctx, Form::Plain)
}
