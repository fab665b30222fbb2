//! The node's own object: what it has and how it is.
//!
//! In: facts read from the machine. Out: a Kubernetes `Node`, and its status when it changes, every five minutes at the
//! latest; a heartbeat every ten seconds.

use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc, time::Duration};

use beeline_kit::Tasks;
use beeline_netdev::AddressPair;
use k8s_openapi::{
    api::core::v1::{
        ContainerImage, Node, NodeAddress, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta},
};

use crate::{
    ports::{ImageFacts, Images, Ports},
    status::time,
};

/// Upstream's default, and the smallest node range's worth.
const PODS_MAX: u32 = 110;
/// Upstream reports no more images than this.
const IMAGES_MAX: usize = 50;
const HEARTBEAT: Duration = Duration::from_secs(10);
const STATUS_AT_LATEST: Duration = Duration::from_secs(300);
/// Under this much free memory the node says so: upstream's eviction threshold.
const MEMORY_LOW_BYTES: u64 = 100 << 20;
/// Under this share of free disk, in percent, it says so.
const DISK_LOW_PERCENT: u64 = 10;

/// What a machine is. It does not change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// The node's name.
    pub name: String,
    /// Its addresses.
    pub internal_ips: AddressPair,
    /// Cores.
    pub cpus: usize,
    /// Memory.
    pub memory_bytes: u64,
    /// What the data directory's file system holds.
    pub disk_bytes: u64,
    /// From `/proc/sys/kernel/osrelease`.
    pub kernel: String,
    /// From `/etc/os-release`.
    pub os_image: String,
    /// From `/etc/machine-id`.
    pub machine_id: String,
    /// From the kernel.
    pub boot_id: String,
}

/// What a machine has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Little memory is free.
    pub memory_low: bool,
    /// Little disk is free.
    pub disk_low: bool,
    /// Few process ids are free.
    pub pids_low: bool,
}

// === impl Machine ===

impl Machine {
    /// Read the facts. What cannot be read is left empty: a node without a machine id is still a node.
    #[must_use]
    pub fn read(name: &str, internal_ips: AddressPair, data_dir: &std::path::Path) -> Self {
        let line = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        Self {
            name: name.to_owned(),
            internal_ips,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: meminfo("MemTotal"),
            disk_bytes: disk(data_dir).map_or(0, |(total, _)| total),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: os_image(&line("/etc/os-release")),
            machine_id: line("/etc/machine-id"),
            boot_id: line("/proc/sys/kernel/random/boot_id"),
        }
    }

    fn amounts(&self, reserved_memory_bytes: u64) -> BTreeMap<String, Quantity> {
        let memory_kib = self.memory_bytes.saturating_sub(reserved_memory_bytes) / 1024;
        [
            ("cpu", self.cpus.to_string()),
            ("memory", format!("{memory_kib}Ki")),
            ("ephemeral-storage", format!("{}Ki", self.disk_bytes / 1024)),
            ("pods", PODS_MAX.to_string()),
        ]
        .into_iter()
        .map(|(name, amount)| (name.to_owned(), Quantity(amount)))
        .collect()
    }

    fn info(&self) -> NodeSystemInfo {
        NodeSystemInfo {
            architecture: architecture().to_owned(),
            boot_id: self.boot_id.clone(),
            container_runtime_version: concat!("beeline://", env!("CARGO_PKG_VERSION")).to_owned(),
            kernel_version: self.kernel.clone(),
            kubelet_version: crate::KUBELET_VERSION.to_owned(),
            machine_id: self.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: self.os_image.clone(),
            system_uuid: self.machine_id.clone(),
            ..NodeSystemInfo::default()
        }
    }

