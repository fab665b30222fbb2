//! Kernel events to flows that people can read.
//!
//! In: events of the kernel and the tables. Out: [`Flow`]s with the names of Pods, Services and nodes as they were when
//! the packet passed, kept in a bounded ring, queried and followed; one-line text for the command line. Never touches
//! the kernel, and never blocks whoever delivers events: a follower that lags is told how much it missed.
//!
//! ```
//! use beeline_observe::{Observer, Query};
//! use beeline_tables::NodeName;
//!
//! let observer = Observer::new(NodeName("n1".into()));
//! observer.record(0, &[]);
//! assert!(observer.flows(&Query::default()).is_empty());
//! ```
#![forbid(unsafe_code)]

mod flow;
mod join;
mod names;
mod observer;
mod query;
mod text;

pub use flow::{Direction, Event, Flow, Ip, L4, Peer, PeerKind, ServiceRef, Verdict};
pub use names::Names;
pub use observer::{FLOWS_KEPT, Followed, Observer, Subscription};
pub use query::{BadQuery, Query};
pub use text::{Layout, columns};
