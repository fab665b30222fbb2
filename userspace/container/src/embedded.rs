//! The runtime without a daemon: one shim process per pod, found again through its socket after a restart.
//!
//! In: the [`Runtime`] contract, an [`ImageStore`]. Out: shims, their events. On disk, under the run directory,
//! `pods/<uid>/` holds a pod's socket, state and small files; under the data directory, `containers/<uid>/` its writable layers.
//! Refuses to guess: a shim that does not answer is treated as dead only once its connection is closed.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use beeline_kit::Tasks;
use tokio::sync::broadcast;

use crate::image::ImageStore;
use crate::logs::{LogLimits, LogOptions, LogReader, container_dir, pod_dir};
use crate::runtime::{
    ContainerId, ContainerSpec, ContainerState, ContainerStatus, Exit, LogTarget, PodUid, Result,
    Runtime, RuntimeError, RuntimeEvent, Sandbox, SandboxSpec, SandboxStatus,
};
use crate::shim::protocol::{Create, Reply, Request, ShimState};

mod check;
mod cleanup;
mod client;
mod spawn;

pub use cleanup::{Removed, cleanup};
use client::Client;

/// How many events wait for a slow receiver before it must look at [`Runtime::sandboxes`].
const EVENTS_MAX: usize = 1024;
/// How long a shim may take to kill what it holds before it is killed itself.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// Upstream's exit code for a container of which nothing more is known.
const CODE_UNKNOWN: i32 = 137;

/// Where things are and how shims are started.
#[derive(Debug, Clone)]
pub struct Config {
    /// Sockets and state; short, and gone after a reboot without loss.
    pub run_dir: PathBuf,
    /// Writable layers.
    pub data_dir: PathBuf,
    /// Pod logs.
    pub log_dir: PathBuf,
    /// A directory in the unified cgroup hierarchy, under which `beeline-<instance>/pods/<uid>` is made.
    pub cgroup_root: PathBuf,
    /// Six hexadecimal digits that tell this node's things from another's.
    pub instance: String,
    /// The program and first arguments that lead to [`crate::shim_main`].
    pub shim_command: Vec<OsString>,
    /// Log rotation.
    pub log_limits: LogLimits,
}

/// The embedded runtime. Cheap to clone; shims live on when the last clone is dropped.
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    unified: bool,
    images: Arc<ImageStore>,
    tasks: Tasks,
    events: broadcast::Sender<RuntimeEvent>,
    pods: Mutex<BTreeMap<PodUid, Arc<Client>>>,
    /// One change of a pod's sandbox at a time.
    locks: Mutex<HashMap<PodUid, Arc<tokio::sync::Mutex<()>>>>,
    /// Containers that may still write to their logs.
    live: Arc<Mutex<BTreeSet<ContainerId>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what blocks on a thread where that is allowed.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|e| Err(RuntimeError::io(what, std::io::Error::other(e))))
}

impl Embedded {
    /// Adopts every living shim, and removes what dead ones and an earlier boot left. Containers that were running in a dead
    /// shim are reported by a [`RuntimeEvent::SandboxDied`] only while somebody listens; [`Runtime::sandboxes`] no longer has them.
    pub async fn open(config: Config, images: Arc<ImageStore>, tasks: &Tasks) -> Result<Self> {
        let dirs = [
            config.run_dir.join("pods"),
            config.data_dir.join("containers"),
            config.log_dir.clone(),
        ];
        let cgroup_root = config.cgroup_root.clone();
        let unified = blocking("prepare directories", move || {
            for dir in dirs {
                std::fs::create_dir_all(&dir)
                    .map_err(|e| RuntimeError::io(format!("create {}", dir.display()), e))?;
            }
            spawn::check_cgroup_root(&cgroup_root)
        })
        .await?;
        let (events, _) = broadcast::channel(EVENTS_MAX);
        let inner = Inner {
            config,
            unified,
            images,
            tasks: tasks.clone(),
            events,
            pods: Mutex::default(),
            locks: Mutex::default(),
            live: Arc::default(),
        };
        let runtime = Self { inner: Arc::new(inner) };
        runtime.adopt().await?;
        Ok(runtime)
    }

    async fn adopt(&self) -> Result<()> {
        let config = self.inner.config.clone();
        let known = blocking("list pods", move || cleanup::known_pods(&config)).await?;
        for pod in known {
            match self.connect(&pod).await {
                Ok(client) => {
                    let state = client.last_state();
                    tracing::debug!(pod = %pod, pid = state.pid, containers = state.containers.len(), "adopted a pod");
                }
                Err(error) => {
                    tracing::info!(pod = %pod, %error, "removing what a dead shim left");
                    self.forget(&pod).await?;
                }
            }
        }
        Ok(())
    }

