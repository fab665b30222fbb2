//! Images, root filesystems and processes of pods, without a daemon.
//!
//! In: image archives and specifications of sandboxes and containers. Out: running processes that outlive their agent, their
//! exit facts, and log files in the CRI format.
//! Refuses: networking beyond an empty namespace with `lo` up (links come from outside, by the sandbox's pid), pulling from
//! registries, seccomp profiles (containers run unconfined, upstream's default) and terminals.
//!
//! - [`runtime`]: the contract, trait [`Runtime`] and its types.
//! - [`embedded`]: the backend that starts one small shim process per pod and adopts those it finds.
//! - [`shim`]: that process: [`shim_main`].
//! - [`image`]: the content-addressed store, import and build of archives.
//! - [`logs`]: writing and reading CRI log files.

pub mod embedded;
pub mod image;
pub mod logs;
mod rooted;
pub mod runtime;
pub mod shim;

pub use embedded::Embedded;
pub use image::ImageStore;
pub use runtime::Runtime;
pub use shim::shim_main;
