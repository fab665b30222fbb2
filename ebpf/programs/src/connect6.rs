//! cgroup/connect6: an IPv6 socket connects. What it dials as `::ffff:a.b.c.d` is an IPv4 frontend to the kernel and to us.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::connect4::connect;
use crate::socket::Form;

/// Entry point.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect(&ctx, Form::Six)
}
