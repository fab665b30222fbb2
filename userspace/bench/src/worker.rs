//! A process of its own inside a namespace and cgroup, that does as it is told: a client, a server, an agent.
//!
//! In: one order in each line of its input, as JSON. Out: one answer in each line of its output. It ends with the process
//! that started it. Works in one thread, so that the order of things is plain; servers have threads of their own.

mod agent;
mod client;
mod protocol;
mod serve;
mod server;
mod start;

pub use protocol::{AgentPlace, Answer, Latency, Order};
pub use serve::{pin, serve};
pub use start::{ARGUMENT, Launcher, Worker};
