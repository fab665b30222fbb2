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
#![cfg_attr(not(test), no_std)]

pub mod balance;
pub mod flow;
mod frame;
pub mod link;
pub mod parse;

pub use frame::Frame;

#[cfg(test)]
mod tests;
