//! Kubernetes objects as data: kinds, defaults, validation, selectors, patches, tables.
//!
//! In: JSON values and, where time matters, `now` as an argument. Out: JSON values, table rows, or an
//! [`status::ApiError`] in upstream's shape and words.
//! Refuses: sockets, files, clocks, runtimes and stores. Kinds are rows of data in [`kinds`]; nothing outside that
//! module knows one by name.
//!
//! ```
//! use beeline_api::kinds::Kinds;
//! let pods = Kinds::builtin().by_resource("", "v1", "pods").expect("built in");
//! assert_eq!(pods.kind, "Pod");
//! ```

pub mod cron;
pub mod custom;
pub mod decode;
pub mod expression;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod intstr;
pub mod kinds;
pub mod meta;
pub mod patch;
pub mod quantity;
pub mod quota;
pub mod selectors;
pub mod status;
pub mod table;
pub mod time;
pub mod types;
pub mod validate;

pub use kinds::{KindInfo, Kinds};
pub use status::ApiError;
