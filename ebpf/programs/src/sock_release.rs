//! cgroup/sock_release: a socket is closed, also by the end of its process. Its record ends with it.

use aya_ebpf::macros::cgroup_sock;
use aya_ebpf::programs::SockContext;

use crate::{connection, socket};

/// Entry point.
#[cgroup_sock(sock_release)]
pub fn sock_release(ctx: SockContext) -> i32 {
    connection::close(socket::cookie(&ctx));
    socket::ALLOW
}
