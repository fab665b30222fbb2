//! What the datapath needs of this kernel and its set-up, asked, not assumed.

use std::{fs, path::Path};

use aya::{
    maps::MapType,
    programs::{SchedClassifier, TcAttachType},
    sys::is_map_supported,
};
use serde::{Deserialize, Serialize};

use crate::{Config, DatapathError, LinkHook, clsact, pins};

/// The oldest kernel that is supported.
const KERNEL_MIN: (u32, u32) = (5, 15);

/// Whether something is there and used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// There, and used.
    Used,
    /// Not there, but something else does its work.
    Substituted,
    /// Not there.
    Missing,
    /// Not used on this machine, there or not.
    NotNeeded,
}

/// Something that the kernel or its set-up offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feature {
    /// What.
    pub name: String,
    /// Whether it is there and used.
    pub state: State,
    /// What was found.
    pub why: String,
    /// What to do where it is missing; else empty.
    pub remedy: String,
    /// Nothing works without it.
    pub required: bool,
}

/// Everything that matters, found by asking the kernel. Loads and changes nothing that stays.
pub fn features(config: &Config) -> Vec<Feature> {
    vec![
        kernel(),
        privilege(),
        bpffs(&config.bpf_root),
        cgroup(&config.cgroup_root),
        ring(),
        tcx(config.link_hook),
        btf(),
        jit(),
    ]
}

/// All required features that are missing, as one error.
pub(crate) fn require(features: &[Feature]) -> Result<(), DatapathError> {
    let missing = features.iter().filter(|f| f.required && f.state == State::Missing);
    let missing: Vec<_> = missing.cloned().collect();
    match missing.as_slice() {
        [] => Ok(()),
        // Without the right to ask, every answer is "no".
        all if all.iter().any(|f| f.name == PRIVILEGE) => Err(DatapathError::Privilege),
        _ => Err(DatapathError::Missing(missing)),
    }
}

const PRIVILEGE: &str = "privilege";

fn feature(name: &str, required: bool, found: Result<String, String>, remedy: &str) -> Feature {
    let (state, why, remedy) = match found {
        Ok(why) => (State::Used, why, ""),
        Err(why) => (State::Missing, why, remedy),
    };
    Feature { name: name.to_owned(), state, why, remedy: remedy.to_owned(), required }
}

fn read(path: &str) -> Result<String, String> {
    fs::read_to_string(path)
        .map(|text| text.trim().to_owned())
        .map_err(|error| format!("{path}: {error}"))
}

