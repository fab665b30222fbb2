//! cgroup/connect6: a dual-stack socket connects to `::ffff:a.b.c.d`. The kernel speaks IPv4 from here on; so does connect4's code.
//! Real IPv6 passes.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::connect4::connect;
use crate::socket::Form;

/// Entry point.
#[cgroup_sock_addr(connect6)]
pub fn connect6(ctx: SockAddrContext) -> i32 {
    connect(&ctx, Form::Mapped)
}
