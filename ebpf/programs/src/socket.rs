//! A socket in a cgroup hook: whose it is, what it dials, and how the kernel is told otherwise.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::SockAddrContext;
use beeline_abi::{Be16, Be32, Counter, FrontendKey, NetnsOwner, Proto};

use crate::maps::NETNS;
use crate::{connection, count};

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

/// How the address in the call is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As an IPv4 address.
    Plain,
    /// As `::ffff:a.b.c.d`, which is how dual-stack sockets (Java, Node.js) dial IPv4.
    Mapped,
}

/// The third of the four words of a mapped address, in memory.
const MAPPED_PREFIX: u32 = 0xffffu32.to_be();

/// The address in the call, if its protocol is one that Services have.
#[inline(always)]
pub fn dialled(ctx: &SockAddrContext, form: Form) -> Option<FrontendKey> {
    // SAFETY: a field of the context; volatile, so that the compiler does not merge it with its neighbour.
    let proto = unsafe { (&raw const (*ctx.sock_addr).protocol).read_volatile() };
    let proto = Proto::from_raw(u8::try_from(proto).ok()?)?;
    let (addr, port) = address(ctx, form)?;
    Some(FrontendKey::new(addr, port, proto))
}

/// The address in the call: destination, source or peer, whatever the hook is about. `None` for real IPv6.
#[inline(always)]
pub fn address(ctx: &SockAddrContext, form: Form) -> Option<(Be32, Be16)> {
    let addr = match form {
        // SAFETY: as in `dialled`.
        Form::Plain => unsafe { (&raw const (*ctx.sock_addr).user_ip4).read_volatile() },
        Form::Mapped => {
            if word(ctx, 0) != 0 || word(ctx, 1) != 0 || word(ctx, 2) != MAPPED_PREFIX {
                return None;
            }
            word(ctx, 3)
        }
    };
    // SAFETY: as in `dialled`.
    let port = unsafe { (&raw const (*ctx.sock_addr).user_port).read_volatile() };
    // The port is 16 bits in network order inside 32.
    Some((Be32::from_raw(addr), Be16::from_raw(port as u16)))
}

#[inline(always)]
fn word(ctx: &SockAddrContext, index: usize) -> u32 {
    // SAFETY: as in `dialled`; every caller passes a constant below four.
    unsafe { (&raw const (*ctx.sock_addr).user_ip6).cast::<u32>().add(index).read_volatile() }
}

/// Replaces the address in the call.
#[inline(always)]
pub fn rewrite(ctx: &SockAddrContext, form: Form, addr: Be32, port: Be16) {
    match form {
        // SAFETY: a field of the context that every hook using this function may write.
        Form::Plain => unsafe { (&raw mut (*ctx.sock_addr).user_ip4).write_volatile(addr.raw()) },
        // SAFETY: as above; the last of four words.
        Form::Mapped => unsafe {
            (&raw mut (*ctx.sock_addr).user_ip6).cast::<u32>().add(3).write_volatile(addr.raw())
        },
    }
    // SAFETY: as above.
    unsafe { (&raw mut (*ctx.sock_addr).user_port).write_volatile(u32::from(port.raw())) };
}

/// Shows a backend as the frontend that the socket dialled. Only sockets of ours have records, so nobody else is touched.
#[inline(always)]
pub fn show_frontend(ctx: &SockAddrContext, form: Form) -> i32 {
    if let Some((addr, port)) = address(ctx, form)
        && let Some((addr, port)) = connection::frontend_of(cookie(ctx), addr, port)
    {
        rewrite(ctx, form, addr, port);
    }
    ALLOW
}

/// Ends the call as a closed port would: at once, with ECONNREFUSED.
#[inline(always)]
pub fn refuse() -> i32 {
    count::one(Counter::Refused);
    // SAFETY: no pointers; allowed in these hooks since kernel 5.18.
    unsafe { bpf_set_retval(-ECONNREFUSED) };
    DENY
}
