//! `cargo xtask ci`: every gate, in the order in which they are cheap.

use std::time::Instant;

use crate::{build_ebpf, deps, exec, setup, test};

/// A gate: its name and what it does.
type Gate = (&'static str, fn() -> anyhow::Result<()>);

const GATES: &[Gate] = &[
    ("format", format),
    ("dependency arrows", deps::run),
    ("kernel object", || build_ebpf::run().map(drop)),
    ("lints", lints),
    ("tests", || test::run_with(exec::linting_cargo, &[])),
];

/// Run all gates and stop at the first that fails.
pub fn run() -> anyhow::Result<()> {
    setup::run()?;
    for (name, gate) in GATES {
        let start = Instant::now();
        exec::say(&format!("gate: {name}"));
        gate().map_err(|error| error.context(format!("gate `{name}`")))?;
        exec::say(&format!("gate: {name}: passed in {} s", start.elapsed().as_secs()));
    }
    Ok(())
}

/// The programs are a workspace of their own, for another target.
fn format() -> anyhow::Result<()> {
    exec::run(exec::cargo().args(["fmt", "--all", "--check"]))?;
    let programs = exec::root().join("ebpf/programs/Cargo.toml");
    exec::run(exec::cargo().args(["fmt", "--check", "--manifest-path"]).arg(programs))
}

/// Builds all that the tests need on the way.
fn lints() -> anyhow::Result<()> {
    exec::run(exec::linting_cargo().args(["build", "--workspace"]))?;
    exec::run(exec::linting_cargo().args(["test", "--workspace", "--no-run", "--quiet"]))
}
