//! The kubectls that are installed: the one on PATH and those beside it, whatever their version.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::fixture::{Fixture, LIMIT};

/// One kubectl binary, talking to one server.
pub(crate) struct Kubectl {
    binary: PathBuf,
    kubeconfig: PathBuf,
    cache: PathBuf,
}

/// kubectl on PATH; says loudly if there is none.
pub(crate) fn on_path() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join("kubectl")).find(|file| file.is_file());
    if found.is_none() {
        eprintln!("SKIPPED: kubectl is not on PATH; run `cargo xtask setup`");
    }
    found
}

/// kubectl and its siblings `kubectl.1.27`, ...
pub(crate) fn all_versions() -> Vec<PathBuf> {
    let Some(first) = on_path() else { return Vec::new() };
    let real = first.canonicalize().unwrap_or(first.clone());
    let folder = real.parent().unwrap_or(Path::new("/"));
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("kubectl.1."))
        })
        .collect();
    all.sort();
    if all.is_empty() { vec![first] } else { all }
}

impl Kubectl {
    /// The default one.
    pub(crate) fn new(fixture: &Fixture) -> Option<Self> {
        Some(Self::of(fixture, on_path()?))
    }

    pub(crate) fn of(fixture: &Fixture, binary: PathBuf) -> Self {
        let name = binary.file_name().unwrap().to_string_lossy().into_owned();
        let cache = fixture.dir.path().join(format!("cache-{name}"));
        Self { binary, kubeconfig: fixture.kubeconfig(), cache }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .arg(format!("--cache-dir={}", self.cache.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn output(&self, command: &mut Command, input: &str) -> Output {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A kubectl that reads no input may be gone by now.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let waited = tokio::time::timeout(LIMIT, child.wait_with_output()).await;
        waited.unwrap_or_else(|_| panic!("{command:?} hangs")).unwrap()
    }

    /// Runs it and expects success.
    #[track_caller]
    pub(crate) fn run(&self, arguments: &[&str]) -> impl Future<Output = String> {
        self.pipe(arguments, "")
    }

    /// The same with something to read.
    pub(crate) async fn pipe(&self, arguments: &[&str], input: &str) -> String {
        self.finish(self.command(arguments), arguments, input).await
    }

    pub(crate) async fn finish(
        &self,
        mut command: Command,
        arguments: &[&str],
        input: &str,
    ) -> String {
        let output = self.output(&mut command, input).await;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let name = self.binary.file_name().unwrap().to_string_lossy();
        assert!(output.status.success(), "{name} {}: {out}{err}", arguments.join(" "));
        format!("{out}{err}")
    }

    /// Runs it and expects failure; what it said.
    pub(crate) async fn fail(&self, arguments: &[&str], input: &str) -> String {
        let output = self.output(&mut self.command(arguments), input).await;
        let (out, err) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(!output.status.success(), "kubectl {} succeeded: {out}", arguments.join(" "));
        err.into_owned()
    }

    /// Starts it and gives its lines as they come.
    pub(crate) fn follow(&self, arguments: &[&str]) -> Follow {
        let mut child = self.command(arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Follow { child, lines, seen: Vec::new() }
    }
}

/// A kubectl that runs on.
pub(crate) struct Follow {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

impl Follow {
    /// Waits for a line with that text.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        let wait = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                self.seen.push(line.clone());
                if line.contains(text) {
                    return Some(line);
                }
            }
            None
        };
        let found = tokio::time::timeout(LIMIT, wait).await.ok().flatten();
        found.unwrap_or_else(|| panic!("no {text:?} in {:?}", self.seen))
    }

    /// Waits for its end and expects success.
    pub(crate) async fn succeed(mut self) {
        let status =
            tokio::time::timeout(LIMIT, self.child.wait()).await.expect("it ends").unwrap();
        assert!(status.success(), "{:?}", self.seen);
    }
}
