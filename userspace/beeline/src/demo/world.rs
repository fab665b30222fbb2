//! The namespaces, processes and directories of throwaway nodes, and their removal.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{client::ApiClient, output};

/// Every world has a folder of its own in here, named after its process.
const BASE: &str = "/tmp/beeline-demo";
/// The first three octets of the nodes' addresses. They exist in the demo's namespaces only.
const SEGMENT: &str = "172.30.0";
/// How long nodes may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(60);

/// A network namespace, held open by a child that ends when its standard input closes, that is, with us.
struct Holder {
    child: Child,
}

impl Holder {
    fn new() -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(HOLD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("start the holder of a namespace")?;
        let mut line = String::new();
        let stdout = child.stdout.as_mut().context("the holder's output")?;
        BufReader::new(stdout)
            .read_line(&mut line)
            .context("wait for the holder of a namespace")?;
        if line.trim() != "ready" {
            let _ = child.kill();
            let _ = child.wait();
            bail!("create a network namespace: see the message above");
        }
        Ok(Self { child })
    }

    fn path(&self) -> PathBuf {
        beeline_sys::netns::path_of_pid(self.child.id())
    }

    fn ip(&self, arguments: &str) -> anyhow::Result<()> {
        let output = Command::new("nsenter")
            .arg(format!("--net={}", self.path().display()))
            .arg("ip")
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .output()
            .context("run ip: install iproute2 and util-linux")?;
        if !output.status.success() {
            bail!("ip {arguments}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The hidden first argument that makes this binary hold a namespace.
pub const HOLD: &str = "hold-netns";

/// Hold a new network namespace until standard input closes.
pub fn hold() -> anyhow::Result<()> {
    beeline_sys::process::unshare(beeline_sys::process::Unshare::NET)?;
    beeline_sys::netns::loopback_up()?;
    output::line("ready");
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}

/// One node's place.
pub struct Node {
    /// Its name.
    pub name: String,
    holder: Holder,
    cgroup: PathBuf,
    child: Option<Child>,
}

/// All of it.
pub struct World {
    folder: PathBuf,
    fabric: Holder,
    /// The nodes, the server first.
    pub nodes: Vec<Node>,
}

impl World {
    /// Make the folder and the namespace that joins the nodes.
    pub fn prepare() -> anyhow::Result<Self> {
        let folder = Path::new(BASE).join(std::process::id().to_string());
        fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
        let ticks = beeline_sys::boot::process_start_ticks(std::process::id())?;
        fs::write(folder.join("owner"), format!("{}", ticks.unwrap_or_default()))?;
        let fabric = Holder::new()?;
        fabric.ip("link add br0 type bridge")?;
        fabric.ip("link set br0 up")?;
        Ok(Self { folder, fabric, nodes: Vec::new() })
    }

    /// The folder of everything that this world keeps on disk.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Start a server with a node, and more nodes that join it.
    pub async fn start(&mut self, count: usize) -> anyhow::Result<()> {
        for number in 1..=count {
            let node = self.place(number)?;
            self.nodes.push(node);
        }
        self.spawn(0, &["up", &format!("--listen={SEGMENT}.1:6443")])?;
        self.wait_ready(0).await?;
        let token = fs::read_to_string(self.data_dir(0).join("token"))
            .or_else(|_| self.token())
            .context("read the join token")?;
        for index in 1..count {
            let server = format!("--server=https://{SEGMENT}.1:6443");
            self.spawn(index, &["agent", &server, &format!("--token={}", token.trim())])?;
        }
        for index in 1..count {
            self.wait_ready(index).await?;
        }
        Ok(())
    }

    fn token(&self) -> std::io::Result<String> {
        let output =
            Command::new(std::env::current_exe()?).arg("token").args(self.look(0)).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Import an image on each node.
    pub async fn import(&self, archive: &Path) -> anyhow::Result<()> {
        for (index, node) in self.nodes.iter().enumerate() {
            let mut command = self.command(&["image", "import"], index);
            let output = command.arg(archive).output()?;
            if !output.status.success() {
                bail!("on {}: {}", node.name, String::from_utf8_lossy(&output.stderr).trim());
            }
        }
        Ok(())
    }

    /// The cluster's API as its admin.
    pub fn api(&self) -> anyhow::Result<ApiClient> {
        let node = self.nodes.first().context("no node")?;
        ApiClient::from_kubeconfig(&self.kubeconfig(), Some(node.holder.path()))
    }

    /// The admin's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir(0).join("admin.kubeconfig")
    }

    /// A node's process.
    pub fn node_pid(&self, index: usize) -> Option<u32> {
        self.nodes[index].child.as_ref().map(Child::id)
    }

    /// The namespace of a node.
    pub fn netns(&self, index: usize) -> PathBuf {
        self.nodes[index].holder.path()
    }

    /// A command of this binary about one of the nodes.
    pub fn command(&self, words: &[&str], index: usize) -> Command {
        let mut command =
            Command::new(std::env::current_exe().unwrap_or_else(|_| "beeline".into()));
        command.args(words).args(self.look(index)).stdin(Stdio::null());
        command
    }

    /// Where a node's data is.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.node_dir(index).join("data")
    }

    /// Where a node's sockets are.
    pub fn run_dir(&self, index: usize) -> PathBuf {
        self.node_dir(index).join("run")
    }

    /// Remove everything.
    pub fn remove(&mut self) -> anyhow::Result<()> {
        for node in &mut self.nodes {
            if let Some(mut child) = node.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        remove_folder(&self.folder)?;
        self.nodes.clear();
        Ok(())
    }

    fn node_dir(&self, index: usize) -> PathBuf {
        self.folder.join(format!("n{}", index + 1))
    }

    fn look(&self, index: usize) -> [String; 2] {
        [
            format!("--data-dir={}", self.data_dir(index).display()),
            format!("--run-dir={}", self.run_dir(index).display()),
        ]
    }

    fn place(&self, number: usize) -> anyhow::Result<Node> {
        let holder = Holder::new()?;
        let port = format!("p{number}");
        self.fabric
            .ip(&format!("link add {port} type veth peer name eth0 netns {}", holder.child.id()))?;
        self.fabric.ip(&format!("link set {port} master br0 up"))?;
        holder.ip(&format!("addr add {SEGMENT}.{number}/24 dev eth0"))?;
        holder.ip("link set eth0 up")?;
        let cgroup = beeline_sys::cgroup::find_v2_mount()?
            .join(format!("beeline-demo-{}-n{number}", std::process::id()));
        fs::create_dir_all(&cgroup).with_context(|| format!("create {}", cgroup.display()))?;
        let folder = self.node_dir(number - 1);
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("cgroup"), cgroup.to_string_lossy().as_bytes())?;
        Ok(Node { name: format!("node-{number}"), holder, cgroup, child: None })
    }

    fn spawn(&mut self, index: usize, words: &[&str]) -> anyhow::Result<()> {
        let log = fs::File::create(self.node_dir(index).join("log"))?;
        let mut command = self.command(&words[..1], index);
        let node = &self.nodes[index];
        command
            .args(&words[1..])
            .arg(format!("--netns={}", node.holder.path().display()))
            .arg(format!("--cgroup-root={}", node.cgroup.display()))
            .arg(format!("--bpf-root={}", self.node_dir(index).join("bpf").display()))
            .arg(format!("--node-name={}", node.name))
            .arg(format!("--node-ip={SEGMENT}.{}", index + 1))
            .arg("--die-with-parent")
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let child = command.spawn().with_context(|| format!("start {}", node.name))?;
        self.nodes[index].child = Some(child);
        Ok(())
    }

    async fn wait_ready(&mut self, index: usize) -> anyhow::Result<()> {
        let start = Instant::now();
        let socket = self.run_dir(index).join(crate::config::SOCKET);
        loop {
            let log = self.node_dir(index).join("log");
            let node = &mut self.nodes[index];
            if let Some(status) =
                node.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
            {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<_> = text.lines().rev().take(5).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                bail!("{} ended at once ({status}): {}", node.name, tail.join(" / "));
            }
            let status =
                crate::local::ask_one::<crate::status::Status>(&socket, &crate::local::Ask::Status)
                    .await;
            if status.is_ok_and(|status| status.ready) {
                return Ok(());
            }
            if start.elapsed() > READY_LIMIT {
                bail!(
                    "{} is not ready after {READY_LIMIT:?}; its log is {}",
                    node.name,
                    log.display()
                );
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// Remove what killed demos left. Theirs are the folders whose owner no longer runs.
pub fn remove_leftovers() -> anyhow::Result<()> {
    let Ok(entries) = fs::read_dir(BASE) else { return Ok(()) };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        let owner = fs::read_to_string(entry.path().join("owner")).unwrap_or_default();
        let ticks = beeline_sys::boot::process_start_ticks(pid)?.map(|ticks| ticks.to_string());
        if ticks.as_deref() == Some(owner.trim()) {
            continue;
        }
        output::note(&format!("removing what an earlier demo left in {}", entry.path().display()));
        remove_folder(&entry.path())?;
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?.flatten()
    {
        let node = entry.path();
        if !node.join("cgroup").exists() {
            continue;
        }
        if node.join("data").exists() {
            let output = Command::new(std::env::current_exe()?)
                .args(["stop", "--kill"])
                .arg(format!("--data-dir={}", node.join("data").display()))
                .arg(format!("--run-dir={}", node.join("run").display()))
                .stdin(Stdio::null())
                .output()?;
            if !output.status.success() {
                bail!(
                    "remove {}: {}",
                    node.display(),
                    String::from_utf8_lossy(&output.stderr).trim()
                );
            }
        }
        let cgroup = PathBuf::from(fs::read_to_string(node.join("cgroup"))?);
        match fs::remove_dir(&cgroup) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error)
                    .with_context(|| format!("remove the cgroup {}", cgroup.display()));
            }
            _ => {}
        }
    }
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    let _ = fs::remove_dir(BASE); // the last one closes the door
    Ok(())
}
