//! Host tests; one module for each of the crate's own.

mod balance;
mod corpus;
mod dsr;
mod flow;
mod frames;
mod icmp;
mod nat;
mod parse;
mod properties;
mod refuse;
mod track;
