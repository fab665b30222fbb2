//! Pure packet logic: the same code runs in the kernel programs and in unit tests on the host.
//!
//! In: bytes behind [`Frame`], map values, random numbers and time as arguments. Out: parsed headers, decisions.
//! Refuses: maps, kernel calls, clocks, loops without a fixed bound, and anything that could panic.
//!
//! ```
//! use beeline_packet::parse::{Parsed, parse};
//! let arp = [0u8, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 0x08, 0x06];
//! assert_eq!(parse(&arp[..]), Ok(Parsed::Other));
//! ```
#![cfg_attr(not(any(test, feature = "fuzz")), no_std)]

pub mod balance;
pub mod checksum;
pub mod dsr;
pub mod flow;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod icmp;
pub mod link;
pub mod nat;
pub mod parse;
pub mod refuse;
pub mod snat;
pub mod track;

pub use checksum::{ChecksumChange, Diff};
pub use frame::{Frame, FrameMut};

#[cfg(test)]
mod tests;
