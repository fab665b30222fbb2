//! cgroup/getpeername4: a socket asks whom it is connected to. A backend shows as the frontend that was dialled.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::socket::{self, Form};

/// Entry point.
#[cgroup_sock_addr(getpeername4)]
pub fn getpeername4(ctx: SockAddrContext) -> i32 {
    socket::show_frontend(&ctx, Form::Plain)
}
