//! `cargo xtask deps`: who may import whom, as the README's code map says it.
//!
//! Reads the manifests through `cargo metadata`; a dependency that no rule allows fails the gate, and
//! so does a heavy library outside its one home.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::exec;

/// A crate and which of ours it may name. Everything outside `ebpf` may name `control/{api,proto,kit}`.
const ARROWS: &[(&str, &[&str])] = &[
    ("beeline-abi", &[]),
    ("beeline-packet", &["beeline-abi"]),
    ("beeline-api", &[]),
    ("beeline-proto", &[]),
    ("beeline-kit", &[]),
    ("beeline-alloc", &[]),
    ("beeline-auth", &[]),
    ("beeline-store", &[]),
    ("beeline-registry", &["beeline-store", "beeline-alloc", "beeline-auth"]),
    ("beeline-apiserver", &["beeline-registry", "beeline-auth"]),
    ("beeline-controllers", &["beeline-registry", "beeline-alloc"]),
    ("beeline-scheduler", &["beeline-registry"]),
    ("beeline-feed", &["beeline-registry", "beeline-alloc", "beeline-auth"]),
    ("beeline-sys", &[]),
    ("beeline-tables", &[]),
    ("beeline-uplink", &["beeline-tables"]),
    ("beeline-informer", &["beeline-tables"]),
    ("beeline-healthcheck", &["beeline-tables"]),
    ("beeline-compile", &["beeline-tables", "beeline-abi"]),
    // `packet` too: user space ends tracked connections by the rules that the programs go by.
    (
        "beeline-datapath",
        &["beeline-compile", "beeline-tables", "beeline-abi", "beeline-packet", "beeline-sys"],
    ),
    ("beeline-observe", &["beeline-tables", "beeline-abi"]),
    ("beeline-netdev", &["beeline-sys"]),
    ("beeline-container", &["beeline-sys"]),
    (
        "beeline-bench",
        &["beeline-datapath", "beeline-compile", "beeline-tables", "beeline-netdev", "beeline-sys"],
    ),
    ("beeline-pods", &["beeline-tables", "beeline-container", "beeline-netdev", "beeline-sys"]),
];

/// Named by everybody outside `ebpf`.
const SHARED: &[&str] = &["beeline-api", "beeline-proto", "beeline-kit"];

/// May name anything: the wiring, the automation, the tests.
const FREE: &[&str] = &["beeline", "xtask"];

/// A library and the only crates that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("aya", &["beeline-datapath", "beeline-abi", "beeline-test-kernel"]),
    ("sled", &["beeline-store"]),
    ("etcd-client", &["beeline-store"]),
    ("tonic", &["beeline-proto", "beeline-feed", "beeline-uplink", "beeline"]),
    ("rtnetlink", &["beeline-netdev"]),
    // Filters for programs, one request at a time; links, addresses and routes are netdev's.
    ("netlink-sys", &["beeline-datapath"]),
    ("libcontainer", &["beeline-container"]),
    ("kube", &["beeline-informer"]),
    ("clap", &["beeline", "xtask"]),
    ("axum", &["beeline-apiserver"]),
];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: String,
    dependencies: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    name: String,
    kind: Option<String>,
}

/// Check every arrow and every home.
pub fn run() -> anyhow::Result<()> {
    let metadata = exec::output(exec::cargo().args([
        "metadata",
        "--format-version=1",
        "--no-deps",
        "--offline",
    ]))
    .context("read the manifests with `cargo metadata`: does every Cargo.toml parse?")?;
    let metadata: Metadata = serde_json::from_str(&metadata).context("parse cargo's metadata")?;
    let wrong: Vec<String> = metadata.packages.iter().flat_map(complaints).collect();
    if !wrong.is_empty() {
        bail!("dependency arrows:\n  {}", wrong.join("\n  "));
    }
    exec::say(&format!("dependency arrows hold for {} crates", metadata.packages.len()));
    Ok(())
}

fn complaints(package: &Package) -> Vec<String> {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let homes: BTreeMap<_, _> = HOMES.iter().copied().collect();
    let name = package.name.as_str();
    let is_test = package.manifest_path.contains("/tests/");
    let in_ebpf = package.manifest_path.contains("/ebpf/");
    let used: BTreeSet<_> = package
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind.as_deref() != Some("dev"))
        .map(|dependency| dependency.name.as_str())
        .collect();
    let mut wrong = Vec::new();
    for other in used {
        let ours = arrows.contains_key(other);
        if ours && !FREE.contains(&name) && !is_test {
            let allowed = arrows.get(name).is_some_and(|list| list.contains(&other))
                || (!in_ebpf && SHARED.contains(&other));
            if !allowed {
                wrong.push(format!(
                    "{name} names {other}, which no rule in xtask/src/deps.rs allows"
                ));
            }
        }
        if let Some(home) = homes.get(other)
            && !home.contains(&name)
        {
            wrong.push(format!("{name} names {other}, whose home is {}", home.join(", ")));
        }
    }
    if !arrows.contains_key(name) && !FREE.contains(&name) && !is_test {
        wrong.push(format!("{name} has no rule in xtask/src/deps.rs"));
    }
    wrong
}
