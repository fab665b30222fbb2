//! The level `baseline`: nothing by which a pod is known to get hold of its node.

use std::collections::BTreeSet;

use beeline_api::meta::{list, text};
use serde_json::Value;

use super::{Violation, containers, named, quoted};

pub(super) const CAPABILITIES: &str = "non-default capabilities";

/// What every runtime gives anyway.
const USUAL_CAPABILITIES: [&str; 14] = [
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
const SAFE_SYSCTLS: [&str; 10] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_syncookies",
];

/// What of a pod is beyond it.
pub(super) fn check(pod: &Value) -> impl Iterator<Item = Violation> {
    let spec = &pod["spec"];
    [
        host_namespaces(spec),
        privileged(spec),
        capabilities(spec),
        host_paths(spec),
        host_ports(spec),
        proc_mount(spec),
        seccomp(spec),
        sysctls(spec),
        app_armor(pod),
        selinux(spec),
    ]
    .into_iter()
    .flatten()
}

fn violation(what: &'static str, detail: Option<String>) -> Option<Violation> {
    detail.map(|detail| Violation { what, detail })
}

fn host_namespaces(spec: &Value) -> Option<Violation> {
    let used: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|field| spec[*field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    violation("host namespaces", (!used.is_empty()).then(|| used.join(", ")))
}

fn privileged(spec: &Value) -> Option<Violation> {
    let bad = named(containers(spec).filter(|c| c["securityContext"]["privileged"] == true))?;
    violation("privileged", Some(format!("{bad} must not set securityContext.privileged=true")))
}

fn capabilities(spec: &Value) -> Option<Violation> {
    let added = |container: &Value| -> Vec<String> {
        let all = list(&container["securityContext"]["capabilities"], "add").iter();
        all.filter_map(Value::as_str)
            .filter(|name| !USUAL_CAPABILITIES.contains(name))
            .map(str::to_owned)
            .collect()
    };
    let bad = named(containers(spec).filter(|c| !added(c).is_empty()))?;
    let all: BTreeSet<String> = containers(spec).flat_map(added).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let detail =
        format!("{bad} must not include {} in securityContext.capabilities.add", quoted(&all));
    violation(CAPABILITIES, Some(detail))
}

fn host_paths(spec: &Value) -> Option<Violation> {
    let names: Vec<&str> = list(spec, "volumes")
        .iter()
        .filter(|volume| volume["hostPath"].is_object())
        .map(|volume| text(volume, "name"))
        .collect();
    let plural = if names.len() == 1 { "" } else { "s" };
    let detail = (!names.is_empty()).then(|| format!("volume{plural} {}", quoted(&names)));
    violation("hostPath volumes", detail)
}

fn host_ports(spec: &Value) -> Option<Violation> {
    let ports = |container: &Value| -> Vec<i64> {
        let all = list(container, "ports").iter();
        all.filter_map(|port| port["hostPort"].as_i64()).filter(|port| *port != 0).collect()
    };
    let bad = named(containers(spec).filter(|c| !ports(c).is_empty()))?;
    let all: BTreeSet<i64> = containers(spec).flat_map(ports).collect();
    let (plural, verb) = (
        if all.len() == 1 { "" } else { "s" },
        if bad.starts_with("containers") { "use" } else { "uses" },
    );
    let all: Vec<String> = all.iter().map(i64::to_string).collect();
    violation("hostPort", Some(format!("{bad} {verb} hostPort{plural} {}", all.join(", "))))
}

fn proc_mount(spec: &Value) -> Option<Violation> {
    let mount = |c: &&Value| {
        let mount = text(&c["securityContext"], "procMount");
        !matches!(mount, "" | "Default")
    };
    let bad = named(containers(spec).filter(mount))?;
    let detail = format!("{bad} must not set securityContext.procMount to \"Unmasked\"");
    violation("procMount", Some(detail))
}

fn seccomp(spec: &Value) -> Option<Violation> {
    let open = |context: &Value| context["seccompProfile"]["type"] == "Unconfined";
    let pod = open(&spec["securityContext"]).then(|| "pod".to_owned());
    let bad = named(containers(spec).filter(|c| open(&c["securityContext"])));
    let who = pod.into_iter().chain(bad).collect::<Vec<_>>().join(" and ");
    let detail =
        format!("{who} must not set securityContext.seccompProfile.type to \"Unconfined\"");
    violation("seccompProfile", (!who.is_empty()).then_some(detail))
}

fn sysctls(spec: &Value) -> Option<Violation> {
    let names: Vec<&str> = list(&spec["securityContext"], "sysctls")
        .iter()
        .map(|sysctl| text(sysctl, "name"))
        .filter(|name| !SAFE_SYSCTLS.contains(name))
        .collect();
    violation("forbidden sysctls", (!names.is_empty()).then(|| names.join(", ")))
}

fn app_armor(pod: &Value) -> Option<Violation> {
    let open = |context: &Value| context["appArmorProfile"]["type"] == "Unconfined";
    let spec = &pod["spec"];
    let who = open(&spec["securityContext"]).then(|| "pod".to_owned());
    let bad = named(containers(spec).filter(|c| open(&c["securityContext"])));
    let who = who.into_iter().chain(bad).collect::<Vec<_>>().join(" and ");
    let detail = format!("{who} must not set AppArmor profile type to \"Unconfined\"");
    violation("forbidden AppArmor profile", (!who.is_empty()).then_some(detail))
}

fn selinux(spec: &Value) -> Option<Violation> {
    const TYPES: [&str; 5] =
        ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];
    let bad = |context: &Value| {
        let options = &context["seLinuxOptions"];
        !TYPES.contains(&text(options, "type"))
            || !text(options, "user").is_empty()
            || !text(options, "role").is_empty()
    };
    let pod = bad(&spec["securityContext"]).then(|| "pod".to_owned());
    let all = named(containers(spec).filter(|c| bad(&c["securityContext"])));
    let who = pod.into_iter().chain(all).collect::<Vec<_>>().join(" and ");
    let detail = format!("{who} set forbidden securityContext.seLinuxOptions");
    violation("seLinuxOptions", (!who.is_empty()).then_some(detail))
}
