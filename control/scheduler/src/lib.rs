//! Pure placement with reasons, and its loop.
//!
//! In: Pods that have no node, and what the cluster looks like. Out: bindings, and for those that fit
//! nowhere, why, in upstream's words. [`decide`] is pure; [`start`] reads, decides, binds and reports.
//! Refuses: changing its mind about a Pod once bound, and anything about how Pods run.

mod decide;
mod events;
mod filter;
mod run;
mod score;
mod snapshot;
#[cfg(test)]
mod tests;

pub use decide::{Decision, decide};
pub use filter::Reason;
pub use run::start;
pub use score::Score;
pub use snapshot::{NodeState, Resources, Snapshot};
