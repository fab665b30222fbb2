//! Answers load balancers that ask whether this node serves.
//!
//! In: the tables, and whether the dataplane is well. Out: an HTTP server on each health-check port of a Service with
//! external policy Local, opened and closed as Services come and go, that says how many of the Service's ready endpoints
//! are on this node. A port that is taken is reported and tried again. Listens in the network namespace of the process.
//! Never touches the kernel's maps, and counts as kube-proxy does: what is ready, not what would still serve.
//!
//! ```no_run
//! # async fn example(reader: beeline_tables::Reader) {
//! use beeline_healthcheck::{Config, HealthChecks};
//! use beeline_tables::NodeName;
//! let tasks = beeline_kit::Tasks::new();
//! let refused = HealthChecks::start(Config::new(NodeName("node-1".into())), reader, &tasks);
//! # drop(refused);
//! # }
//! ```

mod answer;
mod checks;
mod http_server;
mod listen;

pub use http_server::{Answer, Ask, serve};
pub use listen::{Addresses, Config, HealthChecks, Refusal, Refusals, bind};
