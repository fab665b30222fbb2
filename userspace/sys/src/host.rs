//! What deciding code asks the host, as a trait: the real one asks the kernel, the fake answers from fields.
//! In: paths and pids. Out: facts and mounts. Refuses nothing the kernel allows.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::{Result, SysError, boot, cgroup, fs, netns};

/// Facts about the host and the few changes to it that are made outside netlink and BPF.
pub trait Host: Send + Sync {
    /// The id of this boot.
    fn boot_id(&self) -> Result<String>;
    /// The unified cgroup hierarchy.
    fn cgroup2_mount(&self) -> Result<PathBuf>;
    /// The cookie of the caller's network namespace.
    fn netns_cookie(&self) -> Result<u64>;
    /// The cookie of a process's network namespace.
    fn netns_cookie_of_pid(&self, pid: u32) -> Result<u64>;
    /// The magic number of the file system below a path.
    fn magic(&self, path: &Path) -> Result<u64>;
    /// Mounts a BPF file system on an existing directory.
    fn mount_bpffs(&self, path: &Path) -> Result<()>;
    /// Unmounts a path.
    fn umount(&self, path: &Path) -> Result<()>;
}

/// The running kernel.
#[derive(Debug, Clone, Copy, Default)]
pub struct Linux;

impl Host for Linux {
    fn boot_id(&self) -> Result<String> {
        boot::boot_id()
    }

    fn cgroup2_mount(&self) -> Result<PathBuf> {
        cgroup::find_v2_mount()
    }

    fn netns_cookie(&self) -> Result<u64> {
        netns::cookie_of_self()
    }

    fn netns_cookie_of_pid(&self, pid: u32) -> Result<u64> {
        netns::cookie_of_pid(pid)
    }

    fn magic(&self, path: &Path) -> Result<u64> {
        fs::magic(path)
    }

    fn mount_bpffs(&self, path: &Path) -> Result<()> {
        fs::mount_bpffs(path, &[])
    }

    fn umount(&self, path: &Path) -> Result<()> {
        fs::umount(path)
    }
}

/// A host in memory, for tests of code that decides from the answers.
#[derive(Debug, Default)]
pub struct FakeHost {
    state: Mutex<FakeState>,
}

/// What a [`FakeHost`] answers with.
#[derive(Debug, Clone, Default)]
pub struct FakeState {
    /// The boot id.
    pub boot_id: String,
    /// The unified hierarchy, `None` for a host without one.
    pub cgroup2: Option<PathBuf>,
    /// The caller's own cookie.
    pub cookie: u64,
    /// Cookies of other processes.
    pub cookies: BTreeMap<u32, u64>,
    /// Where a BPF file system is mounted.
    pub bpffs: BTreeSet<PathBuf>,
    /// The next calls, by name, that fail and how.
    pub fail: BTreeMap<&'static str, io::ErrorKind>,
}

impl FakeHost {
    /// A host that answers with the given state.
    #[must_use]
    pub fn new(state: FakeState) -> Self {
        Self { state: Mutex::new(state) }
    }

    /// The state, to change it or to look at what was done.
    pub fn state(&self) -> MutexGuard<'_, FakeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, name: &'static str) -> Result<MutexGuard<'_, FakeState>> {
        let mut state = self.state();
        match state.fail.remove(name) {
            Some(kind) => Err(SysError::new(name, io::Error::from(kind))),
            None => Ok(state),
        }
    }
}

fn missing(what: &str) -> SysError {
    SysError::new(what, io::Error::from(io::ErrorKind::NotFound))
}

impl Host for FakeHost {
    fn boot_id(&self) -> Result<String> {
        Ok(self.call("boot_id")?.boot_id.clone())
    }

    fn cgroup2_mount(&self) -> Result<PathBuf> {
        self.call("cgroup2_mount")?
            .cgroup2
            .clone()
            .ok_or_else(|| missing("find the cgroup v2 mount"))
    }

    fn netns_cookie(&self) -> Result<u64> {
        Ok(self.call("netns_cookie")?.cookie)
    }

    fn netns_cookie_of_pid(&self, pid: u32) -> Result<u64> {
        self.call("netns_cookie_of_pid")?
            .cookies
            .get(&pid)
            .copied()
            .ok_or_else(|| missing("enter network namespace"))
    }

    fn magic(&self, path: &Path) -> Result<u64> {
        let state = self.call("magic")?;
        let below = state.bpffs.iter().any(|mount| path.starts_with(mount));
        Ok(if below { fs::BPF_FS_MAGIC } else { fs::SYSFS_MAGIC })
    }

    fn mount_bpffs(&self, path: &Path) -> Result<()> {
        self.call("mount_bpffs")?.bpffs.insert(path.to_owned());
        Ok(())
    }

    fn umount(&self, path: &Path) -> Result<()> {
        let removed = self.call("umount")?.bpffs.remove(path);
        if removed { Ok(()) } else { Err(missing("unmount")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fake_mounts_and_can_be_told_to_fail() {
        let host = FakeHost::new(FakeState::default());
        let path = Path::new("/sys/fs/bpf");
        host.mount_bpffs(path).unwrap();
        assert_eq!(host.magic(&path.join("beeline")).unwrap(), fs::BPF_FS_MAGIC);
        host.state().fail.insert("umount", io::ErrorKind::PermissionDenied);
        assert_eq!(host.umount(path).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        host.umount(path).unwrap();
        assert_eq!(host.umount(path).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
