//! File systems: what a path lies on, mounting bpffs, unmounting, descriptors on trees.
//! In: paths. Out: kinds and results. Refuses to unmount what the caller did not name.

use std::{os::fd::OwnedFd, path::Path};

use rustix::{
    fs::Mode,
    mount::{self, FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags},
};

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

/// Mounts a BPF file system (mode 0700) on an existing directory. It appears with these directories already in it, so that
/// no moment of death leaves a mount without its mark.
pub fn mount_bpffs(path: &Path, directories: &[&str]) -> Result<()> {
    let attempt = || format!("mount bpffs on {}", path.display());
    let aside = detached_bpffs().attempt(attempt)?;
    for directory in directories {
        rustix::fs::mkdirat(&aside, *directory, Mode::RWXU)
            .attempt(|| format!("create {directory} in the bpffs for {}", path.display()))?;
    }
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    mount::move_mount(&aside, "", rustix::fs::CWD, path, flags).attempt(attempt)
}

fn detached_bpffs() -> rustix::io::Result<OwnedFd> {
    let filesystem = mount::fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC)?;
    mount::fsconfig_set_string(&filesystem, "source", "bpffs")?;
    mount::fsconfig_set_string(&filesystem, "mode", "0700")?;
    mount::fsconfig_create(&filesystem)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_RELATIME;
    mount::fsmount(&filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Unmounts what is mounted on the path; fails while it is busy.
pub fn umount(path: &Path) -> Result<()> {
    mount::unmount(path, UnmountFlags::NOFOLLOW).attempt(|| format!("unmount {}", path.display()))
}

/// Detaches what is mounted on the path now; the kernel frees it when the last user is gone.
pub fn umount_lazy(path: &Path) -> Result<()> {
    let flags = UnmountFlags::NOFOLLOW | UnmountFlags::DETACH;
    mount::unmount(path, flags).attempt(|| format!("detach mount {}", path.display()))
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
        let mounted = mount_bpffs(&dir, &["mark"]);
        let seen = is_bpffs(&dir);
        let marked = dir.join("mark").is_dir();
        let gone = mounted.is_ok().then(|| umount(&dir));
        std::fs::remove_dir(&dir).unwrap();
        mounted.unwrap();
        assert!(seen.unwrap() && marked);
        gone.unwrap().unwrap();
    }
}
