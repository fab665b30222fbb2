//! What a process needs to be allowed before it can run a node: said at once and whole, not one refusal at a time.

use anyhow::{Context as _, bail};

/// Capabilities (capability.h) and what a node does with them.
const NEEDED: &[(u32, &str, &str)] = &[
    (0, "CAP_CHOWN", "unpack images"),
    (1, "CAP_DAC_OVERRIDE", "unpack images"),
    (3, "CAP_FOWNER", "unpack images"),
    (5, "CAP_KILL", "stop containers"),
    (6, "CAP_SETGID", "start containers"),
    (7, "CAP_SETUID", "start containers"),
    (12, "CAP_NET_ADMIN", "make links and routes"),
    (18, "CAP_SYS_CHROOT", "start containers"),
    (21, "CAP_SYS_ADMIN", "make namespaces and mounts"),
    (38, "CAP_PERFMON", "load programs into the kernel"),
    (39, "CAP_BPF", "load programs into the kernel"),
];

/// Refuse to go on without root and what root usually may.
pub fn check() -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!(
            "a node needs root: it creates network namespaces, cgroups and mounts, and loads programs into \
             the kernel. Run it with sudo; `beeline server` alone runs as anybody"
        );
    }
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let missing = missing(effective(&status));
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

fn missing(effective: u64) -> Vec<String> {
    let lacks = |(bit, _, _): &&(u32, &str, &str)| effective >> bit & 1 == 0;
    NEEDED.iter().filter(lacks).map(|(_, name, why)| format!("{name} (to {why})")).collect()
}

#[cfg(test)]
mod tests {
    use super::{effective, missing};

    #[test]
    fn all_that_is_missing_is_named() {
        assert!(missing(effective("Name:\tx\nCapEff:\t000001ffffffffff\n")).is_empty());
        let without = missing(effective("CapEff:\t000001bfffdfefff\n"));
        assert_eq!(
            without,
            [
                "CAP_NET_ADMIN (to make links and routes)",
                "CAP_SYS_ADMIN (to make namespaces and mounts)",
                "CAP_PERFMON (to load programs into the kernel)"
            ]
        );
    }
}
