//! One packet, or one socket, through one kernel program: verdict, bytes, counters, events.
//!
//! In: the built object (`cargo xtask build-ebpf`) and root. Out: a [`Kernel`] with loaded programs and typed maps,
//! a [`Pods`] world of namespaces, a [`Cgroup`] of our own. Refuses to touch any namespace or cgroup it did not make.

mod cgroup;
pub mod frame;
mod kernel;
mod pods;
pub mod record;
pub mod wire;

use std::path::PathBuf;

pub use cgroup::Cgroup;
pub use kernel::{Kernel, Sum};
pub use pods::{Pod, Pods};
pub use wire::Packet;

/// Where `cargo xtask build-ebpf` leaves the object.
pub fn object() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/bpf/beeline.o")
}

/// Why the tests cannot run here, if they cannot; printed, because a skip is never silent.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn skip() -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "needs root"
    } else if !object().is_file() {
        "target/bpf/beeline.o is not built: run `cargo xtask build-ebpf`"
    } else {
        return false;
    };
    eprintln!("skipped: {reason}");
    true
}
