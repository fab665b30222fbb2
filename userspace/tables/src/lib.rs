//! The node's intended state: one writer, cheap snapshots.
//!
//! In: batches of changes from the line to control, each with an epoch. Out: immutable snapshots that
//! readers hold as long as they like, and the difference between two of them at the cost of what
//! changed. Never touches the kernel, the network or a clock.
//!
//! ```
//! use beeline_tables::{Change, Epoch, Tables};
//!
//! let (mut writer, reader) = Tables::new();
//! writer.apply(Epoch(1), vec![]);
//! assert_eq!(reader.snapshot().epoch, Epoch(1));
//! ```

mod diff;
mod model;
mod writer;

pub use diff::{Diff, Difference};
pub use model::{
    Backend, EndpointIdentity, Epoch, Hints, Identity, NodeAddress, NodeName, ObjectKey,
    ObjectName, PodIntent, Protocol, Referenced, Service, ServicePort, ServiceType, Slice,
    SlicePort, TrafficPolicy,
};
pub use writer::{Change, Reader, Slices, Snapshot, Tables, Writer};
