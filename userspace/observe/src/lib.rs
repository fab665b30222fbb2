//! Kernel events to flows that name pods, Services and nodes.
//!
//! In: batches of events from the datapath's ring, and the node's tables. Out: [`Flow`] records, kept in a bounded
//! history, asked for with a [`Query`] or followed as they come. Joins an event with what the tables say at that
//! moment: a pod that is gone later keeps its name in old records. Never touches the kernel.
//!
//! ```
//! use beeline_observe::{Observer, Query};
//! let (_writer, reader) = beeline_tables::Tables::new();
//! let observer = Observer::new(reader, "node-1");
//! assert!(observer.query(&Query::default()).is_empty());
//! ```

mod flow;
mod history;
mod join;
mod observer;
mod query;
mod text;

pub use flow::{Event, Flow, L4, Peer, Service, Verdict};
pub use observer::{Follow, Observer};
pub use query::{Query, QueryError, parse_since, parse_verdict};
pub use text::{HEADINGS, cells};
