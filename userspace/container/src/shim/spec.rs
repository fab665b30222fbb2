//! The OCI runtime specification of a container: a pure function from what is wanted to the document libcontainer reads.
//! Network, IPC and host name namespaces are the shim's own and inherited; process ids, mounts and cgroups are new.
//! There is no seccomp profile yet: containers run unconfined, which is upstream's default too.

use std::path::Path;

use serde_json::{Value, json};

use super::user::Identity;
use crate::runtime::{ContainerSpec, Limits, Mount};

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Docker's default capabilities, which upstream's runtimes share.
const CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Every capability up to Linux 5.9, the newest there is.
const ALL_CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

const READ_ONLY: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What the document is made from besides the specification.
pub(super) struct Context<'a> {
    pub(super) rootfs: &'a Path,
    pub(super) etc_dir: &'a Path,
    pub(super) shm_dir: &'a Path,
    pub(super) termination_log: Option<&'a Path>,
    pub(super) cgroups_path: &'a str,
    /// Where the v1 controllers are mounted in the container.
    pub(super) cgroup_mounts: &'a [String],
    pub(super) argv: &'a [String],
    pub(super) env: &'a [(String, String)],
    pub(super) cwd: &'a str,
    pub(super) oom_score_adj: i32,
    pub(super) identity: &'a Identity,
}

/// Writes the document. The error names the field that is not acceptable.
pub(super) fn document(
    spec: &ContainerSpec,
    context: &Context<'_>,
) -> Result<Value, (String, String)> {
    let capabilities = capabilities(spec)?;
    let env: Vec<String> =
        context.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let Identity { uid, gid, groups, .. } = context.identity;
    let masked: &[&str] = if spec.privileged { &[] } else { &MASKED };
    let mut read_only: Vec<&str> = Vec::new();
    if !spec.privileged {
        read_only.extend(READ_ONLY);
        // libcontainer leaves the mounts of v1 controllers writable whatever the option says.
        read_only.extend(context.cgroup_mounts.iter().map(String::as_str));
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "root": { "path": context.rootfs, "readonly": spec.read_only_root },
        "process": {
            "terminal": false,
            "user": { "uid": uid, "gid": gid, "additionalGids": groups },
            "args": context.argv, "env": env, "cwd": context.cwd,
            // Inheritable and ambient stay empty (CVE-2022-24769): a program that is not root has none.
            "capabilities": {
                "bounding": capabilities, "effective": capabilities, "permitted": capabilities,
                "inheritable": [], "ambient": [],
            },
            "noNewPrivileges": spec.no_new_privileges,
            "oomScoreAdj": context.oom_score_adj,
        },
        "mounts": mounts(spec, context),
        "linux": {
            "namespaces": [{ "type": "pid" }, { "type": "mount" }, { "type": "cgroup" }],
            "cgroupsPath": context.cgroups_path,
            "resources": resources(&spec.limits, spec.privileged),
            "maskedPaths": masked,
            "readonlyPaths": read_only,
        },
    }))
}

fn capabilities(spec: &ContainerSpec) -> Result<Vec<String>, (String, String)> {
    let mut held: Vec<&str> =
        if spec.privileged { ALL_CAPABILITIES.into() } else { CAPABILITIES.into() };
    let known = |name: &str| {
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
        ALL_CAPABILITIES.into_iter().find(|c| *c == bare).ok_or_else(|| {
            ("securityContext.capabilities".to_owned(), format!("unknown capability {name:?}"))
        })
    };
    for name in &spec.capabilities_drop {
        match name.as_str() {
            "ALL" => held.clear(),
            name => {
                let dropped = known(name)?;
                held.retain(|c| *c != dropped);
            }
        }
    }
    for name in &spec.capabilities_add {
        match name.as_str() {
            "ALL" => held = ALL_CAPABILITIES.into(),
            name => held.push(known(name)?),
        }
    }
    held.sort_unstable();
    held.dedup();
    Ok(held.into_iter().map(|c| format!("CAP_{c}")).collect())
}

fn mounts(spec: &ContainerSpec, context: &Context<'_>) -> Vec<Value> {
    let sys = if spec.privileged { "rw" } else { "ro" };
    let mount = |at: &str, kind: &str, options: &[&str]| json!({ "destination": at, "type": kind, "source": kind, "options": options });
    let mut all = vec![
        mount("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/sys", "sysfs", &["nosuid", "noexec", "nodev", sys]),
        mount("/sys/fs/cgroup", "cgroup", &["nosuid", "noexec", "nodev", "relatime", sys]),
        bind(context.shm_dir, "/dev/shm", &["nosuid", "noexec", "nodev"]),
    ];
    let access = if spec.read_only_root { "ro" } else { "rw" };
    let taken = |at: &str| spec.mounts.iter().any(|m| m.container_path == at);
    for name in ["hosts", "hostname", "resolv.conf"] {
        let at = format!("/etc/{name}");
        if !taken(&at) {
            all.push(bind(&context.etc_dir.join(name), &at, &[access]));
        }
    }
    all.extend(spec.mounts.iter().map(|Mount { host_path, container_path, read_only }| {
        bind(host_path, container_path, if *read_only { &["ro", "rro"] } else { &["rw"] })
    }));
    if let (Some(path), Some(file)) = (&spec.termination_message_path, context.termination_log) {
        all.push(bind(file, path, &["rw"]));
    }
    all
}