fn kernel() -> Feature {
    let found = read("/proc/sys/kernel/osrelease").and_then(|release| match version(&release) {
        Some(version) if version >= KERNEL_MIN => Ok(format!("Linux {release}")),
        _ => Err(format!(
            "this is Linux {release}, the oldest supported is {}.{}",
            KERNEL_MIN.0, KERNEL_MIN.1
        )),
    });
    feature("kernel", true, found, "Boot a newer kernel")
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF.
const CAPABILITIES: [u32; 3] = [12, 21, 39];

fn privilege() -> Feature {
    let found = read("/proc/self/status").and_then(|status| {
        let effective = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
            .unwrap_or(0);
        if CAPABILITIES.iter().all(|bit| effective >> bit & 1 == 1) {
            Ok("may load programs".to_owned())
        } else {
            Err(format!("the effective capabilities are {effective:#x}"))
        }
    });
    feature(PRIVILEGE, true, found, "Run as root")
}

fn bpffs(root: &Path) -> Feature {
    let found = match pins::mount_point(root) {
        Ok(None) => Ok(format!("{} is a bpffs", root.display())),
        Ok(Some(place)) => Ok(format!("one of its own on {}", place.display())),
        Err(error) => Err(error.to_string()),
    };
    let remedy = "Mount one (mount -t bpf bpffs /sys/fs/bpf) or name it with --bpf-root";
    feature("bpffs", true, found, remedy)
}

fn cgroup(root: &Path) -> Feature {
    let found = match beeline_sys::fs::is_cgroup2(root) {
        Ok(true) => Ok(format!("{} is in a cgroup v2 mount", root.display())),
        Ok(false) => Err(format!("{} is not in a cgroup v2 mount", root.display())),
        Err(error) => Err(error.to_string()),
    };
    let remedy = "Mount one (mount -t cgroup2 cgroup2 DIR) and name it with --cgroup-root";
    feature("cgroup v2", true, found, remedy)
}

fn ring() -> Feature {
    let found = match is_map_supported(MapType::RingBuf) {
        Ok(true) => Ok("carries events".to_owned()),
        Ok(false) => Err("the kernel has no BPF ring buffer".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    feature("ring buffer", true, found, "Boot a kernel of 5.8 or later with CONFIG_BPF_SYSCALL=y")
}

/// Why programs sit on links through clsact, if they do. Asks what is attached to the loopback device: kernels without tcx
/// do not know the question.
pub(crate) fn why_clsact(hook: LinkHook) -> Option<String> {
    match (hook, SchedClassifier::query_tcx("lo", TcAttachType::Ingress)) {
        (LinkHook::Clsact, _) => Some("not wanted".to_owned()),
        (LinkHook::Newest, Err(_)) => Some("the kernel has none (it came with 6.6)".to_owned()),
        (LinkHook::Newest, Ok(_)) => None,
    }
}

fn tcx(hook: LinkHook) -> Feature {
    let Some(why) = why_clsact(hook) else {
        return feature("tcx", true, Ok("programs sit on pod links".to_owned()), "");
    };
    let filters = clsact::supported()
        .map(|()| format!("{why}: clsact filters sit on pod links"))
        .map_err(|missing| format!("{why}, and {missing}"));
    let remedy =
        "Boot a kernel of 6.6 or later, or one with CONFIG_NET_SCH_INGRESS and CONFIG_NET_CLS_BPF";
    let mut tcx = feature("tcx", true, filters, remedy);
    if tcx.state == State::Used {
        tcx.state = State::Substituted;
    }
    tcx
}

fn btf() -> Feature {
    let there = fs::metadata("/sys/kernel/btf/vmlinux").is_ok();
    let why = match there {
        true => "there; the programs use no kernel types yet",
        false => "not there; the programs use no kernel types yet",
    };
    not_needed("kernel type information", why)
}

fn not_needed(name: &str, why: &str) -> Feature {
    Feature {
        name: name.into(),
        state: State::NotNeeded,
        why: why.into(),
        remedy: String::new(),
        required: false,
    }
}

fn jit() -> Feature {
    let found = match read("/proc/sys/net/core/bpf_jit_enable").as_deref() {
        Ok("0") => Err("programs are interpreted".to_owned()),
        Ok(_) => Ok("programs run as machine code".to_owned()),
        // The switch is the initial namespace's alone, and a kernel that always compiles has none.
        Err(_) => {
            return not_needed(
                "BPF JIT switch",
                "not seen in this network namespace: the kernel decides",
            );
        }
    };
    feature("BPF JIT", false, found, "sysctl net.core.bpf_jit_enable=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert_eq!(version("5.15-rc1"), Some((5, 15)));
        assert_eq!(version("x"), None);
    }

    #[test]
    fn all_that_is_missing_is_named_with_its_remedy() {
        let found = cgroup(Path::new("/proc"));
        assert_eq!(found.state, State::Missing);
        let tcx = feature("tcx", true, Err("EINVAL".into()), "Boot a kernel of 6.6 or later");
        let error = require(&[found, tcx]).unwrap_err().to_string();
        assert!(
            error.contains("cgroup v2 (/proc is not in a cgroup v2 mount): Mount one"),
            "{error}"
        );
        assert!(error.contains("--cgroup-root; "), "{error}");
        assert!(error.ends_with("; tcx (EINVAL): Boot a kernel of 6.6 or later"), "{error}");
    }

    #[test]
    fn without_privilege_the_error_says_what_is_needed() {
        let missing = feature(PRIVILEGE, true, Err("none".into()), "");
        assert!(require(&[missing]).unwrap_err().to_string().contains("needs root"));
    }
}
