//! Namespaces, nodes and kubectl for tests: everything that a test makes, it removes when it is dropped.
//!
//! A [`Net`] is a network namespace without a default route; a [`Node`] is a real beeline process inside
//! one, with directories, a cgroup and a bpffs of its own; a [`Kubectl`] is the kubectl that is installed.

mod cluster;
mod etcd;
mod kubectl;
mod net;
mod node;
mod wait;

pub use cluster::{Cluster, URL};
pub use etcd::Etcd;
pub use kubectl::Kubectl;
pub use net::Net;
pub use node::{Node, NodeOptions, PodTraces, busybox_image};
pub use wait::{eventually, within};

use std::path::PathBuf;

/// Why the tests that need the kernel cannot run here, if they cannot. Prints it: a skip is never silent.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub fn skip() -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if which("kubectl").is_none() {
        "kubectl is not on PATH"
    } else if !beeline().exists() {
        "target/debug/beeline is not built: run `cargo xtask test`"
    } else {
        return false;
    };
    eprintln!("SKIPPED: {reason}");
    true
}

/// The binary under test, as `cargo xtask test` builds it.
pub fn beeline() -> PathBuf {
    if let Some(path) = std::env::var_os("BEELINE_BINARY") {
        return path.into();
    }
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/beeline")
}

/// Find a program on PATH.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|found| found.is_file())
}
