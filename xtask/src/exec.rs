//! Runs other programs and talks to the person in front: the only module here that prints.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};

/// The folder of the workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Tell the person something, on standard error.
#[expect(clippy::print_stderr, reason = "progress for the person who runs the command")]
pub fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Pass on what another program said, on standard output.
#[expect(clippy::print_stdout, reason = "what the person who runs the command follows")]
pub fn pass_on(line: &str) {
    println!("{line}");
}

/// Run a command to its end; its output goes to the terminal.
pub fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    let status = command
        .stdin(Stdio::null())
        .status()
        .with_context(|| format!("run `{shown}`: is it installed and on PATH?"))?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

/// Run a command and keep what it prints. `None` if it is missing or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Replace this process by a command, so that signals reach it alone.
pub fn replace(command: &mut Command) -> anyhow::Error {
    use std::os::unix::process::CommandExt as _;
    let shown = show(command);
    anyhow::Error::new(command.exec()).context(format!("run `{shown}`"))
}

/// Cargo, as it was called to run us, in the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

/// Cargo with clippy as the compiler of our own crates, for which a warning is an error. What it builds runs, too: so neither
/// our crates nor the hundreds that they stand on are compiled a second time only to be looked at.
pub fn linting_cargo() -> Command {
    let mut command = cargo();
    // As `cargo clippy` itself hands over its arguments.
    command
        .env("RUSTC_WORKSPACE_WRAPPER", "clippy-driver")
        .env("CLIPPY_ARGS", "-D__CLIPPY_HACKERY__warnings__CLIPPY_HACKERY__");
    command
}

/// Whether this process has root's user id.
pub fn is_root() -> bool {
    output(Command::new("id").arg("-u")).is_some_and(|id| id.trim() == "0")
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
