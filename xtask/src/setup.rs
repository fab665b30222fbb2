//! `cargo xtask setup`: installs what this machine lacks. A second call finds nothing to do.
//!
//! Debian's `rustc-web` comes with its standard library's source, which rustup cannot add
//! everywhere: it builds the kernel object. `bpf-linker` is built once, into target/tools.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, bail};

use crate::exec;

/// Debian packages and what each is for.
const PACKAGES: &[(&str, &str)] = &[
    ("rustc-web", "compiles the kernel object"),
    ("rust-web-src", "core for the BPF target"),
    ("llvm-22-dev", "bpf-linker's back end"),
    ("gcc", "C parts of crates"),
    ("g++", "C++ parts of bpf-linker"),
    ("pkg-config", "finds C libraries"),
    ("zlib1g-dev", "bpf-linker's LLVM needs it"),
    ("libseccomp-dev", "container system call filters"),
    ("protobuf-compiler", "compiles the contract with nodes"),
    ("libprotobuf-dev", "its standard messages"),
    ("busybox-static", "the example image of the demo and the tests"),
    ("iproute2", "namespaces in the demo and the tests"),
    ("ethtool", "switches off checksum offload in the tests of XDP"),
    ("iptables", "a peer of the proxy benchmark and of the differential test: both backends"),
    ("nftables", "the same: kube-proxy's nft layout"),
    ("util-linux", "nsenter and unshare, for the same"),
    ("etcd-server", "the store of clusters with several servers, in its tests and its benchmark"),
    ("e2fsprogs", "a file system whose power is cut in the store's tests"),
    ("curl", "requests from the node in the README and the tests"),
];

/// What other kernels are booted with, for `kernel-test` alone.
pub const EMULATOR: &[(&str, &str)] = &[
    ("qemu-system-x86", "the machines that other kernels boot in"),
    ("xz-utils", "unpacks their modules"),
];

const BPF_LINKER_VERSION: &str = "0.13.0";
const LLVM_PREFIX: &str = "/usr/lib/llvm-22";

/// Where bpf-linker is, once set up.
fn bpf_linker() -> PathBuf {
    exec::root().join("target/tools/bin/bpf-linker")
}

/// Install what is missing.
pub fn run() -> anyhow::Result<()> {
    run_with(&[])
}

/// The same, and packages that only one command needs.
pub fn run_with(further: &[(&'static str, &'static str)]) -> anyhow::Result<()> {
    install_packages(&[PACKAGES, further].concat())?;
    install_bpf_linker()
}

fn install_packages(wanted: &[(&'static str, &'static str)]) -> anyhow::Result<()> {
    let missing = missing_packages(wanted)?;
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !exec::is_root() {
        bail!(
            "packages are missing; as root, run: apt-get install --no-install-recommends {names}"
        );
    }
    exec::say(&format!("installing {names}"));
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        command
    };
    exec::run(apt().arg("update"))?;
    exec::run(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing))?;
    quieten(&missing)
}

/// Debian starts the etcd that it installs, on the usual ports; ours start their own.
fn quieten(installed: &[&str]) -> anyhow::Result<()> {
    if !installed.contains(&"etcd-server") || !std::path::Path::new("/run/systemd/system").exists()
    {
        return Ok(());
    }
    exec::run(Command::new("systemctl").args(["disable", "--now", "etcd"]))
}

fn missing_packages(wanted: &[(&'static str, &'static str)]) -> anyhow::Result<Vec<&'static str>> {
    let status = Command::new("dpkg-query")
        .args(["-W", "-f", "${Package} ${db:Status-Status}\n"])
        .args(wanted.iter().map(|(name, _)| name))
        .output();
    let Ok(output) = status else {
        let lines: Vec<_> =
            wanted.iter().map(|(name, purpose)| format!("  {name}: {purpose}")).collect();
        bail!(
            "this is not a Debian or Ubuntu machine (no dpkg-query); install what these packages hold:\n{}",
            lines.join("\n")
        );
    };
    let installed = String::from_utf8_lossy(&output.stdout).into_owned();
    let has = |name: &str| installed.lines().any(|line| line == format!("{name} installed"));
    Ok(wanted.iter().map(|(name, _)| *name).filter(|name| !has(name)).collect())
}

fn install_bpf_linker() -> anyhow::Result<()> {
    let installed = bpf_linker();
    if installed.exists() {
        return Ok(());
    }
    exec::say(&format!("building bpf-linker {BPF_LINKER_VERSION} (a few minutes, once)"));
    let root = installed
        .ancestors()
        .nth(2)
        .with_context(|| format!("no folder two above {}", installed.display()))?;
    exec::run(
        exec::cargo()
            .env("LLVM_PREFIX", LLVM_PREFIX)
            .arg("install")
            .arg(format!("bpf-linker@{BPF_LINKER_VERSION}"))
            .args(["--locked", "--no-default-features", "--features", "llvm-22", "--root"])
            .arg(root),
    )
}
