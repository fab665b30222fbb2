//! cgroup/sendmsg6: an unconnected IPv6 socket sends a datagram.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::sendmsg4::send;
use crate::socket::Form;

/// Entry point.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(ctx: SockAddrContext) -> i32 {
    send(&ctx, Form::Six)
}
