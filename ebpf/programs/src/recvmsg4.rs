//! cgroup/recvmsg4: a socket asks who sent a datagram. A backend shows as the frontend that was dialled.

use aya_ebpf::macros::cgroup_sock_addr;
use aya_ebpf::programs::SockAddrContext;

use crate::{connection, socket};

/// Entry point. Only sockets of ours have records, so nobody else is touched.
#[cgroup_sock_addr(recvmsg4)]
pub fn recvmsg4(ctx: SockAddrContext) -> i32 {
    let (addr, port) = socket::address(&ctx);
    if let Some((addr, port)) = connection::frontend_of(socket::cookie(&ctx), addr, port) {
        socket::rewrite(&ctx, addr, port);
    }
    socket::ALLOW
}
