//! Removing what pods left: processes, cgroups, directories. Idempotent, and works without a living shim.
//! In: names derived from the instance and the pod's uid. Out: nothing of them. Kills only processes that sit in our own cgroups,
//! or that are, by pid, start time and command line, the shim that a state file names.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::spawn::instance_cgroup;
use super::{Config, pod_run_dir};
use crate::runtime::{PodUid, Result, RuntimeError};
use crate::shim::protocol::ShimState;
use crate::shim::remove_cgroup_tree;

/// How long killed processes may take to be gone.
const GONE_TIMEOUT: Duration = Duration::from_secs(5);

/// What [`cleanup`] found and removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Pods, by uid.
    pub pods: Vec<String>,
}

/// Kills every shim of an instance with all its containers, and removes their cgroups and directories. Logs and images stay.
pub fn cleanup(
    instance: &str,
    run_dir: &Path,
    data_dir: &Path,
    cgroup_root: &Path,
) -> Result<Removed> {
    let places = Places { instance, run_dir, data_dir, cgroup_root };
    let mut removed = Removed::default();
    for pod in places.pods()? {
        places.remove_pod(&pod)?;
        removed.pods.push(pod.to_string());
    }
    let mounts =
        beeline_sys::cgroup::mounts().map_err(|e| RuntimeError::io(e.attempt, e.source))?;
    for mount in mounts.v1.values().map(PathBuf::as_path).chain([cgroup_root]) {
        remove_cgroup_tree(&instance_cgroup(mount, instance));
    }
    for dir in [run_dir.join("pods"), data_dir.join("containers")] {
        remove_all(&dir)?;
    }
    Ok(removed)
}

/// Pods of which there is any trace.
pub(super) fn known_pods(config: &Config) -> Result<Vec<PodUid>> {
    Places::of(config).pods()
}

/// Removes every trace of a pod but its logs.
pub(super) fn remove_pod(config: &Config, pod: &PodUid) -> Result<()> {
    Places::of(config).remove_pod(pod)
}

/// Removes a tree; absent is fine.
pub(super) fn remove_all(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(RuntimeError::io(format!("remove {}", dir.display()), error))
        }
        _ => Ok(()),
    }
}

struct Places<'a> {
    instance: &'a str,
    run_dir: &'a Path,
    data_dir: &'a Path,
    cgroup_root: &'a Path,
}

impl<'a> Places<'a> {
    fn of(config: &'a Config) -> Self {
        let Config { instance, run_dir, data_dir, cgroup_root, .. } = config;
        Self { instance, run_dir, data_dir, cgroup_root }
    }

    fn pods_cgroup(&self) -> PathBuf {
        instance_cgroup(self.cgroup_root, self.instance).join("pods")
    }

    fn pods(&self) -> Result<Vec<PodUid>> {
        let mut found = Vec::new();
        for dir in [self.run_dir.join("pods"), self.data_dir.join("containers"), self.pods_cgroup()]
        {
            let entries = match std::fs::read_dir(&dir) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => {
                    other.map_err(|e| RuntimeError::io(format!("list {}", dir.display()), e))?
                }
            };
            let dirs = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
            found.extend(dirs.filter_map(|e| PodUid::new(e.file_name().to_str()?).ok()));
        }
        found.sort();
        found.dedup();
        Ok(found)
    }

    fn remove_pod(&self, pod: &PodUid) -> Result<()> {
        let pod_dir = pod_run_dir(self.run_dir, pod);
        let cgroup = self.pods_cgroup().join(pod.as_str());
        if let Some(pid) = recorded_shim(&pod_dir) {
            kill(pid);
        }
        empty(&cgroup, pod)?;
        remove_cgroup_tree(&cgroup);
        let mounts =
            beeline_sys::cgroup::mounts().map_err(|e| RuntimeError::io(e.attempt, e.source))?;
        for mount in mounts.v1.values() {
            remove_cgroup_tree(&mount.join(format!("beeline-{}/pod{pod}", self.instance)));
        }
        remove_all(&self.data_dir.join("containers").join(pod.as_str()))?;
        remove_all(&pod_dir)
    }
}

/// The shim that a state file names, if that very process still runs.
fn recorded_shim(pod_dir: &Path) -> Option<u32> {
    let bytes = std::fs::read(pod_dir.join("state")).ok()?;
    let state: ShimState = postcard::from_bytes(&bytes).ok()?;
    if beeline_sys::boot::boot_id().ok()? != state.boot_id {
        return None;
    }
    let started = beeline_sys::boot::process_start_ticks(state.pid).ok()??;
    let command = std::fs::read(format!("/proc/{}/cmdline", state.pid)).ok()?;
    let dir = std::os::unix::ffi::OsStrExt::as_bytes(pod_dir.as_os_str());
    let ours =
        started == state.start_ticks && command.split(|b| *b == 0).any(|argument| argument == dir);
    ours.then_some(state.pid)
}

fn kill(pid: u32) {
    // Gone already is what we want.
    if let Ok(handle) = beeline_sys::process::pidfd(pid) {
        let _ = beeline_sys::process::signal_pidfd(&handle, rustix::process::Signal::KILL.as_raw());
    }
}

/// Kills all processes in a cgroup and those below it, and waits until they are gone.
fn empty(cgroup: &Path, pod: &PodUid) -> Result<()> {
    let deadline = Instant::now() + GONE_TIMEOUT;
    loop {
        let events = std::fs::read_to_string(cgroup.join("cgroup.events")).unwrap_or_default();
        if !events.lines().any(|line| line == "populated 1") {
            return Ok(());
        }
        // Kernels before 5.14 have no cgroup.kill.
        if std::fs::write(cgroup.join("cgroup.kill"), "1").is_err() {
            kill_each(cgroup);
        }
        if Instant::now() > deadline {
            let why = format!(
                "processes in {} did not end within {} s",
                cgroup.display(),
                GONE_TIMEOUT.as_secs()
            );
            return Err(RuntimeError::Shim { pod: pod.to_string(), why });
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill_each(cgroup: &Path) {
    let procs = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    procs.lines().filter_map(|pid| pid.parse().ok()).for_each(kill);
    for entry in std::fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            kill_each(&entry.path());
        }
    }
}
