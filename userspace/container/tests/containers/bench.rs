//! A runtime in a temporary directory, with helpers, that removes all it made and says so if it could not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use beeline_container::embedded::{Config, cleanup};
use beeline_container::image::{ImageConfig, build};
use beeline_container::logs::{LogLimits, LogOptions};
use beeline_container::runtime::*;
use beeline_container::{Embedded, ImageStore, Runtime};
use beeline_kit::Tasks;

pub(crate) const BUSYBOX: &str = "/bin/busybox";

/// Runs a test with a runtime, unless this machine cannot.
pub(crate) fn with<F, Fut>(test: &str, body: F)
where
    F: FnOnce(Arc<Bench>) -> Fut,
    Fut: Future<Output = ()>,
{
    if let Some(why) = missing() {
        eprintln!("SKIP {test}: {why}");
        return;
    }
    beeline_kit::telemetry::init(beeline_kit::telemetry::LogFormat::Text, "warn");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bench = runtime.block_on(async { Arc::new(Bench::new().await) });
    let (config, dir) = (bench.config.clone(), Arc::clone(&bench.dir));
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| runtime.block_on(body(bench))));
    drop(runtime);
    cleanup(&config.instance, &config.run_dir, &config.data_dir, &config.cgroup_root).unwrap();
    let left = left(&config.instance, dir.path());
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".to_owned());
    }
    if !Path::new(BUSYBOX).exists() {
        return Some("needs busybox-static".to_owned());
    }
    beeline_sys::cgroup::find_v2_mount().err().map(|e| e.to_string())
}

/// Mounts, processes and cgroups that carry our name.
fn left(instance: &str, dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let dir_text = dir.to_str().unwrap();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    found.extend(mounts.lines().filter(|l| l.contains(dir_text)).map(str::to_owned));
    for process in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if command.contains(dir_text) {
            found.push(format!("process {command}"));
        }
    }
    let mounts = beeline_sys::cgroup::mounts().unwrap();
    for mount in mounts.v1.values().chain(&mounts.v2) {
        let cgroup = mount.join(format!("beeline-{instance}"));
        if cgroup.exists() {
            found.push(cgroup.display().to_string());
        }
    }
    found
}

pub(crate) struct Bench {
    pub(crate) dir: Arc<tempfile::TempDir>,
    pub(crate) config: Config,
    pub(crate) images: Arc<ImageStore>,
    pub(crate) runtime: Embedded,
    pub(crate) tasks: Tasks,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The shim's program, built along with the tests.
fn shim() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().join("examples/beeline-shim-test")
}

impl Bench {
    async fn new() -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = |name: &str| dir.path().join(name);
        let config = Config {
            run_dir: at("run"),
            data_dir: at("data"),
            log_dir: at("log"),
            cgroup_root: beeline_sys::cgroup::find_v2_mount().unwrap(),
            instance: format!("{:06x}", (std::process::id() * 16 + number) & 0xff_ffff),
            shim_command: vec![shim().into(), "shim".into()],
            log_limits: LogLimits::default(),
        };
        let images = Arc::new(ImageStore::open(&at("images")).unwrap());
        let archive = at("hello.tar");
        let applets = [
            "sh", "cat", "sleep", "ls", "id", "kill", "hostname", "mount", "dd", "tail", "env",
            "head",
        ];
        let entries = build::busybox_entries(Path::new(BUSYBOX), &applets);
        let image = ImageConfig { cmd: vec!["sh".into()], ..ImageConfig::default() };
        build::archive(&archive, "hello:1", &entries, &image).unwrap();
        images.import(&archive, &mut |_| {}).unwrap();
        let tasks = Tasks::new();
        let runtime = Embedded::open(config.clone(), Arc::clone(&images), &tasks).await.unwrap();
        Self { dir, config, images, runtime, tasks }
    }

    /// What the next agent sees: the connections of this one end first.
    pub(crate) async fn reopen(&self) -> Embedded {
        self.tasks.stop(Duration::from_secs(1)).await;
        Embedded::open(self.config.clone(), Arc::clone(&self.images), &Tasks::new()).await.unwrap()
    }

    pub(crate) async fn sandbox(&self, name: &str) -> Sandbox {
        self.runtime.create_sandbox(&sandbox(name)).await.unwrap()
    }

    /// Runs a shell script to its end and returns how it ended and what it printed.
    pub(crate) async fn run(&self, pod: &PodUid, spec: ContainerSpec) -> (Exit, String) {
        let mut events = self.runtime.events();
        let id = self.runtime.create_container(pod, &spec).await.unwrap();
        self.runtime.start_container(pod, &id).await.unwrap();
        let exit = loop {
            match tokio::time::timeout(Duration::from_secs(20), events.recv())
                .await
                .unwrap()
                .unwrap()
            {
                RuntimeEvent::Exited { container, exit, .. } if container == id => break exit,
                _ => {}
            }
        };
        (exit, self.log(pod, &spec.name, LogOptions::default()).await)
    }

    pub(crate) async fn log(&self, pod: &PodUid, container: &str, options: LogOptions) -> String {
        let target = LogTarget {
            namespace: "default".into(),
            pod: pod.to_string(),
            pod_uid: pod.clone(),
            container: container.into(),
        };
        let mut reader = self.runtime.read_logs(&target, options).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = reader.next().await {
            text.extend_from_slice(&chunk.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    pub(crate) async fn state(&self, pod: &PodUid, id: &ContainerId) -> ContainerState {
        let all = self.runtime.sandboxes().await.unwrap();
        let sandbox = all.into_iter().find(|s| s.pod_uid == *pod).unwrap();
        sandbox.containers.into_iter().find(|c| c.id == *id).unwrap().state
    }
}

pub(crate) fn uid(name: &str) -> PodUid {
    PodUid::new(name).unwrap()
}

pub(crate) fn sandbox(name: &str) -> SandboxSpec {
    SandboxSpec {
        pod_uid: uid(name),
        namespace: "default".into(),
        name: name.into(),
        hostname: name.into(),
        hosts: "127.0.0.1 localhost\n".into(),
        resolv_conf: "nameserver 192.0.2.53\n".into(),
        host_network: false,
        sysctls: Default::default(),
    }
}

pub(crate) fn script(name: &str, text: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.into(),
        image: "hello:1".into(),
        command: vec!["sh".into(), "-c".into(), text.into()],
        ..ContainerSpec::default()
    }
}
