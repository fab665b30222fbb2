//! `cargo xtask run`, `demo` and `bench`: build everything in release mode, then become the program.

use std::process::Command;

use anyhow::Context as _;

use crate::{build_ebpf, exec, setup};

/// A benchmark of the binary.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Bench {
    /// Time to Ready, to a running Deployment, idle memory and processor time
    Boot,
    /// Connect latency through a Service beside the direct one
    Connect,
    /// The proxy beside iptables and nftables
    Proxy,
    /// Durable writes of the embedded store beside the disk's own limit
    Store,
    /// The API over HTTPS: creates beside etcd's own, reads, lists, watches, restart with many objects
    Api,
}

/// Build all and run one of the binary's commands in place of this process.
pub fn beeline(command: &str, args: &[String]) -> anyhow::Result<()> {
    let binary = build()?;
    Err(exec::replace(Command::new(binary).arg(command).args(args)))
}

/// Build all and run a benchmark.
pub fn bench(name: Bench, args: &[String]) -> anyhow::Result<()> {
    let name = match name {
        Bench::Boot => "boot",
        Bench::Connect => "connect",
        Bench::Proxy => "proxy",
        Bench::Store => return bench_control("beeline-store", args),
        Bench::Api => return bench_control("beeline-apiserver", args),
    };
    let binary = build()?;
    Err(exec::replace(Command::new(binary).args(["bench", name]).args(args)))
}

fn build() -> anyhow::Result<std::path::PathBuf> {
    setup::run()?;
    build_ebpf::run()?;
    exec::say("building beeline (release)");
    exec::run(exec::cargo().args(["build", "--release", "-p", "beeline"]))?;
    Ok(exec::root().join("target/release/beeline"))
}

/// What is of control alone needs neither kernel object nor root.
fn bench_control(package: &str, args: &[String]) -> anyhow::Result<()> {
    let folder = exec::root().join("target").join(format!("bench-{package}"));
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut command = exec::cargo();
    command
        .args(["run", "--release", "-p", package, "--example", "bench", "--"])
        .arg(&folder)
        .args(args);
    let outcome = exec::run(&mut command);
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}
