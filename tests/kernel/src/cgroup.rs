//! A cgroup of our own that this process sits in while a test runs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};

/// Tests in one binary share the process, and a process is in one cgroup: they take turns.
static TURN: Mutex<()> = Mutex::new(());

/// A new cgroup v2 directory with this process inside. Left and removed when dropped.
pub struct Cgroup {
    path: PathBuf,
    home: PathBuf,
    _turn: MutexGuard<'static, ()>,
}

impl Cgroup {
    /// Makes one and moves this process in.
    pub fn enter() -> Result<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let mount = beeline_sys::cgroup::find_v2_mount().context("find cgroup v2")?;
        let home = mount.join(own()?.trim_start_matches('/'));
        let path = mount.join(format!("beeline-test-kernel-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("make {}", path.display()))?;
        join(&path)?;
        Ok(Cgroup { path, home, _turn: turn })
    }

    /// For attaching.
    pub fn open(&self) -> Result<File> {
        File::open(&self.path).with_context(|| format!("open {}", self.path.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = join(&self.home);
        let _ = fs::remove_dir(&self.path);
    }
}

fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string())
        .with_context(|| format!("join {}", cgroup.display()))
}

/// This process's cgroup v2 path below the mount.
fn own() -> Result<String> {
    let text = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("0::"))
        .context("a cgroup v2 line in /proc/self/cgroup")?;
    Ok(line.to_owned())
}
