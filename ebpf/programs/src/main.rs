//! The kernel programs, one file per hook. See `ebpf/README.md` for the packet's way.
//!
//! In: contexts from the kernel, maps that user space fills. Out: verdicts, counts, events.
//! Refuses: silent drops, and touching callers that are not this agent's.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch, core_intrinsics)]
#![expect(internal_features, reason = "only the compiler can say whether it knows a number")]

mod call;
mod connect4;
mod connect6;
mod connection;
mod conntrack;
mod count;
mod direct;
mod driver;
mod dsr;
mod edge;
mod endpoint;
mod events;
mod flows;
mod fragments;
mod from_outside;
mod from_pod;
mod getpeername4;
mod getpeername6;
mod maps;
mod neighbours;
mod node;
mod outside;
mod recvmsg4;
mod recvmsg6;
mod refusal;
mod route;
mod sendmsg4;
mod sendmsg6;
mod service;
mod skb;
mod sock_ops;
mod sock_release;
mod socket;
mod to_outside;
mod to_pod;

/// Never reached: nothing in here can panic, and the verifier would refuse a loop that could run.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel offers the helpers used here only to programs under its own licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
