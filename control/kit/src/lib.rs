//! Process plumbing: clock, back-off, owned tasks, the reconcile driver and telemetry.
//!
//! In: durations, names and futures. Out: running tasks that always have an owner and an end.
//! Refuses: detached tasks, and anything that knows what beeline is about.
//!
//! ```
//! # async fn example() {
//! use std::time::Duration;
//! let tasks = beeline_kit::Tasks::new();
//! let token = tasks.token();
//! tasks.spawn("wait-for-the-end", async move { token.cancelled().await });
//! tasks.stop(Duration::from_secs(1)).await;
//! # }
//! ```

mod backoff;
mod chain;
mod clock;
mod reconcile;
mod tasks;
pub mod telemetry;

pub use backoff::Backoff;
pub use chain::chain;
pub use clock::{Clock, FakeClock, SystemClock};
pub use reconcile::reconcile_loop;
pub use tasks::Tasks;
pub use tokio_util::sync::CancellationToken;