    /// Connects to a pod's shim and takes it in.
    async fn connect(&self, pod: &PodUid) -> Result<Arc<Client>> {
        let pod_dir = self.inner.config.run_dir.join("pods").join(pod.as_str());
        let weak = Arc::downgrade(&self.inner);
        let client = Client::connect(pod.clone(), pod_dir, &self.inner.tasks, weak).await?;
        let state = client.last_state();
        for container in &state.containers {
            self.inner.images.pin(&pin_name(pod, &container.id), &container.image_id);
            if !matches!(container.state, ContainerState::Exited(_)) {
                lock(&self.inner.live).insert(container.id.clone());
            }
        }
        lock(&self.inner.pods).insert(pod.clone(), Arc::clone(&client));
        Ok(client)
    }

    /// Kills and removes all that belongs to a pod, whatever state it is in.
    async fn forget(&self, pod: &PodUid) -> Result<()> {
        lock(&self.inner.pods).remove(pod);
        self.inner.images.unpin_all(&pin_name(pod, ""));
        let (config, uid) = (self.inner.config.clone(), pod.clone());
        blocking("remove a pod", move || cleanup::remove_pod(&config, &uid)).await
    }

    fn client(&self, pod: &PodUid) -> Result<Arc<Client>> {
        let found = lock(&self.inner.pods).get(pod).cloned();
        found.ok_or_else(|| RuntimeError::NoSandbox(pod.to_string()))
    }

    async fn ask(&self, pod: &PodUid, request: Request) -> Result<Reply> {
        self.client(pod)?.ask(request).await
    }

    fn pod_lock(&self, pod: &PodUid) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = lock(&self.inner.locks);
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry(pod.clone()).or_default())
    }
}

impl Inner {
    fn exited(&self, pod: &PodUid, container: ContainerId, exit: Exit) {
        lock(&self.live).remove(&container);
        // Without a receiver nobody wants to know; the state has it.
        let _ = self.events.send(RuntimeEvent::Exited { pod: pod.clone(), container, exit });
    }

    /// A connection ended without our asking: the shim is dead, and with it the pod.
    async fn died(self: Arc<Self>, pod: PodUid, state: ShimState) {
        let runtime = Embedded { inner: self };
        let guard = runtime.pod_lock(&pod);
        let _one_at_a_time = guard.lock().await;
        // The pod may have been made anew while we waited; that one is not ours to remove.
        if runtime.client(&pod).is_ok_and(|client| client.last_state().pid != state.pid) {
            return;
        }
        let said = crate::shim::log::since(&pod_run_dir(&runtime.inner.config.run_dir, &pod), 0);
        tracing::warn!(%pod, pid = state.pid, said, "the pod's shim died; removing what it left");
        if let Err(error) = runtime.forget(&pod).await {
            tracing::error!(%pod, %error, "could not remove all that the pod's shim left");
        }
        let containers: Vec<_> = state.containers.into_iter().map(lost).collect();
        lock(&runtime.inner.live).retain(|id| containers.iter().all(|c| c.id != *id));
        let _ = runtime.inner.events.send(RuntimeEvent::SandboxDied { pod, containers });
    }
}

/// What can be said of a container whose shim is dead.
fn lost(mut container: ContainerStatus) -> ContainerStatus {
    let started_at = match container.state {
        ContainerState::Exited(_) => return container,
        ContainerState::Created => None,
        ContainerState::Running { started_at, .. } => Some(started_at),
    };
    container.state = ContainerState::Exited(Exit {
        code: CODE_UNKNOWN,
        signal: Some(libc_sigkill()),
        oom: false,
        started_at,
        finished_at: SystemTime::now(),
        message: Some("The container could not be located when the pod was terminated".to_owned()),
    });
    container
}

fn libc_sigkill() -> i32 {
    rustix::process::Signal::KILL.as_raw()
}

fn pin_name(pod: &PodUid, container: impl std::fmt::Display) -> String {
    format!("{pod}/{container}")
}

fn netns_path(pid: u32) -> PathBuf {
    beeline_sys::netns::path_of_pid(pid)
}

#[async_trait]
impl Runtime for Embedded {
    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox> {
        let pod = &spec.pod_uid;
        let guard = self.pod_lock(pod);
        let _one_at_a_time = guard.lock().await;
        let client = match self.client(pod) {
            Ok(client) => client,
            Err(_) => {
                self.forget(pod).await?;
                let (config, spec, unified) =
                    (self.inner.config.clone(), spec.clone(), self.inner.unified);
                let spawned =
                    blocking("start a shim", move || spawn::spawn(&config, &spec, unified)).await;
                let connected = match spawned {
                    Ok(()) => self.connect(pod).await,
                    Err(error) => Err(error),
                };
                match connected {
                    Ok(client) => client,
                    Err(error) => {
                        self.forget(pod).await?;
                        return Err(error);
                    }
                }
            }
        };
        let pid = client.last_state().pid;
        Ok(Sandbox { pod_uid: pod.clone(), pid, netns_path: netns_path(pid) })
    }

    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>> {
        let clients: Vec<_> = lock(&self.inner.pods).values().cloned().collect();
        let mut all = Vec::with_capacity(clients.len());
        for client in clients {
            // A shim that dies meanwhile is reported by its own event.
            let Ok(Reply::State(state)) = client.ask(Request::State).await else { continue };
            all.push(SandboxStatus {
                pod_uid: client.pod().clone(),
                namespace: client.spec().namespace.clone(),
                name: client.spec().name.clone(),
                pid: state.pid,
                netns_path: netns_path(state.pid),
                created_at: state.created_at,
                containers: state.containers,
            });
        }
        Ok(all)
    }

