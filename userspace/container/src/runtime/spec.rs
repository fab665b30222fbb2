//! What a sandbox and a container should be. Plain values: any combination is legal until the runtime looks at it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::PodUid;

/// A pod's shared part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// The pod's uid.
    pub pod_uid: PodUid,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The host name inside the pod.
    pub hostname: String,
    /// The content of `/etc/hosts`; [`super::Runtime::set_hosts`] changes it once the address is known.
    pub hosts: String,
    /// The content of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Stay in the agent's own network namespace.
    pub host_network: bool,
    /// Namespaced kernel parameters, such as `net.ipv4.ip_unprivileged_port_start`; others are refused.
    pub sysctls: BTreeMap<String, String>,
}

/// One attempt at one container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// Its name in the pod.
    pub name: String,
    /// Which attempt this is, from 0: also the number of its log file.
    pub attempt: u32,
    /// The image, as written in the Pod.
    pub image: String,
    /// Replaces the image's entry point when not empty; the image's own arguments are then dropped too.
    pub command: Vec<String>,
    /// Replaces the image's arguments when not empty.
    pub args: Vec<String>,
    /// Added to the image's environment, later ones win.
    pub env: Vec<(String, String)>,
    /// Replaces the image's working directory; made if it is missing.
    pub working_dir: Option<String>,
    /// Replaces the image's user.
    pub user: Option<User>,
    /// Refuse to run as uid 0.
    pub run_as_non_root: bool,
    /// Mount the root file system read-only.
    pub read_only_root: bool,
    /// All capabilities and devices, nothing masked.
    pub privileged: bool,
    /// Set `no_new_privs`: `allowPrivilegeEscalation: false`.
    pub no_new_privileges: bool,
    /// Capabilities to add to the default ones, without `CAP_`; `ALL` is understood.
    pub capabilities_add: Vec<String>,
    /// Capabilities to drop; `ALL` is understood. Dropped first, as upstream does.
    pub capabilities_drop: Vec<String>,
    /// What to mount from the host.
    pub mounts: Vec<Mount>,
    /// Where the program may leave a message about its end; `/dev/termination-log` by default in Pods.
    pub termination_message_path: Option<String>,
    /// Resource limits.
    pub limits: Limits,
    /// Adjustment of the out-of-memory killer's choice, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
}

/// Who the program runs as.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct User {
    /// User id; the image's when absent.
    pub uid: Option<u32>,
    /// Group id; the image's, else that of the user in the image's `/etc/passwd`, else 0.
    pub gid: Option<u32>,
    /// More groups (`supplementalGroups` and `fsGroup`).
    pub supplementary: Vec<u32>,
}

/// One bind mount from the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the host; must exist.
    pub host_path: PathBuf,
    /// In the container; made if missing.
    pub container_path: String,
    /// Read-only, recursively.
    pub read_only: bool,
}

/// Resource limits of a container; absent means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// Requested thousandths of a core: becomes the share of CPU under contention.
    pub cpu_request_millis: Option<u64>,
    /// The most thousandths of a core per 100 ms period.
    pub cpu_limit_millis: Option<u64>,
    /// The most memory.
    pub memory_limit_bytes: Option<u64>,
    /// The most processes and threads.
    pub pids_limit: Option<u32>,
}
