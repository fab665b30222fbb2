//! Two nodes beside each other: one with our programs, one with kube-proxy's rules.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use beeline_bench::rules::iptables;
use beeline_datapath::{Config, Datapath, cleanup};
use beeline_kit::Tasks;
use beeline_sys::netns;
use beeline_test_differential::{
    case::Case,
    cluster::Cluster,
    outcome::Answer,
    place::{self, Family},
    rules, tables,
};
use tokio::runtime::Runtime;

use crate::{
    caller::{Caller, Request},
    ground::Ground,
};

/// Processes on one side; first to go, so that the cgroup is empty when it goes.
struct Callers {
    client: Caller,
    node: Caller,
    pod: Caller,
}

impl Callers {
    fn start(ground: &Ground, cgroup: Option<&Path>) -> Self {
        Self {
            client: Caller::start(&ground.client.path(), None),
            node: Caller::start(&ground.node.path(), cgroup),
            pod: Caller::start(&ground.pod_a.path(), cgroup),
        }
    }

    fn call(&self, case: &Case, request: &Request) -> Vec<Answer> {
        let caller = match case.caller {
            place::Caller::Near | place::Caller::Far => &self.client,
            place::Caller::Pod => &self.pod,
            place::Caller::Node => &self.node,
        };
        caller.call(request)
    }
}

/// A node with kube-proxy's rules.
pub struct KubeProxy {
    callers: Callers,
    ground: Ground,
    _servers: Runtime,
}

impl KubeProxy {
    pub fn new() -> Self {
        let servers = runtime(1);
        let ground = Ground::new(&servers);
        Self { callers: Callers::start(&ground, None), ground, _servers: servers }
    }

    pub fn load(&self, cluster: &Cluster) {
        for family in Family::BOTH {
            self.restore(family, &[], iptables::unload());
            self.restore(family, &["--noflush"], &rules::iptables(cluster, family));
        }
    }

    fn restore(&self, family: Family, arguments: &[&str], text: &str) {
        let tool = family.pick(RESTORE[0], RESTORE[1]);
        let mut command = self.ground.node.command(tool);
        command.args(["-w", "5"]).args(arguments).stdin(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{tool}: {errors}\n{text}");
    }

    pub fn call(&self, case: &Case, request: &Request) -> Vec<Answer> {
        self.callers.call(case, request)
    }
}

/// A node with our programs.
pub struct Beeline {
    callers: Callers,
    datapath: Datapath,
    runtime: Option<Runtime>,
    config: Config,
    _tasks: Tasks,
    _ground: Ground,
    _servers: Runtime,
    _directory: tempfile::TempDir,
}

impl Beeline {
    pub fn new() -> Self {
        let servers = runtime(1);
        let ground = Ground::new(&servers);
        let instance = "d1ffe2";
        let mount = beeline_sys::cgroup::find_v2_mount().unwrap();
        let cgroup = mount.join(format!("beeline-test-{instance}-{}", std::process::id()));
        fs::create_dir(&cgroup).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let bpf_root = directory.path().join("bpf");
        let mut config = Config::new(bpf_root, &cgroup, instance, place::THIS_NODE);
        let own =
            |family: Family| [family.node(), family.back(), family.ip("10.42.0.1", "fd42::1")];
        config.host_addresses = Family::BOTH.into_iter().flat_map(own).collect();
        config.node_port_addresses = Family::BOTH.map(Family::node).into();
        config.loopback_node_ports = true;
        config.uplinks = vec!["up0".to_owned(), "back0".to_owned()];
        let tasks = Tasks::new();
        let (pods, start) = (ground.pods(), config.clone());
        let node = ground.node.path();
        let (runtime, datapath) =
            netns::inside(&node, || Ok(started(start, pods, &tasks))).unwrap();
        let callers = Callers::start(&ground, Some(&cgroup));
        Self {
            callers,
            datapath,
            runtime: Some(runtime),
            config,
            _tasks: tasks,
            _ground: ground,
            _servers: servers,
            _directory: directory,
        }
    }

    pub fn load(&self, cluster: &Cluster) {
        let snapshot = tables::snapshot(cluster, u64::from(cluster.number) + 1);
        let runtime = self.runtime.as_ref().unwrap();
        runtime.block_on(self.datapath.reconcile(snapshot)).unwrap();
    }

    pub fn call(&self, case: &Case, request: &Request) -> Vec<Answer> {
        self.callers.call(case, request)
    }
}

impl Drop for Beeline {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
        if let Err(error) = cleanup(&self.config.bpf_root, &self.config.instance) {
            eprintln!("left behind: {error}");
        }
        self.callers.end();
        remove(&self.config.cgroup_root);
    }
}

impl Callers {
    /// Those in a cgroup, which can be removed when they are gone.
    fn end(&mut self) {
        self.node.end();
        self.pod.end();
    }
}

/// The kernel takes a moment to let go of processes that ended.
fn remove(cgroup: &Path) {
    for _ in 0..100 {
        if fs::remove_dir(cgroup).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    eprintln!("left behind: {}", cgroup.display());
}

fn started(
    config: Config,
    pods: [beeline_datapath::EndpointAttach; 2],
    tasks: &Tasks,
) -> (Runtime, Datapath) {
    let runtime = runtime(1);
    let datapath = runtime.block_on(async {
        let datapath = Datapath::start(config, tasks).await.unwrap();
        for pod in pods {
            datapath.attach_endpoint(pod).await.unwrap();
        }
        datapath
    });
    (runtime, datapath)
}

fn runtime(workers: usize) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
        .unwrap()
}

/// The older backend of both: faster, and the same rules.
const RESTORE: [&str; 2] = ["iptables-legacy-restore", "ip6tables-legacy-restore"];

/// Why this cannot run here, if it cannot; said on stderr.
pub fn skip() -> bool {
    let Some(why) = missing() else { return false };
    eprintln!("SKIPPED: {why}");
    true
}

fn missing() -> Option<String> {
    let config = Config::new("/sys/fs/bpf/beeline-test", "/", "000000", "n");
    let feature = beeline_datapath::features(&config).into_iter().find(|feature| {
        feature.name == "privilege" && feature.state == beeline_datapath::State::Missing
    });
    if let Some(feature) = feature {
        return Some(format!("{}: {}", feature.name, feature.why));
    }
    if beeline_sys::cgroup::find_v2_mount().is_err() {
        return Some("no cgroup v2 is mounted".to_owned());
    }
    if !PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/bpf/beeline.o").exists() {
        return Some("no kernel object: run `cargo xtask build-ebpf`".to_owned());
    }
    let tool = RESTORE.into_iter().find(|tool| beeline_test_support::which(tool).is_none())?;
    Some(format!("{tool} is not installed: run `cargo xtask setup`"))
}
