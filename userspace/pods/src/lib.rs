//! Pods on this node, from wanted to gone.
//!
//! In: the node's tables, what the runtime reports. Out: calls on the runtime, links, the dataplane; status and events.
//! The deciding half is pure ([`lifecycle`], [`status`], [`env`], [`specs`]); the doing half is one task per Pod
//! ([`Pods`]) and talks to others through the traits in [`ports`].
//! Refuses: knowing how containers, links or maps are made.
//!
//! ```no_run
//! # async fn example(config: beeline_pods::Config, ports: beeline_pods::ports::Ports,
//! #     tables: beeline_tables::Reader, tasks: beeline_kit::Tasks) -> Result<(), beeline_pods::StartError> {
//! let pods = beeline_pods::Pods::start(config, ports, tables, &tasks).await?;
//! pods.images_changed();
//! # Ok(())
//! # }
//! ```

mod drain;
mod driver;
pub mod env;
pub mod fields;
pub mod lifecycle;
mod manager;
mod network;
pub mod node;
mod notes;
pub mod ports;
mod probe;
pub mod specs;
pub mod status;
pub mod tokens;
pub mod volumes;
pub mod wanted;
mod words;

pub use manager::{Config, PodView, Pods, StartError};
pub use network::NodeNetwork;
pub use specs::Dns;

/// The API level that this node speaks, in the form that clients compare.
pub const KUBELET_VERSION: &str = "v1.36.0+beeline";
