//! Host tests; one module for each of the crate's own.

mod balance;
mod flow;