    /// The object that the node introduces itself with.
    #[must_use]
    pub fn node(&self, status: NodeStatus) -> Node {
        let labels = [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/arch", architecture()),
            ("kubernetes.io/os", "linux"),
            ("beta.kubernetes.io/arch", architecture()),
            ("beta.kubernetes.io/os", "linux"),
        ];
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(
                    labels
                        .iter()
                        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                        .collect(),
                ),
                ..ObjectMeta::default()
            },
            spec: Some(NodeSpec::default()),
            status: Some(status),
        }
    }

    /// The node's status. `before` keeps the times of conditions that have not changed.
    #[must_use]
    pub fn status(
        &self,
        health: Health,
        images: &[ImageFacts],
        before: Option<&NodeStatus>,
        now: std::time::SystemTime,
    ) -> NodeStatus {
        let address = |kind: &str, address: &str| NodeAddress {
            address: address.to_owned(),
            type_: kind.to_owned(),
        };
        let internal = self.internal_ips.all().map(|ip| address("InternalIP", &ip.to_string()));
        let mut images: Vec<&ImageFacts> = images.iter().collect();
        images.sort_by(|a, b| b.size_bytes.cmp(&a.size_bytes).then(a.id.cmp(&b.id)));
        let images = images.into_iter().take(IMAGES_MAX).map(|image| ContainerImage {
            names: Some(image.names.clone()),
            size_bytes: i64::try_from(image.size_bytes).ok(),
        });
        NodeStatus {
            addresses: Some(internal.chain([address("Hostname", &self.name)]).collect()),
            allocatable: Some(self.amounts(MEMORY_LOW_BYTES)),
            capacity: Some(self.amounts(0)),
            conditions: Some(conditions(health, before, now)),
            images: Some(images.collect()),
            node_info: Some(self.info()),
            ..NodeStatus::default()
        }
    }
}

fn conditions(
    health: Health,
    before: Option<&NodeStatus>,
    now: std::time::SystemTime,
) -> Vec<NodeCondition> {
    let pressure = |low, word: &str, good: &str, bad: &str| {
        let (status, reason, text) = if low {
            ("True", format!("KubeletHas{word}"), bad)
        } else {
            ("False", format!("KubeletHas{good}"), good)
        };
        (status, reason, format!("kubelet has {}", words(text)))
    };
    let all = [
        (
            "MemoryPressure",
            pressure(
                health.memory_low,
                "InsufficientMemory",
                "SufficientMemory",
                "InsufficientMemory",
            ),
        ),
        (
            "DiskPressure",
            pressure(health.disk_low, "DiskPressure", "NoDiskPressure", "DiskPressure"),
        ),
        (
            "PIDPressure",
            pressure(health.pids_low, "InsufficientPID", "SufficientPID", "InsufficientPID"),
        ),
        (
            "Ready",
            ("True", "KubeletReady".to_owned(), "beeline is posting ready status".to_owned()),
        ),
    ];
    all.into_iter()
        .map(|(kind, (status, reason, message))| {
            let old = before.and_then(|before| before.conditions.as_ref());
            let old = old
                .and_then(|old| old.iter().find(|old| old.type_ == kind && old.status == status));
            let since = old.and_then(|old| old.last_transition_time.clone());
            NodeCondition {
                last_heartbeat_time: Some(time(now)),
                last_transition_time: Some(since.unwrap_or_else(|| time(now))),
                message: Some(message),
                reason: Some(reason),
                status: status.to_owned(),
                type_: kind.to_owned(),
            }
        })
        .collect()
}

/// `NoDiskPressure` as words.
fn words(camel: &str) -> String {
    let mut text = String::new();
    let letters: Vec<char> = camel.chars().collect();
    for (at, letter) in letters.iter().enumerate() {
        let begins = letter.is_uppercase() && at > 0 && letters[at - 1].is_lowercase();
        if begins {
            text.push(' ');
        }
        let acronym =
            letters.get(at + 1).is_some_and(|next| next.is_uppercase()) || at + 1 == letters.len();
        text.push(if acronym && letter.is_uppercase() {
            *letter
        } else {
            letter.to_ascii_lowercase()
        });
    }
    text
}

/// As Go names it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

fn os_image(os_release: &str) -> String {
    let value = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    value.unwrap_or("Linux").trim_matches('"').to_owned()
}

fn meminfo(key: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Total and available bytes of the file system below a path.
fn disk(path: &std::path::Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(path).ok()?;
    Some((
        found.f_blocks.saturating_mul(found.f_frsize),
        found.f_bavail.saturating_mul(found.f_frsize),
    ))
}

/// Ask the machine how it is.
#[must_use]
pub fn health(data_dir: &std::path::Path) -> Health {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let processes = fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split(' ').nth(3)?.split('/').nth(1)?.parse::<u64>().ok());
    let pids = number("/proc/sys/kernel/pid_max").zip(processes);
    Health {
        memory_low: meminfo("MemAvailable") < MEMORY_LOW_BYTES,
        disk_low: disk(data_dir).is_some_and(|(total, free)| free * 100 < total * DISK_LOW_PERCENT),
        pids_low: pids.is_some_and(|(most, now)| now * 10 > most * 9),
    }
}

