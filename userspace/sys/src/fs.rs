//! File systems: what a path lies on, mounting bpffs, unmounting, descriptors on trees.
//! In: paths. Out: kinds and results. Refuses to unmount what the caller did not name.

use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags};

use crate::{Attempt, Result};

/// The `f_type` of the BPF file system (linux/magic.h).
pub const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// The `f_type` of the unified cgroup hierarchy.
pub const CGROUP2_MAGIC: u64 = 0x6367_7270;
/// The `f_type` of sysfs.
pub const SYSFS_MAGIC: u64 = 0x6265_6572;
/// The `f_type` of overlayfs, which cannot be the upper layer of another one.
pub const OVERLAYFS_MAGIC: u64 = 0x794c_7630;

/// The file system's magic number below a path, as statfs(2) gives it.
pub fn magic(path: &Path) -> Result<u64> {
    let found = rustix::fs::statfs(path).attempt(|| format!("statfs {}", path.display()))?;
    // The kernel's type is a signed long on some architectures and the magic numbers are unsigned 32-bit.
    Ok(u64::from(u32::try_from(found.f_type & 0xffff_ffff).unwrap_or_default()))
}

/// True when the path lies on a BPF file system.
pub fn is_bpffs(path: &Path) -> Result<bool> {
    Ok(magic(path)? == BPF_FS_MAGIC)
}

/// True when the path lies in the unified cgroup hierarchy.
pub fn is_cgroup2(path: &Path) -> Result<bool> {
    Ok(magic(path)? == CGROUP2_MAGIC)
}

/// Bytes an unprivileged writer may still store on the path's file system.
pub fn available_bytes(path: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(path).attempt(|| format!("statvfs {}", path.display()))?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// Mounts a BPF file system (mode 0700) on an existing directory.
pub fn mount_bpffs(path: &Path) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RELATIME;
    rustix::mount::mount("bpffs", path, "bpf", flags, c"mode=0700")
        .attempt(|| format!("mount bpffs on {}", path.display()))
}

/// Unmounts what is mounted on the path; fails while it is busy.
pub fn umount(path: &Path) -> Result<()> {
    rustix::mount::unmount(path, UnmountFlags::NOFOLLOW)
        .attempt(|| format!("unmount {}", path.display()))
}

/// Detaches what is mounted on the path now; the kernel frees it when the last user is gone.
pub fn umount_lazy(path: &Path) -> Result<()> {
    let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
    rustix::mount::unmount(path, flags).attempt(|| format!("detach mount {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_not_bpffs() {
        assert!(!is_bpffs(Path::new("/proc")).unwrap());
        assert_eq!(magic(Path::new("/proc")).unwrap(), 0x9fa0);
        assert!(
            magic(Path::new("/no/such/path"))
                .unwrap_err()
                .to_string()
                .starts_with("statfs /no/such/path: ")
        );
    }

    #[test]
    fn bpffs_comes_and_goes() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP bpffs_comes_and_goes: needs root");
            return;
        }
        let dir = std::env::temp_dir().join(format!("beeline-sys-bpffs-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let mounted = mount_bpffs(&dir);
        let seen = is_bpffs(&dir);
        let gone = mounted.is_ok().then(|| umount(&dir));
        std::fs::remove_dir(&dir).unwrap();
        mounted.unwrap();
        assert!(seen.unwrap());
        gone.unwrap().unwrap();
    }
}
