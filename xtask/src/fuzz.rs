//! `cargo xtask fuzz [seconds]`: every target of `ebpf/packet/fuzz`, one after the other.
//!
//! In: the corpora in the tree. Out: what libFuzzer learned, in `target/fuzz/corpus`, so that the next run goes on from there;
//! and for a failure, the input. Such an input belongs into the corpus in the tree: the tests run it ever after.
//!
//! The pinned compiler is enough: coverage is a pass of LLVM that any compiler runs when told to. Address sanitizers would need
//! a nightly one and find nothing, because the crate is forbidden to be unsafe.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::exec;

const CRATE: &str = "ebpf/packet/fuzz";

/// What cargo-fuzz passes, but for sanitizers.
const COVERAGE: [&str; 7] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    "--cfg=fuzzing",
];

/// Longer inputs show nothing new: all headers that are read fit into this.
const INPUT_BYTES_MAX: u32 = 600;

/// Build with coverage, then run every target, or the one named.
pub fn run(seconds: u32, only: Option<&str>) -> anyhow::Result<()> {
    let targets = targets(only)?;
    let built = build()?;
    for target in targets {
        one(&built, &target, seconds)?;
    }
    Ok(())
}

/// The names of the targets: of their corpora.
fn targets(only: Option<&str>) -> anyhow::Result<Vec<String>> {
    let dir = exec::root().join(CRATE).join("corpus");
    let mut names = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
        let entry = entry.with_context(|| format!("list {}", dir.display()))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    if let Some(only) = only {
        if !names.iter().any(|name| name == only) {
            bail!("no fuzz target {only}; there are: {}", names.join(", "));
        }
        names.retain(|name| name == only);
    }
    Ok(names)
}

/// Builds for the host as if it were another machine, so that build scripts get no coverage.
fn build() -> anyhow::Result<PathBuf> {
    let version = exec::output(Command::new("rustc").arg("-vV"))
        .context("ask `rustc -vV` for the host's name")?;
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .context("`rustc -vV` names no host")?;
    let target_dir = exec::root().join("target/fuzz");
    let flags: Vec<OsString> = COVERAGE.iter().map(OsString::from).collect();
    exec::run(
        exec::cargo()
            .current_dir(exec::root().join(CRATE))
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join(&OsString::from("\u{1f}")))
            .args(["build", "--release", "--locked", "--target", host, "--target-dir"])
            .arg(&target_dir),
    )?;
    Ok(target_dir.join(host).join("release"))
}

fn one(built: &Path, target: &str, seconds: u32) -> anyhow::Result<()> {
    let learned = exec::root().join("target/fuzz/corpus").join(target);
    fs::create_dir_all(&learned).with_context(|| format!("create {}", learned.display()))?;
    let given = exec::root().join(CRATE).join("corpus").join(target);
    let mut failures = exec::root().join("target/fuzz").join(target).into_os_string();
    failures.push("-");
    exec::say(&format!("fuzzing {target} for {:?}", Duration::from_secs(seconds.into())));
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(&failures);
    exec::run(
        Command::new(built.join(target))
            .arg(&learned)
            .arg(&given)
            .arg(prefix)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .args(["-print_final_stats=1", "-verbosity=0"]),
    )
    .with_context(|| {
        format!(
            "fuzz {target}: the input lies in {}*; put it into {} and mend what it shows",
            Path::new(&failures).display(),
            given.display()
        )
    })
}