/// Report the node until `tasks` stops.
pub fn start(machine: Machine, data_dir: PathBuf, ports: Ports, tasks: &Tasks) {
    let token = tasks.token();
    tasks.spawn("node-status", async move {
        let _ = token.run_until_cancelled(report(machine, data_dir, ports)).await;
    });
}

async fn report(machine: Machine, data_dir: PathBuf, ports: Ports) {
    let mut last: Option<(Health, Vec<ImageFacts>)> = None;
    let mut before: Option<NodeStatus> = None;
    let mut due = ports.clock.monotonic();
    loop {
        let facts = ask(&data_dir, &ports.images).await;
        let now = ports.clock.monotonic();
        if last.as_ref() != Some(&facts) || now >= due {
            let status = machine.status(facts.0, &facts.1, before.as_ref(), ports.clock.now());
            ports.reporter.node_status(status.clone()).await;
            (before, last, due) = (Some(status), Some(facts), now + STATUS_AT_LATEST);
        }
        ports.reporter.heartbeat().await;
        tokio::time::sleep(HEARTBEAT).await;
    }
}

async fn ask(data_dir: &std::path::Path, images: &Arc<dyn Images>) -> (Health, Vec<ImageFacts>) {
    let (dir, images) = (data_dir.to_owned(), Arc::clone(images));
    let asked = tokio::task::spawn_blocking(move || (health(&dir), images.list())).await;
    asked.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_and_shown_as_upstream_does() {
        let dir = tempfile::tempdir().unwrap();
        let v6 = Some("2001:db8::2".parse().unwrap());
        let internal_ips = AddressPair { v4: [192, 168, 0, 2].into(), v6 };
        let machine = Machine::read("n1", internal_ips, dir.path());
        assert!(machine.cpus > 0 && machine.memory_bytes > 0 && machine.disk_bytes > 0);
        assert!(!machine.kernel.is_empty());
        let now = std::time::UNIX_EPOCH + Duration::from_secs(1000);
        let first = machine.status(Health::default(), &[], None, now);
        let low = Health { disk_low: true, ..Health::default() };
        let second = machine.status(low, &[], Some(&first), now + Duration::from_secs(60));
        let of = |status: &NodeStatus, kind: &str| {
            status
                .conditions
                .as_ref()
                .unwrap()
                .iter()
                .find(|one| one.type_ == kind)
                .unwrap()
                .clone()
        };
        assert_eq!(of(&first, "DiskPressure").reason.as_deref(), Some("KubeletHasNoDiskPressure"));
        assert_eq!(
            of(&first, "DiskPressure").message.as_deref(),
            Some("kubelet has no disk pressure")
        );
        assert_eq!(
            of(&first, "PIDPressure").message.as_deref(),
            Some("kubelet has sufficient PID")
        );
        assert_eq!(of(&second, "DiskPressure").status, "True");
        assert_eq!(
            of(&second, "Ready").last_transition_time,
            of(&first, "Ready").last_transition_time
        );
        assert_ne!(
            of(&second, "Ready").last_heartbeat_time,
            of(&first, "Ready").last_heartbeat_time
        );
        let told = first.addresses.iter().flatten();
        let told: Vec<_> = told.map(|one| (one.type_.as_str(), one.address.as_str())).collect();
        let internal = [("InternalIP", "192.168.0.2"), ("InternalIP", "2001:db8::2")];
        assert_eq!(told, [&internal[..], &[("Hostname", "n1")]].concat());
        let info = first.node_info.clone().unwrap();
        assert_eq!(info.kubelet_version, "v1.36.0+beeline");
        assert!(info.container_runtime_version.starts_with("beeline://"));
        let node = machine.node(first);
        assert_eq!(node.metadata.labels.unwrap()["kubernetes.io/hostname"], "n1");
    }

    #[test]
    fn os_names_are_the_pretty_ones() {
        assert_eq!(
            os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
            "Debian GNU/Linux 12 (bookworm)"
        );
        assert_eq!(os_image(""), "Linux");
    }
}
