//! `cargo xtask kernel-test`: the tests of the dataplane under other kernels, in virtual machines.
//!
//! In: Debian's kernels, the test binaries, the kernel object. Out: every test's result on every kernel, and the record of
//! verified instructions (`ebpf/verified.txt`) compared or rewritten. Installs no kernel and changes nothing on this
//! machine: all of it lies in `target/kernels`. Software emulation, so that it runs where there is no KVM.

mod console;
mod image;
mod initramfs;
mod machine;
mod suite;

use std::{fs, path::Path, time::Duration};

use anyhow::{Context as _, bail};

use crate::{build_ebpf, exec, setup};
use console::Outcome;
use image::Image;
use suite::Suite;

/// Kernels that are tested unless others are named: one without tcx, one with it.
const KERNELS: [&str; 2] = ["6.1", "6.12"];
/// The record, relative to the workspace.
const RECORD: &str = "ebpf/verified.txt";
/// A variable that makes the test of the record write it.
const REWRITE: &str = "BEELINE_REWRITE";

/// What is asked of `kernel-test`.
#[derive(clap::Args)]
pub struct Options {
    /// Kernels to boot, by the first two numbers of their version
    #[arg(default_values = KERNELS)]
    kernels: Vec<String>,
    /// Write what was measured into ebpf/verified.txt, for this machine's kernel, too
    #[arg(long)]
    rewrite: bool,
    /// Only tests whose name contains this
    #[arg(long)]
    filter: Option<String>,
    /// Longest time for one kernel, in seconds
    #[arg(long, default_value_t = 1800)]
    limit: u64,
}

/// Boot each kernel and run the tests there.
pub fn run(options: &Options) -> anyhow::Result<()> {
    setup::run_with(setup::EMULATOR)?;
    build_ebpf::run()?;
    let suite = Suite::build()?;
    if options.rewrite {
        exec::run(suite.record_on_host()?.env(REWRITE, "1"))?;
    }
    let folder = exec::root().join("target/kernels");
    fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let mut failed = Vec::new();
    for kernel in &options.kernels {
        let outcome = boot(&folder, kernel, &suite, options)
            .with_context(|| format!("test on kernel {kernel}"))?;
        exec::say(&format!("kernel {kernel}: {outcome}"));
        if options.rewrite
            && let Some(record) = &outcome.record
        {
            fs::write(exec::root().join(RECORD), record).context("write the record")?;
        }
        failed.extend(outcome.complaints().into_iter().map(|line| format!("{kernel}: {line}")));
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("\n"));
    }
    Ok(())
}

fn boot(folder: &Path, kernel: &str, suite: &Suite, options: &Options) -> anyhow::Result<Outcome> {
    let image = Image::fetch(folder, kernel)?;
    let environment = options.rewrite.then_some((REWRITE, "1"));
    let filter = options.filter.as_deref().unwrap_or_default();
    let archive = initramfs::build(&image, suite, filter, environment)?;
    let log = image.folder.join("console.log");
    exec::say(&format!("booting {} ({}), console in {}", kernel, image.release, log.display()));
    machine::run(&image, &archive, &log, Duration::from_secs(options.limit))
}
