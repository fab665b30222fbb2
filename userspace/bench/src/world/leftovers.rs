//! What does not vanish with the process by itself: a folder and cgroups. Their names carry the process's number, so that
//! the next start finds and removes those of a run that was killed.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::BenchError;

/// Folders are in here.
const BASE: &str = "/run/beeline-bench";
const PREFIX: &str = "beeline-bench-";
/// The kernel takes a moment to let go of a cgroup's last process.
const PATIENCE: u32 = 100;

/// Runs of this process so far.
static RUNS: AtomicU32 = AtomicU32::new(0);

/// The folder of this run. Removed, with the cgroups, when dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    cgroup: Option<PathBuf>,
}

impl Folder {
    /// Remove what dead runs left, and make this run's own. A host without cgroup v2 has none.
    pub fn new() -> Result<Self, BenchError> {
        let cgroups = beeline_sys::cgroup::find_v2_mount().ok();
        remove_dead(Path::new(BASE), "");
        if let Some(mount) = &cgroups {
            remove_dead(mount, PREFIX);
        }
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let own = format!("{}-{number}", std::process::id());
        let path = Path::new(BASE).join(&own);
        make(&path)?;
        let cgroup = cgroups.map(|mount| mount.join(format!("{PREFIX}{own}")));
        if let Some(cgroup) = &cgroup {
            make(cgroup)?;
        }
        Ok(Self { path, cgroup })
    }

    pub(super) fn subfolder(&self, name: &str) -> Result<PathBuf, BenchError> {
        let path = self.path.join(name);
        make(&path)?;
        Ok(path)
    }

    pub(super) fn cgroup(&self, name: &str) -> Result<Option<PathBuf>, BenchError> {
        let path = self.cgroup.as_ref().map(|cgroup| cgroup.join(name));
        path.map(|path| make(&path).map(|()| path)).transpose()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.path);
        if let Some(cgroup) = &self.cgroup {
            remove(cgroup);
        }
        // Only if no other run is there.
        let _ = fs::remove_dir(BASE);
    }
}

fn make(path: &Path) -> Result<(), BenchError> {
    fs::create_dir_all(path).map_err(|source| BenchError::File { path: path.to_owned(), source })
}

/// Remove what is named after processes that are no more.
fn remove_dead(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
        let owner: Option<u32> = owner.and_then(|pid| pid.parse().ok());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            remove(&entry.path());
        }
    }
}

/// Remove a folder or cgroup with all below it. Files of a cgroup go with it; a mount of bpffs is unmounted first.
fn remove(path: &Path) {
    for _ in 0..PATIENCE {
        remove_below(path);
        match fs::remove_dir(path) {
            Ok(()) => return,
            Err(error) if error.kind() == ErrorKind::NotFound => return,
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn remove_below(path: &Path) {
    let Ok(entries) = fs::read_dir(path) else { return };
    for entry in entries.flatten() {
        let child = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&child);
            let _ = rustix::mount::unmount(&child, rustix::mount::UnmountFlags::DETACH);
            let _ = fs::remove_dir(&child);
        } else {
            // The files of a cgroup cannot be removed, and need not be.
            let _ = fs::remove_file(&child);
        }
    }
}
