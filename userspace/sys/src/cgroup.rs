//! Where the cgroup hierarchies are mounted. In: `/proc/self/mountinfo`. Out: paths.
//! Refuses to mount anything: a host without cgroups is the operator's to fix.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::{Attempt, Result, SysError};

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// The mounted cgroup hierarchies of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The unified (v2) hierarchy, if any.
    pub v2: Option<PathBuf>,
    /// Legacy (v1) controllers (`memory`, `cpu`, ...) and where each is mounted. Named hierarchies are left out.
    pub v1: BTreeMap<String, PathBuf>,
}

/// Reads which cgroup hierarchies are mounted in the caller's mount namespace.
pub fn mounts() -> Result<Mounts> {
    let text = std::fs::read_to_string(MOUNTINFO).attempt(|| format!("read {MOUNTINFO}"))?;
    Ok(parse(&text))
}

/// The first mount of the unified hierarchy: the default for `--cgroup-root`.
pub fn find_v2_mount() -> Result<PathBuf> {
    mounts()?.v2.ok_or_else(|| {
        let why = "no cgroup2 file system is mounted: mount one, or name it with --cgroup-root";
        SysError::new("find the cgroup v2 mount", io::Error::new(io::ErrorKind::NotFound, why))
    })
}

fn parse(mountinfo: &str) -> Mounts {
    let mut found = Mounts::default();
    for line in mountinfo.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let Some(point) = before.split(' ').nth(4).map(unescape) else {
            continue;
        };
        let mut fields = after.split(' ');
        match fields.next() {
            Some("cgroup2") => {
                found.v2.get_or_insert(point);
            }
            Some("cgroup") => {
                for controller in
                    fields.nth(1).unwrap_or_default().split(',').filter(|o| is_controller(o))
                {
                    found.v1.entry(controller.to_owned()).or_insert_with(|| point.clone());
                }
            }
            _ => {}
        }
    }
    found
}

/// Super options mix controllers with flags; only the former name directories we may write.
fn is_controller(option: &str) -> bool {
    const CONTROLLERS: [&str; 14] = [
        "cpu",
        "cpuacct",
        "cpuset",
        "memory",
        "pids",
        "blkio",
        "devices",
        "freezer",
        "hugetlb",
        "net_cls",
        "net_prio",
        "perf_event",
        "rdma",
        "misc",
    ];
    CONTROLLERS.contains(&option)
}

/// Octal escapes of mountinfo: space, tab, newline, backslash.
fn unescape(field: &str) -> PathBuf {
    PathBuf::from(
        field
            .replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\012", "\n")
            .replace("\\134", "\\"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_hosts_have_both() {
        let text = "\
30 25 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 25 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
33 25 0:29 / /sys/fs/cgroup/with\\040space rw shared:9 - cgroup2 cgroup2 rw,nsdelegate
34 25 0:29 / /again rw - cgroup2 cgroup2 rw
";
        let found = parse(text);
        assert_eq!(found.v2, Some(PathBuf::from("/sys/fs/cgroup/with space")));
        assert_eq!(found.v1.keys().collect::<Vec<_>>(), ["cpu", "cpuacct", "memory"]);
        assert_eq!(found.v1["cpuacct"], PathBuf::from("/sys/fs/cgroup/cpu,cpuacct"));
    }
}
