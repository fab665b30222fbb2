//! Real beeline processes, each in a namespace, a cgroup and directories of its own.

mod traces;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, bail};

pub use traces::PodTraces;

use crate::{Kubectl, Net, beeline, wait::within};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// How long a node may take to be ready here: a debug build on a shared machine.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// How a node is started.
#[derive(Debug, Clone, Default)]
pub struct NodeOptions {
    /// Its name; `node` if empty.
    pub name: String,
    /// Further arguments of `beeline up` or `beeline agent`.
    pub arguments: Vec<String>,
    /// `up` if empty.
    pub command: String,
}

/// One node. Dropping it stops it, removes all it made, and checks that nothing is left.
#[derive(Debug)]
pub struct Node {
    /// Its namespace.
    pub net: Net,
    /// Its name.
    pub name: String,
    folder: tempfile::TempDir,
    cgroup: PathBuf,
    options: NodeOptions,
    child: Option<Child>,
}

impl Node {
    /// Start `beeline up` in a new namespace and wait until it is ready.
    pub fn up() -> anyhow::Result<Self> {
        let mut node = Self::new(Net::new()?, NodeOptions::default())?;
        node.start()?;
        Ok(node)
    }

    /// Prepare a node without starting it.
    pub fn new(net: Net, options: NodeOptions) -> anyhow::Result<Self> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = tempfile::Builder::new().prefix("blt").tempdir()?;
        let cgroup = cgroup_mount()?.join(format!("beeline-test-{}-{number}", std::process::id()));
        fs::create_dir(&cgroup).with_context(|| format!("create {}", cgroup.display()))?;
        let name = if options.name.is_empty() { "node".to_owned() } else { options.name.clone() };
        Ok(Self { net, name, folder, cgroup, options, child: None })
    }

    /// Start with other arguments from now on.
    pub fn set_arguments(&mut self, arguments: &[&str]) {
        self.options.arguments = arguments.iter().map(ToString::to_string).collect();
    }

    /// Whether the process has ended by itself, and how.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.as_mut()?.try_wait().ok().flatten()
    }

    /// Start the process and wait until it says that it is ready.
    pub fn start(&mut self) -> anyhow::Result<()> {
        self.spawn()?;
        let socket = self.run_dir().join("beeline.sock");
        within(READY_LIMIT, "beeline is ready", || {
            if let Some(status) =
                self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
            {
                panic!("beeline ended at once: {status}\n{}", self.log());
            }
            if !socket.exists() {
                return Err(format!("no socket yet\n{}", self.log()));
            }
            let output = self.beeline(&["status", "-o", "json"]);
            let text = String::from_utf8_lossy(&output.stdout);
            if output.status.success() && text.contains("\"ready\":true") {
                return Ok(());
            }
            Err(format!("{text}{}\n{}", String::from_utf8_lossy(&output.stderr), self.log()))
        });
        Ok(())
    }

    /// Start the process without waiting for anything.
    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log_path())?;
        let command = if self.options.command.is_empty() { "up" } else { &self.options.command };
        let mut process = Command::new(beeline());
        process
            .arg(command)
            .args(self.flags())
            .args(["--node-name", &self.name])
            .arg(format!("--netns={}", self.net.path().display()))
            .arg(format!("--cgroup-root={}", self.cgroup.display()))
            .arg(format!("--bpf-root={}", self.folder.path().join("bpf").display()))
            .args(&self.options.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.child = Some(process.spawn().context("start beeline")?);
        Ok(())
    }

    /// End the process as a crash would.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Ask the process to end, and wait for it.
    pub fn terminate(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let start = std::time::Instant::now();
        within(Duration::from_secs(25), "beeline ends after SIGTERM", || {
            if start.elapsed() > Duration::from_secs(20) {
                let _ = child.kill(); // or it would outlive this test
                let _ = child.wait();
                panic!("beeline does not end after SIGTERM");
            }
            child.try_wait().ok().flatten().map(|_| ()).ok_or_else(|| "still there".into())
        });
    }

    /// Run a command of beeline about this node.
    pub fn beeline(&self, arguments: &[&str]) -> Output {
        let (words, rest) = match arguments.first() {
            Some(&("image" | "snapshot")) => arguments.split_at(2.min(arguments.len())),
            _ => arguments.split_at(1.min(arguments.len())),
        };
        Command::new(beeline())
            .args(words)
            .args(self.flags())
            .args(rest)
            .stdin(Stdio::null())
            .output()
            .expect("the binary was found before")
    }

    /// The same, expecting success; what it printed.
    #[track_caller]
    pub fn ask(&self, arguments: &[&str]) -> String {
        let output = self.beeline(arguments);
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "beeline {}: {stdout}{stderr}", arguments.join(" "));
        stdout
    }

    /// kubectl as admin of this node.
    pub fn kubectl(&self) -> Kubectl {
        Kubectl {
            netns: self.net.path(),
            kubeconfig: self.data_dir().join("admin.kubeconfig"),
            cache: self.folder.path().join("kubectl"),
        }
    }

    /// A command in this node's namespace and cgroup, as a process of the host: it is served by the node.
    pub fn host_command(&self, script: &str) -> Command {
        let mut command = self.net.command("bash");
        let join = format!("echo $$ > {}/cgroup.procs && {script}", self.cgroup.display());
        command.args(["-c", &join]);
        command
    }

    /// The cgroup whose processes it serves.
    pub fn cgroup(&self) -> &Path {
        &self.cgroup
    }

    /// Where its data is.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where its sockets are.
    pub fn run_dir(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// Everything that it logged and printed.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn flags(&self) -> [String; 2] {
        [
            format!("--data-dir={}", self.data_dir().display()),
            format!("--run-dir={}", self.run_dir().display()),
        ]
    }

    /// What of this node's is still on the machine; empty after `beeline stop --kill`.
    pub fn left_behind(&self) -> Vec<String> {
        let mut left = Vec::new();
        let instance = fs::read_to_string(self.data_dir().join("instance")).unwrap_or_default();
        let name = format!("beeline-{}", instance.trim());
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        left.extend(
            mounts
                .lines()
                .filter(|line| line.contains(&folder))
                .map(|line| format!("mount: {line}")),
        );
        if !instance.is_empty() {
            for controller in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
                let path = controller.path().join(&name);
                if path.exists() {
                    left.push(format!("cgroup: {}", path.display()));
                }
            }
        }
        let inside = fs::read_dir(&self.cgroup).into_iter().flatten().flatten();
        left.extend(
            inside
                .filter(|entry| entry.path().is_dir())
                .map(|entry| format!("cgroup: {}", entry.path().display())),
        );
        let links = self.net.ip("-o link show").unwrap_or_default();
        left.extend(
            links.lines().filter(|line| line.contains(": bl")).map(|line| format!("link: {line}")),
        );
        for family in ["-4", "-6"] {
            let routes = self.net.ip(&format!("{family} route show proto 190")).unwrap_or_default();
            left.extend(routes.lines().map(|line| format!("route: {line}")));
        }
        let own = self.net.ip("-6 -o address show dev lo scope global").unwrap_or_default();
        left.extend(own.lines().map(|line| format!("address: {line}")));
        left.extend(processes_with(&folder).into_iter().map(|line| format!("process: {line}")));
        left
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(60).collect();
            let tail: Vec<_> = tail.into_iter().rev().collect();
            #[expect(clippy::print_stderr, reason = "what a person needs who reads a failed test")]
            {
                eprintln!("--- log of {} ---\n{}", self.name, tail.join("\n"));
            }
        }
        self.kill();
        let output = self.beeline(&["stop", "--kill"]);
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        let left = self.left_behind();
        let _ = fs::remove_dir(&self.cgroup);
        if !std::thread::panicking() {
            assert!(output.status.success(), "beeline stop --kill: {complaint}");
            assert!(left.is_empty(), "left behind after `beeline stop --kill`: {left:#?}");
        }
    }
}

/// Command lines of the processes that name a folder.
fn processes_with(folder: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(folder))
        .collect()
}

fn cgroup_mount() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let path = words.nth(1)?;
        (words.next()? == "cgroup2").then(|| PathBuf::from(path))
    });
    match found {
        Some(path) => Ok(path),
        None => bail!("no cgroup v2 mount"),
    }
}

/// The example image, as an archive: Debian's static busybox, made with `docker save`'s layout.
pub fn busybox_image(folder: &Path, reference: &str) -> anyhow::Result<PathBuf> {
    let archive = folder.join("image.tar");
    let output = Command::new(beeline())
        .args(["image", "example", "--name", reference])
        .arg(&archive)
        .output()
        .context("build the example image")?;
    if !output.status.success() {
        bail!("build the example image: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(archive)
}
