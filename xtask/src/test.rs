//! `cargo xtask test`: all tests there are.

use std::process::Command;

use crate::{build_ebpf, exec, setup};

/// Build the kernel object and the binary, then run the tests.
pub fn run(args: &[String]) -> anyhow::Result<()> {
    run_with(exec::cargo, args)
}

/// The same with another way to build.
pub fn run_with(cargo: fn() -> Command, args: &[String]) -> anyhow::Result<()> {
    setup::run()?;
    build_ebpf::run()?;
    if !exec::is_root() {
        exec::say(
            "not root: tests that need the kernel, namespaces or containers say that they are skipped",
        );
    }
    // The whole workspace, so that features are those of the tests and nothing is built twice.
    exec::run(cargo().args(["build", "--workspace"]))?;
    let scope: &[&str] = if args.is_empty() { &["--workspace", "--no-fail-fast"] } else { &[] };
    exec::run(cargo().arg("test").args(scope).args(args))
}