    async fn set_hosts(&self, pod: &PodUid, hosts: &str) -> Result<()> {
        let path = self.inner.config.run_dir.join("pods").join(pod.as_str()).join("etc/hosts");
        self.client(pod)?;
        // In place, since containers have the file itself mounted, not its directory.
        let hosts = hosts.to_owned();
        blocking("write hosts", move || {
            std::fs::write(&path, hosts)
                .map_err(|e| RuntimeError::io(format!("write {}", path.display()), e))
        })
        .await
    }

    async fn create_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<ContainerId> {
        check::container(spec)?;
        let missing = || RuntimeError::ImageNotPresent { reference: spec.image.clone() };
        let image = self.inner.images.resolve(&spec.image).ok_or_else(missing)?;
        check::non_root(spec, &image)?;
        let id = ContainerId::of(pod, &spec.name, spec.attempt);
        let create = Create {
            id: id.clone(),
            spec: spec.clone(),
            image_id: image.id.clone(),
            layers_dir: self.inner.images.layers_dir(),
            layers: ImageStore::layer_names(&image),
            image: image.config,
        };
        let pin = pin_name(pod, &id);
        self.inner.images.pin(&pin, &image.id);
        lock(&self.inner.live).insert(id.clone());
        if let Err(error) = self.ask(pod, Request::Create(Box::new(create))).await {
            lock(&self.inner.live).remove(&id);
            self.inner.images.unpin(&pin);
            return Err(error);
        }
        Ok(id)
    }

    async fn start_container(&self, pod: &PodUid, container: &ContainerId) -> Result<SystemTime> {
        let started = self.ask(pod, Request::Start(container.clone())).await;
        if let Err(RuntimeError::Start { .. }) = &started {
            lock(&self.inner.live).remove(container);
        }
        match started? {
            Reply::Started(at) => Ok(at),
            Reply::Done | Reply::State(_) => Err(RuntimeError::Shim {
                pod: pod.to_string(),
                why: "its answer does not belong to the question".to_owned(),
            }),
        }
    }

    async fn kill_container(
        &self,
        pod: &PodUid,
        container: &ContainerId,
        signal: i32,
    ) -> Result<()> {
        self.ask(pod, Request::Signal(container.clone(), signal)).await.map(|_| ())
    }

    async fn remove_container(&self, pod: &PodUid, container: &ContainerId) -> Result<()> {
        match self.ask(pod, Request::Remove(container.clone())).await {
            Ok(_) | Err(RuntimeError::NoSandbox(_)) => {}
            Err(error) => return Err(error),
        }
        lock(&self.inner.live).remove(container);
        self.inner.images.unpin(&pin_name(pod, container));
        Ok(())
    }

    async fn remove_sandbox(&self, pod: &PodUid) -> Result<()> {
        let guard = self.pod_lock(pod);
        let _one_at_a_time = guard.lock().await;
        if let Ok(client) = self.client(pod) {
            client.expect_end();
            let ended = tokio::time::timeout(SHUTDOWN_TIMEOUT, client.ask(Request::Shutdown)).await;
            if !matches!(ended, Ok(Ok(_))) {
                tracing::warn!(%pod, "the pod's shim did not shut down in time; killing it");
            }
            let state = client.last_state();
            lock(&self.inner.live).retain(|id| state.containers.iter().all(|c| c.id != *id));
        }
        self.forget(pod).await
    }

    async fn remove_logs(&self, namespace: &str, pod: &str, uid: &PodUid) -> Result<()> {
        let dir = pod_dir(&self.inner.config.log_dir, namespace, pod, uid);
        blocking("remove logs", move || cleanup::remove_all(&dir)).await
    }

    fn events(&self) -> broadcast::Receiver<RuntimeEvent> {
        self.inner.events.subscribe()
    }

    async fn read_logs(&self, target: &LogTarget, options: LogOptions) -> Result<LogReader> {
        let LogTarget { namespace, pod, pod_uid, container } = target.clone();
        let dir = container_dir(
            &pod_dir(&self.inner.config.log_dir, &namespace, &pod, &pod_uid),
            &container,
        );
        let live = Arc::clone(&self.inner.live);
        let name = container.clone();
        let ended =
            move |attempt| !lock(&live).contains(&ContainerId::of(&pod_uid, &name, attempt));
        blocking("open a log", move || {
            Ok(LogReader::open(&dir, options, &pod, &container, Arc::new(ended))?)
        })
        .await
    }
}

/// The directory of a pod under the run directory.
fn pod_run_dir(run_dir: &Path, pod: &PodUid) -> PathBuf {
    run_dir.join("pods").join(pod.as_str())
}
