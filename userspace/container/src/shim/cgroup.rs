//! The pod's place in the cgroup hierarchies, and what they tell about a container's end.
//! On hybrid hosts limits live in the v1 controllers while every process also sits in the unified subtree, which it inherits
//! from the shim. On unified hosts the shim sits in a leaf of its own, since controllers are not handed down past processes.

use std::path::{Path, PathBuf};

use beeline_sys::process::{self, Forked};

use super::protocol::ShimConfig;

/// Forks; the child is in the pod's cgroup.
pub(super) fn fork_into(config: &ShimConfig) -> Result<Forked, String> {
    let dir = if config.unified { config.cgroup.join("shim") } else { config.cgroup.clone() };
    let name = dir.display();
    std::fs::create_dir_all(&dir).map_err(|e| format!("create cgroup {name}: {e}"))?;
    let handle = std::fs::File::open(&dir).map_err(|e| format!("open cgroup {name}: {e}"))?;
    if let Ok(forked) = process::fork_into(&handle.into()) {
        return Ok(forked);
    }
    // Before Linux 5.7, or where a sandbox around us forbids clone3: the slow way.
    let forked = process::fork().map_err(|e| e.to_string())?;
    if forked == Forked::Child {
        std::fs::write(dir.join("cgroup.procs"), "0")
            .map_err(|e| format!("join cgroup {name}: {e}"))?;
    }
    Ok(forked)
}

/// The directories of one container in every hierarchy.
#[derive(Debug)]
pub(super) struct ContainerCgroups {
    dirs: Vec<PathBuf>,
    memory: Option<PathBuf>,
}

impl ContainerCgroups {
    pub(super) fn of(config: &ShimConfig, name: &str) -> Self {
        if config.unified {
            let dir = config.cgroup.join(name);
            return Self { memory: Some(dir.join("memory.events")), dirs: vec![dir] };
        }
        let mounts = beeline_sys::cgroup::mounts().unwrap_or_default();
        let below =
            |mount: &PathBuf| mount.join(config.limits_path.trim_start_matches('/')).join(name);
        let mut dirs: Vec<PathBuf> = mounts.v1.values().map(below).collect();
        dirs.dedup();
        Self { memory: mounts.v1.get("memory").map(|m| below(m).join("memory.oom_control")), dirs }
    }

    /// How often the kernel killed a process in here for memory.
    pub(super) fn oom_kills(&self) -> u64 {
        let text = self
            .memory
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
    }

    /// Removes the directories of a container that has ended. What is still busy is left for the agent's clean-up.
    pub(super) fn remove(&self) {
        for dir in &self.dirs {
            remove_tree(dir);
        }
    }
}

/// The mounts that libcontainer makes below `/sys/fs/cgroup` in a container on a host with v1 controllers.
pub(super) fn mounts_inside(config: &ShimConfig) -> Vec<String> {
    if config.unified {
        return Vec::new();
    }
    let mounts = beeline_sys::cgroup::mounts().unwrap_or_default();
    let names =
        mounts.v1.values().chain(&mounts.v2).filter_map(|mount| mount.file_name()?.to_str());
    let mut paths: Vec<String> =
        names.chain(["systemd"]).map(|name| format!("/sys/fs/cgroup/{name}")).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Removes a cgroup and those below it. The files in a cgroup's directory go with it.
pub(crate) fn remove_tree(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    // Busy or absent: the caller looks again or has nothing to do.
    let _ = std::fs::remove_dir(dir);
}
