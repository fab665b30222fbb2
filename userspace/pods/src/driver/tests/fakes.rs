//! A node in memory: what the driver asks of it is written down in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use beeline_container::{
    logs::{LogOptions, LogReader},
    runtime::{
        ContainerId, ContainerSpec, ContainerState, ContainerStatus, Exit, LogTarget, PodUid,
        Result, Runtime, RuntimeError, RuntimeEvent, Sandbox, SandboxSpec, SandboxStatus,
    },
};
use beeline_kit::Clock;
use beeline_netdev::{Mac, PodLink};
use beeline_tables::{Epoch, ObjectName};
use k8s_openapi::api::core::v1::{Event, NodeStatus, PodStatus};
use tokio::sync::{broadcast, watch};

use crate::ports::{
    Connected, DatapathPort, Endpoint, ImageFacts, Images, NetPort, PortError, Ports, Reporter,
    TokenWanted, Tokens,
};

/// Both clocks follow the test's paused one.
#[derive(Debug)]
pub(super) struct PausedClock(pub(super) tokio::time::Instant);

impl Clock for PausedClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600) + self.0.elapsed()
    }

    fn monotonic(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

#[derive(Default)]
pub(super) struct State {
    /// Seconds since the start, and what was asked.
    pub(super) journal: Vec<(u64, String)>,
    pub(super) images: BTreeSet<String>,
    pub(super) sandboxes: BTreeMap<PodUid, SandboxStatus>,
    pub(super) statuses: BTreeMap<String, PodStatus>,
    pub(super) gone: Vec<String>,
    pub(super) events: Vec<String>,
    /// Containers end this long after their start.
    pub(super) lifetime: Option<Duration>,
    /// Containers do not end when asked to.
    pub(super) stubborn: bool,
    /// The server gives no tokens.
    pub(super) no_tokens: bool,
    tokens: u32,
    pid: u32,
}

pub(super) struct Node {
    state: Mutex<State>,
    events: broadcast::Sender<RuntimeEvent>,
    pub(super) in_force: watch::Sender<Epoch>,
    begun: tokio::time::Instant,
}

impl Node {
    pub(super) fn new() -> Arc<Self> {
        let node = Self {
            state: Mutex::default(),
            events: broadcast::channel(256).0,
            in_force: watch::Sender::new(Epoch(0)),
            begun: tokio::time::Instant::now(),
        };
        node.state().images.insert("web:1".into());
        Arc::new(node)
    }

    pub(super) fn ports(self: &Arc<Self>) -> Ports {
        let node = || Arc::clone(self);
        Ports {
            runtime: node(),
            images: node(),
            net: node(),
            datapath: node(),
            tokens: node(),
            reporter: node(),
            clock: Arc::new(PausedClock(self.begun)),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn write(&self, line: String) {
        let at = self.begun.elapsed().as_secs();
        self.state().journal.push((at, line));
    }

    /// What was asked so far, without the times; the journal is empty afterwards.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().journal).into_iter().map(|(_, line)| line).collect()
    }

    pub(super) fn status(&self, uid: &str) -> Option<PodStatus> {
        self.state().statuses.get(uid).cloned()
    }

    /// End a container, as the kernel would.
    pub(super) fn exit(&self, uid: &str, name: &str, code: i32) {
        let exit = self.end(uid, name, code);
        if let Some((pod, container, exit)) = exit {
            let _ = self.events.send(RuntimeEvent::Exited { pod, container, exit });
        }
    }

    fn end(&self, uid: &str, name: &str, code: i32) -> Option<(PodUid, ContainerId, Exit)> {
        let uid = PodUid::new(uid).unwrap();
        let at = PausedClock(self.begun).now();
        let mut state = self.state();
        let sandbox = state.sandboxes.get_mut(&uid)?;
        let running = |one: &&mut ContainerStatus| {
            one.name == name && matches!(one.state, ContainerState::Running { .. })
        };
        let container = sandbox.containers.iter_mut().find(running)?;
        let ContainerState::Running { started_at, .. } = container.state else { return None };
        let exit = Exit {
            code,
            signal: None,
            oom: false,
            started_at: Some(started_at),
            finished_at: at,
            message: None,
        };
        container.state = ContainerState::Exited(exit.clone());
        Some((uid, container.id.clone(), exit))
    }

    pub(super) fn sandbox_dies(&self, uid: &str) {
        let pod = PodUid::new(uid).unwrap();
        self.state().sandboxes.remove(&pod);
        let _ = self.events.send(RuntimeEvent::SandboxDied { pod, containers: Vec::new() });
    }
}

fn missing(uid: &PodUid) -> RuntimeError {
    RuntimeError::NoSandbox(uid.to_string())
}

#[async_trait]
impl Runtime for Node {
    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox> {
        self.write(format!("sandbox {}", spec.pod_uid));
        let created_at = PausedClock(self.begun).now();
        let mut state = self.state();
        state.pid += 1;
        let pid = state.pid;
        let netns_path = PathBuf::from(format!("/proc/{pid}/ns/net"));
        let status = SandboxStatus {
            pod_uid: spec.pod_uid.clone(),
            namespace: spec.namespace.clone(),
            name: spec.name.clone(),
            pid,
            netns_path: netns_path.clone(),
            created_at,
            containers: Vec::new(),
        };
        state.sandboxes.insert(spec.pod_uid.clone(), status);
        Ok(Sandbox { pod_uid: spec.pod_uid.clone(), pid, netns_path })
    }

    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        Ok(self.state().sandboxes.values().cloned().collect())
    }

    async fn set_hosts(&self, _: &PodUid, hosts: &str) -> Result<()> {
        assert!(hosts.contains("10.42.0."));
        Ok(())
    }

    async fn create_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<ContainerId> {
        self.write(format!("create {}.{}", spec.name, spec.attempt));
        let id = ContainerId::of(pod, &spec.name, spec.attempt);
        let created_at = PausedClock(self.begun).now();
        let mut state = self.state();
        let sandbox = state.sandboxes.get_mut(pod).ok_or_else(|| missing(pod))?;
        sandbox.containers.push(ContainerStatus {
            id: id.clone(),
            name: spec.name.clone(),
            attempt: spec.attempt,
            image: spec.image.clone(),
            image_id: "sha256:a".into(),
            state: ContainerState::Created,
            created_at,
            log_path: PathBuf::new(),
        });
        Ok(id)
    }

    async fn start_container(&self, pod: &PodUid, container: &ContainerId) -> Result<SystemTime> {
        let started_at = PausedClock(self.begun).now();
        let (name, lifetime) = {
            let mut state = self.state();
            let lifetime = state.lifetime;
            let sandbox = state.sandboxes.get_mut(pod).ok_or_else(|| missing(pod))?;
            let found = sandbox.containers.iter_mut().find(|one| one.id == *container).unwrap();
            found.state = ContainerState::Running { pid: 1000, started_at };
            (found.name.clone(), lifetime)
        };
        self.write(format!("start {name}"));
        if let Some(lifetime) = lifetime {
            assert!(lifetime.is_zero(), "longer lives are ended by the test");
            self.exit(pod.as_str(), &name, 1);
        }
        Ok(started_at)
    }

    async fn kill_container(
        &self,
        pod: &PodUid,
        container: &ContainerId,
        signal: i32,
    ) -> Result<()> {
        let name = {
            let state = self.state();
            let sandbox = state.sandboxes.get(pod).ok_or_else(|| missing(pod))?;
            sandbox.containers.iter().find(|one| one.id == *container).unwrap().name.clone()
        };
        self.write(format!("kill {name} {signal}"));
        if signal == 9 || !self.state().stubborn {
            self.exit(pod.as_str(), &name, 128 + signal);
        }
        Ok(())
    }

    async fn remove_container(&self, pod: &PodUid, container: &ContainerId) -> Result<()> {
        if let Some(sandbox) = self.state().sandboxes.get_mut(pod) {
            sandbox.containers.retain(|one| one.id != *container);
        }
        Ok(())
    }

    async fn remove_sandbox(&self, pod: &PodUid) -> Result<()> {
        if self.state().sandboxes.remove(pod).is_some() {
            self.write(format!("remove {pod}"));
        }
        Ok(())
    }

    async fn remove_logs(&self, _: &str, _: &str, _: &PodUid) -> Result<()> {
        Ok(())
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.events.subscribe()
    }

    async fn read_logs(&self, target: &LogTarget, _: LogOptions) -> Result<LogReader> {
        Err(RuntimeError::NoSandbox(target.pod.clone()))
    }
}

impl Images for Node {
    fn resolve(&self, reference: &str) -> Option<ImageFacts> {
        let present = self.state().images.contains(reference);
        present.then(|| ImageFacts {
            id: "sha256:a".into(),
            names: vec![reference.into()],
            size_bytes: 1,
            stop_signal: "SIGQUIT".into(),
        })
    }

    fn list(&self) -> Vec<ImageFacts> {
        Vec::new()
    }
}

#[async_trait]
impl NetPort for Node {
    async fn connect(
        &self,
        pod_uid: &str,
        netns_pid: u32,
    ) -> std::result::Result<Connected, PortError> {
        self.write(format!("connect {pod_uid}"));
        let last = u8::try_from(netns_pid + 1).unwrap();
        Ok(Connected {
            addresses: Ipv4Addr::new(10, 42, 0, last).into(),
            link: PodLink {
                name: "bl".into(),
                host_ifindex: netns_pid,
                host_mac: Mac::default(),
                pod_mac: Mac::default(),
            },
            netns_cookie: u64::from(netns_pid),
        })
    }

    async fn disconnect(&self, pod_uid: &str) -> std::result::Result<(), PortError> {
        self.write(format!("disconnect {pod_uid}"));
        Ok(())
    }

    async fn retain(&self, pod_uids: &[&str]) -> std::result::Result<(), PortError> {
        self.write(format!("retain {}", pod_uids.join(" ")));
        Ok(())
    }
}

#[async_trait]
impl DatapathPort for Node {
    async fn attach_endpoint(&self, endpoint: &Endpoint) -> std::result::Result<(), PortError> {
        self.write(format!("attach {}", endpoint.uid));
        Ok(())
    }

    async fn detach_endpoint(&self, pod_uid: &str) -> std::result::Result<(), PortError> {
        self.write(format!("detach {pod_uid}"));
        Ok(())
    }

    fn in_force(&self) -> watch::Receiver<Epoch> {
        self.in_force.subscribe()
    }
}

#[async_trait]
impl Reporter for Node {
    async fn pod_status(&self, _: &ObjectName, uid: &str, status: PodStatus) {
        self.state().statuses.insert(uid.to_owned(), status);
    }

    async fn pod_gone(&self, _: &ObjectName, uid: &str) {
        self.state().gone.push(uid.to_owned());
    }

    async fn event(&self, event: Event) {
        let text = |value: Option<String>| value.unwrap_or_default();
        let line = format!("{} {}: {}", text(event.type_), text(event.reason), text(event.message));
        self.state().events.push(line);
    }

    async fn node_status(&self, _: NodeStatus) {}

    async fn heartbeat(&self) {}
}

#[async_trait]
impl Tokens for Node {
    async fn token(&self, wanted: TokenWanted) -> std::result::Result<String, PortError> {
        let mut state = self.state();
        if state.no_tokens {
            return Err(PortError("no line to the server".into()));
        }
        state.tokens += 1;
        Ok(format!("{} for {:?}, number {}", wanted.account, wanted.audience, state.tokens))
    }
}
