//! What a process needs to be allowed before it can run a node or a proxy: said at once and whole, not one refusal at a
//! time.

use anyhow::{Context as _, bail};

/// A capability (capability.h) and what it is needed for.
type Capability = (u32, &'static str, &'static str);

/// What the dataplane does with them.
const DATAPLANE: &[Capability] = &[
    (12, "CAP_NET_ADMIN", "make links and routes"),
    (21, "CAP_SYS_ADMIN", "make namespaces and mounts"),
    (38, "CAP_PERFMON", "load programs into the kernel"),
    (39, "CAP_BPF", "load programs into the kernel"),
];
/// What pods need beside it.
const PODS: &[Capability] = &[
    (0, "CAP_CHOWN", "unpack images"),
    (1, "CAP_DAC_OVERRIDE", "unpack images"),
    (3, "CAP_FOWNER", "unpack images"),
    (5, "CAP_KILL", "stop containers"),
    (6, "CAP_SETGID", "start containers"),
    (7, "CAP_SETUID", "start containers"),
    (18, "CAP_SYS_CHROOT", "start containers"),
];

/// What a process is going to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Run pods and the dataplane.
    Node,
    /// Run the dataplane alone.
    Proxy,
}

/// Refuse to go on without root and what root usually may.
pub fn check(work: Work) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        match work {
            Work::Node => bail!(
                "a node needs root: it creates network namespaces, cgroups and mounts, and loads programs into \
                 the kernel. Run it with sudo; `beeline server` alone runs as anybody"
            ),
            Work::Proxy => {
                bail!("a proxy needs root: it loads programs into the kernel. Run it with sudo")
            }
        }
    }
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let missing = missing(effective(&status), work);
    if !missing.is_empty() {
        bail!(
            "this process is root but lacks {}: run it outside of a container, or give the container these \
             capabilities",
            missing.join(", ")
        );
    }
    Ok(())
}

fn effective(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

fn missing(effective: u64, work: Work) -> Vec<String> {
    let pods = if work == Work::Node { PODS } else { &[] };
    let lacks = |(bit, _, _): &&Capability| effective >> bit & 1 == 0;
    let lacking = pods.iter().chain(DATAPLANE).filter(lacks);
    lacking.map(|(_, name, why)| format!("{name} (to {why})")).collect()
}

#[cfg(test)]
mod tests {
    use super::{Work, effective, missing};

    #[test]
    fn all_that_is_missing_is_named() {
        assert!(missing(effective("Name:\tx\nCapEff:\t000001ffffffffff\n"), Work::Node).is_empty());
        let without = missing(effective("CapEff:\t000001bfffdfefff\n"), Work::Node);
        assert_eq!(
            without,
            [
                "CAP_NET_ADMIN (to make links and routes)",
                "CAP_SYS_ADMIN (to make namespaces and mounts)",
                "CAP_PERFMON (to load programs into the kernel)"
            ]
        );
    }

    #[test]
    fn a_proxy_needs_nothing_that_only_pods_need() {
        let dataplane_only = effective("CapEff:\t000000c000201000\n");
        assert!(missing(dataplane_only, Work::Proxy).is_empty());
        assert_eq!(missing(dataplane_only, Work::Node).len(), 7);
    }
}
