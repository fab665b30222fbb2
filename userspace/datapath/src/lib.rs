//! The one who loads the kernel programs and owns their maps.
//!
//! In: a bpffs, a cgroup, an instance id; snapshots of the tables; links of pods. Out: programs in force, maps that hold
//! what the snapshot says, the epoch that is in force, events and counts. Everything is pinned, so that the end of the
//! process ends no traffic; the next start adopts what it finds. Refuses to run without what it needs, and says what
//! that is; refuses a plan that does not fit before it writes the first entry.
//!
//! ```no_run
//! # async fn example(reader: beeline_tables::Reader) -> Result<(), beeline_datapath::DatapathError> {
//! use beeline_datapath::{Config, Datapath};
//! let tasks = beeline_kit::Tasks::new();
//! let config = Config::new("/sys/fs/bpf/beeline", "/sys/fs/cgroup", "0a1b2c", "node-1");
//! let datapath = Datapath::start(config, &tasks).await?;
//! datapath.follow(reader, &tasks);
//! let held = datapath.services().await?;
//! # let _ = held;
//! # Ok(())
//! # }
//! ```

mod actor;
mod bpf;
mod charged;
mod clock;
mod clsact;
mod config;
mod endpoints;
mod error;
mod events;
mod features;
mod kernel;
mod layout;
mod load;
mod logs;
mod maps;
mod pins;
mod programs;
mod shared;
mod tracking;
mod uplinks;
mod view;

pub use actor::Datapath;
pub use beeline_compile::Usage;
pub use charged::charged_bytes;
pub use config::{Config, Edge, EndpointAttach, LbMode, LinkHook, SNAT_PORTS, Sizes};
pub use error::DatapathError;
pub use events::EventBatch;
pub use features::{Feature, State, features};
pub use kernel::InForce;
pub use load::embedded;
pub use pins::cleanup;
pub use view::{BackendView, Held, ServiceView, UsageView};
