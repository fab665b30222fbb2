//! The contract between whoever manages pods and whatever runs containers.
//! In: specifications. Out: states, events, errors that carry upstream's reasons. Decides nothing: restart policy lives elsewhere.

use std::path::PathBuf;
use std::time::SystemTime;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;

use crate::logs::{LogOptions, LogReader};

pub mod error;
pub mod spec;

pub use error::RuntimeError;
pub use spec::{ContainerSpec, Limits, Mount, SandboxSpec, User};

/// Results of a runtime.
pub type Result<T> = std::result::Result<T, RuntimeError>;

/// The uid of a pod: it names directories and cgroups, so it is checked once, here.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PodUid(String);

impl PodUid {
    /// Accepts up to 63 letters, digits and dashes.
    pub fn new(uid: impl Into<String>) -> Result<Self> {
        let uid = uid.into();
        let good = !uid.is_empty()
            && uid.len() <= 63
            && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if good {
            Ok(Self(uid))
        } else {
            Err(RuntimeError::invalid("pod uid", format!("{uid:?} is not a uid")))
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for PodUid {
    type Error = RuntimeError;
    fn try_from(uid: String) -> Result<Self> {
        Self::new(uid)
    }
}

impl From<PodUid> for String {
    fn from(uid: PodUid) -> Self {
        uid.0
    }
}

impl std::fmt::Display for PodUid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// One attempt at one container of one pod: 64 hex digits, the same for the same pod uid, name and attempt.
/// In a Pod's status it is written `beeline://<id>`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerId(String);

impl ContainerId {
    /// The id of an attempt.
    #[must_use]
    pub fn of(pod: &PodUid, name: &str, attempt: u32) -> Self {
        use sha2::{Digest, Sha256};
        Self(crate::image::hex(&Sha256::digest(format!("{pod}/{name}/{attempt}"))))
    }

    /// The 64 digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Enough digits to be unique in a pod, for names of directories and cgroups.
    #[must_use]
    pub(crate) fn short(&self) -> &str {
        self.0.get(..16).unwrap_or(&self.0)
    }
}

impl std::fmt::Display for ContainerId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A running sandbox: the pod's shim and its namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// The pod.
    pub pod_uid: PodUid,
    /// The shim: pid 1 of nothing, holder of the pod's network, host name and IPC namespaces.
    pub pid: u32,
    /// `/proc/<pid>/ns/net`.
    pub netns_path: PathBuf,
}

/// A sandbox and everything in it, as the shim reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxStatus {
    /// The pod.
    pub pod_uid: PodUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The shim's pid.
    pub pid: u32,
    /// `/proc/<pid>/ns/net`.
    pub netns_path: PathBuf,
    /// When the sandbox was created.
    pub created_at: SystemTime,
    /// Containers not yet removed, in order of creation.
    pub containers: Vec<ContainerStatus>,
}

/// One container as the shim reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Its id.
    pub id: ContainerId,
    /// Its name in the pod.
    pub name: String,
    /// Which attempt at it this is, from 0.
    pub attempt: u32,
    /// The reference it was created from, as written in the specification.
    pub image: String,
    /// The image's id, `sha256:<hex>` of its configuration.
    pub image_id: String,
    /// Where it is in its life.
    pub state: ContainerState,
    /// When it was created.
    pub created_at: SystemTime,
    /// Its log file.
    pub log_path: PathBuf,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContainerState {
    /// Prepared, its program not yet started.
    Created,
    /// Its program runs.
    Running {
        /// The program's pid, seen from the host.
        pid: u32,
        /// Since when.
        started_at: SystemTime,
    },
    /// Its program has ended.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The code as Kubernetes shows it: the program's own, or 128 + signal.
    pub code: i32,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// True when the kernel killed it for exceeding its memory limit.
    pub oom: bool,
    /// When its program started; `None` when it never did.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub finished_at: SystemTime,
    /// What the program left in its termination message file (at most 4096 bytes), or why it could not start.
    pub message: Option<String>,
}

impl Exit {
    /// Upstream's word for `state.terminated.reason`.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self { oom: true, .. } => "OOMKilled",
            Self { started_at: None, .. } => "StartError",
            Self { code: 0, .. } => "Completed",
            _ => "Error",
        }
    }
}

/// Something happened that nobody asked for. Receivers that lag read [`Runtime::sandboxes`] instead: events are hints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// A container's program ended.
    Exited {
        /// The pod.
        pod: PodUid,
        /// The container.
        container: ContainerId,
        /// How.
        exit: Exit,
    },
    /// A pod's shim is gone: its containers were killed and everything it had was removed.
    SandboxDied {
        /// The pod.
        pod: PodUid,
        /// The last known containers; those that were running are shown as exited with code 137.
        containers: Vec<ContainerStatus>,
    },
}

/// Whose log to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogTarget {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub pod: String,
    /// The pod's uid.
    pub pod_uid: PodUid,
    /// The container's name.
    pub container: String,
}

/// Runs pods. Every method is safe to repeat: creating what exists says so, removing what is gone succeeds.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Starts the pod's shim with its namespaces. An existing live sandbox of the pod is returned as it is.
    async fn create_sandbox(&self, spec: &SandboxSpec) -> Result<Sandbox>;
    /// Everything that runs here, including what an earlier agent started.
    async fn sandboxes(&self) -> Result<Vec<SandboxStatus>>;
    /// Replaces the pod's `/etc/hosts`, in running containers too.
    async fn set_hosts(&self, pod: &PodUid, hosts: &str) -> Result<()>;
    /// Prepares a container up to the point where its program can start. The image must be in the store.
    async fn create_container(&self, pod: &PodUid, spec: &ContainerSpec) -> Result<ContainerId>;
    /// Starts the program of a created container; returns when it runs or could not be executed. Since when it runs: the
    /// same time that [`Runtime::sandboxes`] and its [`Exit`] will tell.
    async fn start_container(&self, pod: &PodUid, container: &ContainerId) -> Result<SystemTime>;
    /// Sends a signal (by number) to the container's first process. A container that has ended counts as signalled.
    async fn kill_container(
        &self,
        pod: &PodUid,
        container: &ContainerId,
        signal: i32,
    ) -> Result<()>;
    /// Kills the container if need be and removes its file system and cgroups. Log files stay.
    async fn remove_container(&self, pod: &PodUid, container: &ContainerId) -> Result<()>;
    /// Kills every container of the pod and its shim, and removes all they had. Log files stay.
    async fn remove_sandbox(&self, pod: &PodUid) -> Result<()>;
    /// Removes the log files of a pod that is gone for good.
    async fn remove_logs(&self, namespace: &str, pod: &str, uid: &PodUid) -> Result<()>;
    /// Events from now on.
    fn events(&self) -> broadcast::Receiver<RuntimeEvent>;
    /// Opens a container's log for reading.
    async fn read_logs(&self, target: &LogTarget, options: LogOptions) -> Result<LogReader>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uids_cannot_leave_their_directory() {
        assert!(PodUid::new("0b9f1a2e-7d5e-4e9b-8a52-1f8a5a3b4c5d").is_ok());
        for bad in ["", "..", "a/b", "a b", &"x".repeat(64)] {
            assert!(PodUid::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ids_are_stable_and_distinct() {
        let pod = PodUid::new("a").unwrap();
        assert_eq!(ContainerId::of(&pod, "c", 1), ContainerId::of(&pod, "c", 1));
        assert_ne!(ContainerId::of(&pod, "c", 1), ContainerId::of(&pod, "c", 2));
        assert_eq!(ContainerId::of(&pod, "c", 1).as_str().len(), 64);
    }
}
