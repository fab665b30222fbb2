//! The tests that run under other kernels: which, and where cargo put them.

use std::{path::PathBuf, process::Command};

use anyhow::{Context as _, bail};
use serde::Deserialize;

use crate::exec;

/// Packages whose tests touch the kernel and need no more than it.
const PACKAGES: [&str; 4] =
    ["beeline-test-kernel", "beeline-datapath", "beeline-netdev", "beeline-sys"];
/// The test that compares or writes the record of verified instructions.
const RECORD_TEST: &str = "layout";

/// One test binary.
pub struct Binary {
    /// Its name: that of the file in `tests/`, or of the package.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The folder that cargo would start it in.
    pub folder: PathBuf,
}

/// All of them.
pub struct Suite {
    /// In the order in which they run: that of their names.
    pub binaries: Vec<Binary>,
}

/// What cargo says of each thing that it built.
#[derive(Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

impl Suite {
    /// Builds them and asks cargo where they are.
    pub fn build() -> anyhow::Result<Self> {
        exec::say("building the tests");
        let mut cargo = exec::cargo();
        cargo.args(["test", "--no-run", "--quiet"]);
        cargo.args(PACKAGES.iter().flat_map(|package| ["-p", package]));
        exec::run(&mut cargo)?;
        let messages = exec::output(cargo.arg("--message-format=json"))
            .context("ask cargo where the tests are")?;
        let mut binaries: Vec<Binary> = messages.lines().filter_map(binary).collect();
        binaries.sort_by(|a, b| a.name.cmp(&b.name));
        if binaries.is_empty() {
            bail!("cargo named no test binary");
        }
        Ok(Self { binaries })
    }

    /// The test of the record, for this machine's own kernel.
    pub fn record_on_host(&self) -> anyhow::Result<Command> {
        let binary = self.binaries.iter().find(|binary| binary.name == RECORD_TEST);
        let binary = binary.with_context(|| format!("find the test binary {RECORD_TEST}"))?;
        let mut command = Command::new(&binary.path);
        command.current_dir(&binary.folder);
        Ok(command)
    }
}

fn binary(line: &str) -> Option<Binary> {
    let message: Message = serde_json::from_str(line).ok()?;
    if message.reason != "compiler-artifact" {
        return None;
    }
    Some(Binary {
        name: message.target?.name,
        path: message.executable?,
        folder: message.manifest_path?.parent()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executables_are_found_among_cargos_messages() {
        let found = binary(
            r#"{"reason":"compiler-artifact","manifest_path":"/w/x/Cargo.toml","target":{"name":"live"},"executable":"/w/t/live-1"}"#,
        )
        .unwrap();
        assert_eq!((found.name.as_str(), found.folder), ("live", PathBuf::from("/w/x")));
        let library = r#"{"reason":"compiler-artifact","manifest_path":"/w/x/Cargo.toml","target":{"name":"x"},"executable":null}"#;
        assert!(binary(library).is_none());
        assert!(binary(r#"{"reason":"build-finished","success":true}"#).is_none());
    }
}
