//! Pure: what a node knows of the cluster, turned into entries of kernel maps.
//!
//! In: a snapshot of the tables and facts that only this node knows (its addresses, its attached pods). Out: a [`Plan`],
//! the few writes that bring the maps from what they hold to what they should hold, in an order that is safe for
//! readers. Never touches the kernel, a clock or a file.
//!
//! ```
//! use beeline_compile::{Compiler, Entries, Facts, Limits};
//! use beeline_tables::Snapshot;
//!
//! let mut compiler = Compiler::adopt(&Entries::default(), Limits::default());
//! let plan = compiler.update(&Snapshot::default(), &Facts::default());
//! assert_eq!(plan.writes(), 0);
//! ```
#![forbid(unsafe_code)]

mod candidates;
mod compiler;
mod entries;
mod facts;
mod host_ports;
mod maglev;
mod places;
mod plan;
mod ports;
mod runs;
mod shown;

pub use compiler::Compiler;
pub use entries::{Entries, Limits, Run, SourceRange, Usage};
pub use facts::{Attached, Facts};
pub use plan::{Gone, Overflow, Plan};
pub use ports::{Audience, PortKey};

#[cfg(test)]
mod tests;
