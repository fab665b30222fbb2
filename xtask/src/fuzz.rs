//! `cargo xtask fuzz [seconds]`: every target of `ebpf/packet/fuzz` and `control/fuzz`, one after the other.
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

/// The crates with targets, and how long an input of theirs may be: all headers that are read fit into 600 bytes, and the
/// grammars of the API show what they have in 4 KiB.
const CRATES: [(&str, u32); 2] = [("ebpf/packet/fuzz", 600), ("control/fuzz", 4_096)];

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

/// A target: its name and where it is.
struct Target {
    name: String,
    krate: &'static str,
    input_bytes_max: u32,
}

/// Build with coverage, then run every target, or the one named.
pub fn run(seconds: u32, only: Option<&str>) -> anyhow::Result<()> {
    let all = targets()?;
    let wanted = |target: &&Target| only.is_none_or(|only| only == target.name);
    let chosen: Vec<&Target> = all.iter().filter(wanted).collect();
    if let (Some(only), []) = (only, &chosen[..]) {
        let names: Vec<&str> = all.iter().map(|target| target.name.as_str()).collect();
        bail!("no fuzz target {only}; there are: {}", names.join(", "));
    }
    for (krate, _) in CRATES {
        let own: Vec<&Target> = chosen.iter().copied().filter(|t| t.krate == krate).collect();
        if own.is_empty() {
            continue;
        }
        let built = build(krate)?;
        for target in own {
            one(&built, target, seconds)?;
        }
    }
    Ok(())
}

/// All targets: by the names of their corpora.
fn targets() -> anyhow::Result<Vec<Target>> {
    let mut all = Vec::new();
    for (krate, input_bytes_max) in CRATES {
        let dir = exec::root().join(krate).join("corpus");
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).with_context(|| format!("list {}", dir.display()))? {
            let entry = entry.with_context(|| format!("list {}", dir.display()))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        all.extend(names.into_iter().map(|name| Target { name, krate, input_bytes_max }));
    }
    Ok(all)
}

/// Builds for the host as if it were another machine, so that build scripts get no coverage.
fn build(krate: &str) -> anyhow::Result<PathBuf> {
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
            .current_dir(exec::root().join(krate))
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join(&OsString::from("\u{1f}")))
            .args(["build", "--release", "--locked", "--target", host, "--target-dir"])
            .arg(&target_dir),
    )?;
    Ok(target_dir.join(host).join("release"))
}

fn one(built: &Path, target: &Target, seconds: u32) -> anyhow::Result<()> {
    let Target { name, krate, input_bytes_max } = target;
    let learned = exec::root().join("target/fuzz/corpus").join(name);
    fs::create_dir_all(&learned).with_context(|| format!("create {}", learned.display()))?;
    let given = exec::root().join(krate).join("corpus").join(name);
    let mut failures = exec::root().join("target/fuzz").join(name).into_os_string();
    failures.push("-");
    exec::say(&format!("fuzzing {name} for {:?}", Duration::from_secs(seconds.into())));
    let mut prefix = OsString::from("-artifact_prefix=");
    prefix.push(&failures);
    exec::run(
        Command::new(built.join(name))
            .arg(&learned)
            .arg(&given)
            .arg(prefix)
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-max_len={input_bytes_max}"))
            .args(["-print_final_stats=1", "-verbosity=0"]),
    )
    .with_context(|| {
        format!(
            "fuzz {name}: the input lies in {}*; put it into {} and mend what it shows",
            Path::new(&failures).display(),
            given.display()
        )
    })
}
