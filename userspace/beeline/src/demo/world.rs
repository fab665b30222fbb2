//! The namespaces, processes and directories of throwaway nodes, and their removal.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};

use crate::{client::ApiClient, output};

/// Every world has a folder of its own in here, named after its process. Root's alone: what it says is done.
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
        let _base = lock_base()?;
        let folder = Path::new(BASE).join(std::process::id().to_string());
        fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
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
        self.start_first().await?;
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

    async fn start_first(&mut self) -> anyhow::Result<()> {
        self.spawn(0, &["up", &format!("--listen={SEGMENT}.1:6443")])?;
        self.wait_ready(0).await
    }

    /// Kill the first node's process as a crash would, and start it again on what it left.
    pub async fn restart_first(&mut self) -> anyhow::Result<()> {
        let child = self.nodes.first_mut().and_then(|node| node.child.as_mut());
        let child = child.context("no node runs")?;
        child.kill().context("kill the node's process")?;
        child.wait().context("wait for the end of the node's process")?;
        self.start_first().await
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

    /// A node's address on the segment that joins them.
    pub fn address(index: usize) -> String {
        format!("{SEGMENT}.{}", index + 1)
    }

    /// The cgroup whose processes a node serves.
    pub fn cgroup(&self, index: usize) -> &Path {
        &self.nodes[index].cgroup
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
        // A group of its own: Ctrl-C is for the demo, which ends the rest in order.
        command.args(words).args(self.look(index)).stdin(Stdio::null()).process_group(0);
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
        let _base = lock_base()?;
        if self.folder.exists() {
            remove_folder(&self.folder)?;
        }
        let _ = fs::remove_dir(BASE); // the last one closes the door
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
        let folder = self.node_dir(number - 1);
        fs::create_dir_all(&folder)?;
        // Written down before it is made: so it is found whenever this process ends.
        fs::write(folder.join("cgroup"), cgroup.to_string_lossy().as_bytes())?;
        fs::create_dir_all(&cgroup).with_context(|| format!("create {}", cgroup.display()))?;
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
            .arg(format!("--die-with-parent={}", std::process::id()))
            .stdout(log.try_clone()?)
            .stderr(log);
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
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}

/// Held while worlds come and go: a world that is being made is no leftover, and each is removed once.
fn lock_base() -> anyhow::Result<fs::File> {
    use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::DIRECTORY;
    let flags = i32::try_from(flags.bits()).context("the flags of open")?;
    loop {
        match fs::DirBuilder::new().mode(0o700).create(BASE) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(error).with_context(|| format!("create {BASE}"));
            }
            _ => {}
        }
        let base = match fs::OpenOptions::new().read(true).custom_flags(flags).open(BASE) {
            Ok(base) => base,
            Err(error) if error.kind() == ErrorKind::NotFound => continue, // removed in between
            Err(error) => return Err(error).with_context(|| format!("open {BASE}")),
        };
        let found = base.metadata().with_context(|| format!("look at {BASE}"))?;
        if found.uid() != 0 || found.mode() & 0o022 != 0 {
            bail!("{BASE} can be written by others than root: remove it");
        }
        rustix::fs::flock(&base, rustix::fs::FlockOperation::LockExclusive)
            .with_context(|| format!("lock {BASE}"))?;
        // Whoever held it before may have removed it.
        if fs::metadata(BASE).is_ok_and(|now| now.ino() == found.ino()) {
            return Ok(base);
        }
    }
}

/// Remove what killed demos left. Theirs are the folders whose owner no longer runs.
pub fn remove_leftovers() -> anyhow::Result<()> {
    let _base = lock_base()?;
    for entry in fs::read_dir(BASE).with_context(|| format!("read {BASE}"))?.flatten() {
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

/// Remove as much as can be; then say what could not.
fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))?;
    let nodes = entries.flatten().map(|entry| entry.path());
    let complaints: Vec<_> = nodes
        .filter(|node| node.join("cgroup").exists())
        .filter_map(|node| remove_node(&node).err())
        .map(|error| format!("{error:#}"))
        .collect();
    if !complaints.is_empty() {
        bail!("{}", complaints.join("; "));
    }
    fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))
}

fn remove_node(node: &Path) -> anyhow::Result<()> {
    if node.join("data").exists() {
        let output = Command::new(std::env::current_exe()?)
            .args(["stop", "--kill"])
            .arg(format!("--data-dir={}", node.join("data").display()))
            .arg(format!("--run-dir={}", node.join("run").display()))
            .stdin(Stdio::null())
            .process_group(0)
            .output()?;
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            bail!("remove {}: {}", node.display(), complaint.trim());
        }
    }
    let cgroup = PathBuf::from(fs::read_to_string(node.join("cgroup"))?);
    match fs::remove_dir(&cgroup) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove the cgroup {}", cgroup.display()))
        }
        _ => Ok(()),
    }
}
