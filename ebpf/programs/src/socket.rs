//! A socket in a cgroup hook: whose it is, what it dials, and how the kernel is told otherwise.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::SockAddrContext;
use beeline_abi::{Be16, Be32, Counter, FrontendKey, NetnsOwner, Proto};

use crate::count;
use crate::maps::NETNS;

/// The hook lets the call go on.
pub const ALLOW: i32 = 1;
/// The hook ends the call with the errno that was set.
const DENY: i32 = 0;
const ECONNREFUSED: i32 = 111;

/// A caller that is ours.
#[derive(Clone, Copy)]
pub struct Caller {
    /// The socket.
    pub cookie: u64,
    /// Who lives in its network namespace.
    pub owner: NetnsOwner,
}

/// Who calls; `None` for a network namespace that is not this agent's, which is left alone.
#[inline(always)]
pub fn caller(ctx: &SockAddrContext) -> Option<Caller> {
    // SAFETY: the context is the one the kernel passed to this program.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    // SAFETY: the map is not preallocated, so a removed value stays readable until the program ends.
    let owner = unsafe { NETNS.get(netns) }?;
    Some(Caller { cookie: cookie(ctx), owner: *owner })
}

/// The socket's number for its whole life.
#[inline(always)]
pub fn cookie<C: EbpfContext>(ctx: &C) -> u64 {
    // SAFETY: the context is the one the kernel passed to this program.
    unsafe { bpf_get_socket_cookie(ctx.as_ptr()) }
}

/// The address in the call, if its protocol is one that Services have.
#[inline(always)]
pub fn dialled(ctx: &SockAddrContext) -> Option<FrontendKey> {
    // SAFETY: a field of the context; volatile, so that the compiler does not merge it with its neighbour.
    let proto = unsafe { (&raw const (*ctx.sock_addr).protocol).read_volatile() };
    let proto = Proto::from_raw(u8::try_from(proto).ok()?)?;
    let (addr, port) = address(ctx);
    Some(FrontendKey::new(addr, port, proto))
}

/// The address in the call: destination, source or peer, whatever the hook is about.
#[inline(always)]
pub fn address(ctx: &SockAddrContext) -> (Be32, Be16) {
    // SAFETY: as in `dialled`.
    let addr = unsafe { (&raw const (*ctx.sock_addr).user_ip4).read_volatile() };
    // SAFETY: as in `dialled`.
    let port = unsafe { (&raw const (*ctx.sock_addr).user_port).read_volatile() };
    // The port is 16 bits in network order inside 32.
    (Be32::from_raw(addr), Be16::from_raw(port as u16))
}

/// Replaces the address in the call.
#[inline(always)]
pub fn rewrite(ctx: &SockAddrContext, addr: Be32, port: Be16) {
    // SAFETY: a field of the context that every hook using this function may write.
    unsafe { (&raw mut (*ctx.sock_addr).user_ip4).write_volatile(addr.raw()) };
    // SAFETY: as above.
    unsafe { (&raw mut (*ctx.sock_addr).user_port).write_volatile(u32::from(port.raw())) };
}

/// Ends the call as a closed port would: at once, with ECONNREFUSED.
#[inline(always)]
pub fn refuse() -> i32 {
    count::one(Counter::Refused);
    // SAFETY: no pointers; allowed in these hooks since kernel 5.18.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    DENY
}
