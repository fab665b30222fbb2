//! A socket in a cgroup hook: whose it is, what it dials, and how the kernel is told otherwise.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::{bpf_get_netns_cookie, bpf_get_socket_cookie, bpf_set_retval};
use aya_ebpf::programs::SockAddrContext;
use beeline_abi::{
    Addr, Be16, Be32, CONFIG_EVERY_CALLER, Counter, DropReason, FrontendKey, NetnsOwner, Proto,
};

use crate::maps::NETNS;
use crate::{connection, count, node};

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
    /// The cookie of its network namespace.
    pub netns: u64,
    /// Who lives there; nobody known, where others make the pods.
    pub owner: NetnsOwner,
}

/// Who calls; `None` for a network namespace that is not this agent's, which is left alone.
#[inline(always)]
pub fn caller(ctx: &SockAddrContext) -> Option<Caller> {
    // SAFETY: the context is the one the kernel passed to this program.
    let netns = unsafe { bpf_get_netns_cookie(ctx.as_ptr()) };
    // SAFETY: the map is not preallocated, so a removed value stays readable until the program ends.
    let owner = match unsafe { NETNS.get(netns) } {
        Some(owner) => *owner,
        None if node::has(CONFIG_EVERY_CALLER) => NetnsOwner::default(),
        None => return None,
    };
    Some(Caller { cookie: cookie(ctx), netns, owner })
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
    /// As an IPv6 address; `::ffff:a.b.c.d` is how dual-stack sockets (Java, Node.js) dial IPv4.
    Six,
}

/// The address in the call, if its protocol is one that Services have.
#[inline(always)]
pub fn dialled(ctx: &SockAddrContext, form: Form) -> Option<FrontendKey> {
    // SAFETY: a field of the context; volatile, so that the compiler does not merge it with its neighbour.
    let proto = unsafe { (&raw const (*ctx.sock_addr).protocol).read_volatile() };
    let proto = Proto::from_raw(u8::try_from(proto).ok()?)?;
    let (addr, port) = address(ctx, form);
    Some(FrontendKey::new(addr, port, proto))
}

/// The address in the call: destination, source or peer, whatever the hook is about.
#[inline(always)]
pub fn address(ctx: &SockAddrContext, form: Form) -> (Addr, Be16) {
    let addr = match form {
        // SAFETY: as in `dialled`.
        Form::Plain => Addr::v4(Be32::from_raw(unsafe {
            (&raw const (*ctx.sock_addr).user_ip4).read_volatile()
        })),
        Form::Six => Addr::from_words([word(ctx, 0), word(ctx, 1), word(ctx, 2), word(ctx, 3)]),
    };
    // SAFETY: as in `dialled`.
    let port = unsafe { (&raw const (*ctx.sock_addr).user_port).read_volatile() };
    // The port is 16 bits in network order inside 32.
    (addr, Be16::from_raw(port as u16))
}

#[inline(always)]
fn word(ctx: &SockAddrContext, index: usize) -> u32 {
    // SAFETY: as in `dialled`; every caller passes a constant below four.
    unsafe { (&raw const (*ctx.sock_addr).user_ip6).cast::<u32>().add(index).read_volatile() }
}

/// Replaces the address in the call.
#[inline(always)]
pub fn rewrite(ctx: &SockAddrContext, form: Form, addr: Addr, port: Be16) {
    match form {
        // SAFETY: a field of the context that every hook using this function may write.
        Form::Plain => unsafe {
            (&raw mut (*ctx.sock_addr).user_ip4).write_volatile(addr.last_word().raw())
        },
        Form::Six => {
            let [first, second, third, last] = addr.words();
            set_word(ctx, 0, first);
            set_word(ctx, 1, second);
            set_word(ctx, 2, third);
            set_word(ctx, 3, last);
        }
    }
    // SAFETY: as above.
    unsafe { (&raw mut (*ctx.sock_addr).user_port).write_volatile(u32::from(port.raw())) };
}

#[inline(always)]
fn set_word(ctx: &SockAddrContext, index: usize, word: u32) {
    // SAFETY: as in `rewrite`; every caller passes a constant below four.
    unsafe { (&raw mut (*ctx.sock_addr).user_ip6).cast::<u32>().add(index).write_volatile(word) };
}

/// Shows a backend as the frontend that the socket dialled. Only sockets of ours have records, so nobody else is touched.
#[inline(always)]
pub fn show_frontend(ctx: &SockAddrContext, form: Form) -> i32 {
    let (addr, port) = address(ctx, form);
    if let Some((addr, port)) = connection::frontend_of(cookie(ctx), addr, port) {
        rewrite(ctx, form, addr, port);
    }
    ALLOW
}

/// Ends the call: as a closed port would, at once, with ECONNREFUSED; a caller whom the Service does not admit with EPERM.
#[inline(always)]
pub fn refuse(reason: DropReason) -> i32 {
    count::one(Counter::Refused);
    if !matches!(reason, DropReason::SourceRange) {
        // SAFETY: no pointers; allowed in these hooks since kernel 5.18.
        unsafe { bpf_set_retval(-ECONNREFUSED) };
    }
    DENY
}
