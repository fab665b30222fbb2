//! Measures the proxy beside its peers on this host.
//!
//! In: sizes, modes, how thorough to be. Out: figures with their spread, as values, JSON and a page with plots.
//! Works in network namespaces of its own and leaves nothing behind. Refuses to touch the network of the caller.
//!
//! ```
//! use beeline_bench::rules::{iptables, sample};
//! let text = iptables::load(&sample::cluster(3, 2));
//! assert!(text.contains(":KUBE-SERVICES - [0:0]"));
//! ```

mod error;
mod figure;
mod flood;
mod measure;
mod mode;
mod options;
mod report;
pub mod rules;
pub mod worker;
mod world;

pub use error::BenchError;
pub use figure::{Better, Figure, Kind, Ratio};
pub use measure::{Progress, run};
pub use mode::ModeName;
pub use options::{Options, Profile};
pub use report::{Conditions, Gate, Regression, Report, Skipped, Table};