fn bind(source: &Path, at: &str, options: &[&str]) -> Value {
    let options: Vec<&str> = ["rbind", "rprivate"].iter().chain(options).copied().collect();
    json!({ "destination": at, "type": "bind", "source": source, "options": options })
}

fn resources(limits: &Limits, privileged: bool) -> Value {
    const PERIOD_US: u64 = 100_000;
    let mut cpu = json!({ "shares": shares(limits.cpu_request_millis.unwrap_or(0)) });
    if let Some(millis) = limits.cpu_limit_millis {
        // The kernel refuses less than a millisecond per period.
        cpu["quota"] = json!((millis * PERIOD_US / 1000).max(1000));
        cpu["period"] = json!(PERIOD_US);
    }
    let mut all = json!({ "cpu": cpu, "devices": devices(privileged) });
    if let Some(limit) = limits.memory_limit_bytes {
        all["memory"] = json!({ "limit": limit });
    }
    if let Some(limit) = limits.pids_limit {
        all["pids"] = json!({ "limit": limit });
    }
    all
}

/// Upstream's conversion: 1024 shares are one core, 2 are the least the kernel takes.
fn shares(millis: u64) -> u64 {
    (millis * 1024 / 1000).clamp(2, 262_144)
}

fn devices(privileged: bool) -> Value {
    if privileged {
        return json!([{ "allow": true, "access": "rwm" }]);
    }
    let allow = |major: u64, minor: Option<u64>| json!({ "allow": true, "type": "c", "major": major, "minor": minor, "access": "rwm" });
    json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "access": "m" }, { "allow": true, "type": "b", "access": "m" },
        allow(1, Some(3)), allow(1, Some(5)), allow(1, Some(7)), allow(1, Some(8)), allow(1, Some(9)),
        allow(5, Some(0)), allow(5, Some(2)), allow(136, None),
    ])
}

/// The program and its arguments, by upstream's rules: a command drops the image's arguments too.
pub(super) fn argv(spec: &ContainerSpec, entrypoint: &[String], cmd: &[String]) -> Vec<String> {
    let (first, image_rest) = if spec.command.is_empty() {
        (entrypoint, cmd)
    } else {
        (spec.command.as_slice(), [].as_slice())
    };
    let rest = if spec.args.is_empty() { image_rest } else { &spec.args };
    first.iter().chain(rest).cloned().collect()
}

/// The environment: the image's, then the specification's, each name once.
pub(super) fn env(
    spec: &ContainerSpec,
    image: &[String],
    hostname: &str,
    home: &str,
) -> Vec<(String, String)> {
    let base = [("PATH", PATH), ("HOSTNAME", hostname), ("HOME", home)];
    let mut all: Vec<(String, String)> =
        base.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    let image = image
        .iter()
        .filter_map(|line| line.split_once('='))
        .map(|(n, v)| (n.to_owned(), v.to_owned()));
    for (name, value) in image.chain(spec.env.iter().cloned()) {
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => all.push((name, value)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn command_and_args_follow_upstreams_table() {
        let (entrypoint, cmd) = (strings(&["/ep"]), strings(&["a"]));
        let with = |command: &[&str], args: &[&str]| ContainerSpec {
            command: strings(command),
            args: strings(args),
            ..ContainerSpec::default()
        };
        assert_eq!(argv(&with(&[], &[]), &entrypoint, &cmd), ["/ep", "a"]);
        assert_eq!(argv(&with(&["/x"], &[]), &entrypoint, &cmd), ["/x"]);
        assert_eq!(argv(&with(&[], &["b"]), &entrypoint, &cmd), ["/ep", "b"]);
        assert_eq!(argv(&with(&["/x"], &["b"]), &entrypoint, &cmd), ["/x", "b"]);
    }

    #[test]
    fn later_variables_win() {
        let spec =
            ContainerSpec { env: vec![("A".into(), "pod".into())], ..ContainerSpec::default() };
        let env = env(&spec, &strings(&["A=image", "HOME=/srv"]), "h", "/root");
        assert!(
            env.contains(&("A".into(), "pod".into()))
                && env.contains(&("HOME".into(), "/srv".into()))
        );
        assert_eq!(env.len(), 4);
    }

    #[test]
    fn capabilities_are_dropped_before_added() {
        let spec = ContainerSpec {
            capabilities_drop: strings(&["ALL"]),
            capabilities_add: strings(&["net_bind_service", "CAP_CHOWN"]),
            ..ContainerSpec::default()
        };
        assert_eq!(capabilities(&spec).unwrap(), ["CAP_CHOWN", "CAP_NET_BIND_SERVICE"]);
        let bad = ContainerSpec { capabilities_add: strings(&["NOPE"]), ..spec };
        assert!(capabilities(&bad).unwrap_err().1.contains("NOPE"));
    }

    #[test]
    fn shares_follow_upstream() {
        assert_eq!((shares(0), shares(100), shares(1000)), (2, 102, 1024));
    }
}
