//! What the runtime is asked for: sandboxes and containers, from a Pod and the facts of the node. Pure but for subPaths.

use std::{collections::BTreeMap, net::Ipv4Addr};

use beeline_api::quantity::Quantity as Amount;
use beeline_container::runtime::{ContainerSpec, Limits, Mount, PodUid, SandboxSpec, User};
use beeline_netdev::AddressPair;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};

use crate::{
    fields::PodFacts,
    volumes::{self, Places},
};

/// What Pods are told about names.
#[derive(Clone, Debug)]
pub struct Dns {
    /// The address of the cluster's DNS.
    pub server: Ipv4Addr,
    /// The cluster's domain.
    pub domain: String,
    /// The node's own `/etc/resolv.conf`.
    pub node_resolv_conf: String,
}

/// Longest host name that Linux takes.
const HOSTNAME_MAX: usize = 63;

/// The sandbox of a Pod.
pub fn sandbox(pod: &Pod, uid: PodUid, dns: &Dns, addresses: Option<AddressPair>) -> SandboxSpec {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let sysctls = spec.security_context.as_ref().and_then(|context| context.sysctls.as_ref());
    SandboxSpec {
        pod_uid: uid,
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        hostname: hostname(pod),
        hosts: hosts(pod, addresses, &dns.domain),
        resolv_conf: resolv_conf(pod, dns),
        host_network: spec.host_network.unwrap_or(false),
        sysctls: sysctls
            .into_iter()
            .flatten()
            .map(|one| (one.name.clone(), one.value.clone()))
            .collect(),
    }
}

fn hostname(pod: &Pod) -> String {
    let wanted =
        pod.spec.as_ref().and_then(|spec| spec.hostname.as_deref()).filter(|name| !name.is_empty());
    let name = wanted.or(pod.metadata.name.as_deref()).unwrap_or_default();
    let cut = name.get(..HOSTNAME_MAX).unwrap_or(name);
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The content of `/etc/hosts`, as the kubelet writes it.
#[must_use]
pub fn hosts(pod: &Pod, addresses: Option<AddressPair>, domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\nfe00::0\tip6-mcastprefix\nfe00::1\tip6-allnodes\nfe00::2\tip6-allrouters\n",
    );
    let name = hostname(pod);
    let spec = pod.spec.as_ref();
    let subdomain = spec.and_then(|spec| spec.subdomain.as_deref()).filter(|name| !name.is_empty());
    for address in addresses.into_iter().flat_map(AddressPair::all) {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let full = subdomain
            .map_or_else(String::new, |sub| format!("{name}.{sub}.{namespace}.svc.{domain}\t"));
        text.push_str(&format!("{address}\t{full}{name}\n"));
    }
    for alias in spec.and_then(|spec| spec.host_aliases.as_ref()).into_iter().flatten() {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}

fn resolv_conf(pod: &Pod, dns: &Dns) -> String {
    let spec = pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.dns_policy.as_deref()).unwrap_or("ClusterFirst");
    let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    let own = spec.and_then(|spec| spec.dns_config.as_ref());
    let (mut servers, mut searches, mut options) = (Vec::new(), Vec::new(), Vec::new());
    match policy {
        "None" => {}
        "Default" => return dns.node_resolv_conf.clone(),
        "ClusterFirst" if host_network => return dns.node_resolv_conf.clone(),
        _ => {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            servers.push(dns.server.to_string());
            let domain = &dns.domain;
            searches.extend([
                format!("{namespace}.svc.{domain}"),
                format!("svc.{domain}"),
                domain.clone(),
            ]);
            options.push("ndots:5".to_owned());
        }
    }
    if let Some(own) = own {
        servers.extend(own.nameservers.iter().flatten().cloned());
        searches.extend(own.searches.iter().flatten().cloned());
        options.extend(own.options.iter().flatten().filter_map(|option| {
            let name = option.name.as_ref()?;
            Some(
                option
                    .value
                    .as_ref()
                    .map_or_else(|| name.clone(), |value| format!("{name}:{value}")),
            )
        }));
    }
    let mut text = String::new();
    if !searches.is_empty() {
        text.push_str(&format!("search {}\n", searches.join(" ")));
    }
    for server in servers {
        text.push_str(&format!("nameserver {server}\n"));
    }
    if !options.is_empty() {
        text.push_str(&format!("options {}\n", options.join(" ")));
    }
    text
}

/// One attempt at a container. `Err` is a sentence for `CreateContainerConfigError`.
pub fn container(
    facts: PodFacts<'_>,
    wanted: &Container,
    attempt: u32,
    env: Vec<(String, String)>,
    places: &Places,
) -> Result<ContainerSpec, String> {
    let values: BTreeMap<String, String> = env.iter().cloned().collect();
    let expanded = |texts: &Option<Vec<String>>| {
        texts.iter().flatten().map(|text| crate::env::expand(text, &values)).collect::<Vec<_>>()
    };
    let own = wanted.security_context.as_ref();
    let pod = facts.pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let non_root =
        own.and_then(|own| own.run_as_non_root).or(pod.and_then(|pod| pod.run_as_non_root));
    let capabilities = own.and_then(|own| own.capabilities.as_ref());
    let privileged = own.and_then(|own| own.privileged).unwrap_or(false);
    Ok(ContainerSpec {
        name: wanted.name.clone(),
        attempt,
        image: wanted.image.clone().unwrap_or_default(),
        command: expanded(&wanted.command),
        args: expanded(&wanted.args),
        mounts: mounts(facts.pod, wanted, places, &values)?,
        env,
        working_dir: wanted.working_dir.clone().filter(|dir| !dir.is_empty()),
        user: user(facts.pod, wanted),
        run_as_non_root: non_root.unwrap_or(false),
        read_only_root: own.and_then(|own| own.read_only_root_filesystem).unwrap_or(false),
        privileged,
        no_new_privileges: own.and_then(|own| own.allow_privilege_escalation) == Some(false),
        capabilities_add: capabilities.and_then(|set| set.add.clone()).unwrap_or_default(),
        capabilities_drop: capabilities.and_then(|set| set.drop.clone()).unwrap_or_default(),
        termination_message_path: wanted.termination_message_path.clone(),
        limits: limits(wanted),
        oom_score_adj: oom_score(facts.pod, wanted),
    })
}

fn user(pod: &Pod, wanted: &Container) -> Option<User> {
    let own = wanted.security_context.as_ref();
    let shared = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let id = |value: i64| u32::try_from(value).ok();
    let uid = own.and_then(|own| own.run_as_user).or(shared.and_then(|shared| shared.run_as_user));
    let gid =
        own.and_then(|own| own.run_as_group).or(shared.and_then(|shared| shared.run_as_group));
    let more = shared.and_then(|shared| shared.supplemental_groups.clone()).unwrap_or_default();
    let user = User {
        uid: uid.and_then(id),
        gid: gid.and_then(id),
        supplementary: more
            .into_iter()
            .chain(shared.and_then(|shared| shared.fs_group))
            .filter_map(id)
            .collect(),
    };
    (user != User::default()).then_some(user)
}

fn mounts(
    pod: &Pod,
    wanted: &Container,
    places: &Places,
    values: &BTreeMap<String, String>,
) -> Result<Vec<Mount>, String> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_deref()).unwrap_or_default();
    let writable = |name: &str| volumes.iter().any(|v| v.name == name && volumes::is_writable(v));
    let mounts = wanted.volume_mounts.iter().flatten();
    mounts
        .map(|mount| {
            let place = places.get(&mount.name);
            let place =
                place.ok_or_else(|| format!("volume \"{}\" is not part of the pod", mount.name))?;
            let sub = mount.sub_path.clone().or_else(|| {
                mount.sub_path_expr.as_ref().map(|text| crate::env::expand(text, values))
            });
            let host_path = match sub.filter(|sub| !sub.is_empty()) {
                Some(sub) => volumes::sub_path(place, &sub)?,
                None => place.clone(),
            };
            let read_only = mount.read_only == Some(true) || !writable(&mount.name);
            Ok(Mount { host_path, container_path: mount.mount_path.clone(), read_only })
        })
        .collect()
}

fn amount(wanted: &Container, limits: bool, name: &str) -> Option<Amount> {
    let resources = wanted.resources.as_ref()?;
    let list = if limits { resources.limits.as_ref() } else { resources.requests.as_ref() };
    Amount::parse(&list?.get(name)?.0)
}

fn limits(wanted: &Container) -> Limits {
    let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
    Limits {
        cpu_request_millis: amount(wanted, false, "cpu").and_then(|cpu| positive(cpu.milli())),
        cpu_limit_millis: amount(wanted, true, "cpu").and_then(|cpu| positive(cpu.milli())),
        memory_limit_bytes: amount(wanted, true, "memory")
            .and_then(|memory| positive(memory.value())),
        pids_limit: None,
    }
}

/// Who dies first when memory runs out: best-effort Pods, guaranteed ones last. Upstream's middle depends on the share
/// of the node's memory; this is its lowest value.
fn oom_score(pod: &Pod, wanted: &Container) -> Option<i32> {
    let class = pod.status.as_ref().and_then(|status| status.qos_class.as_deref());
    match class {
        Some("Guaranteed") => Some(-997),
        Some("BestEffort") => Some(1000),
        _ if amount(wanted, false, "memory").is_some() => Some(999),
        _ => Some(1000),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u-1"},
            "spec": {
                "subdomain": "all",
                "hostAliases": [{"ip": "10.1.1.1", "hostnames": ["a", "b"]}],
                "dnsConfig": {"options": [{"name": "timeout", "value": "1"}]},
                "securityContext": {"runAsUser": 1000, "fsGroup": 2000},
                "containers": [{
                    "name": "c", "image": "web:1", "command": ["/bin/web", "$(PORT)", "$$(PORT)"],
                    "resources": {"limits": {"cpu": "500m", "memory": "64Mi"}, "requests": {"cpu": "100m"}},
                    "securityContext": {"runAsUser": 7, "allowPrivilegeEscalation": false,
                                        "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true},
                                     {"name": "work", "mountPath": "/work"}, {"name": "conf", "mountPath": "/etc/c"}]
                }],
                "volumes": [{"name": "data", "emptyDir": {}}, {"name": "work", "emptyDir": {}},
                            {"name": "conf", "configMap": {"name": "c"}}]
            }
        }))
        .unwrap()
    }

    #[test]
    fn a_sandbox_knows_its_names() {
        let dns = Dns {
            server: Ipv4Addr::new(10, 43, 0, 10),
            domain: "cluster.local".into(),
            node_resolv_conf: "nameserver 9.9.9.9\n".into(),
        };
        let addresses =
            AddressPair { v4: Ipv4Addr::new(10, 42, 0, 7), v6: Some("fd42::7".parse().unwrap()) };
        let spec = sandbox(&pod(), PodUid::new("u-1").unwrap(), &dns, Some(addresses));
        assert_eq!(spec.hostname, "web-1");
        for address in ["10.42.0.7", "fd42::7"] {
            let line = format!("{address}\tweb-1.all.shop.svc.cluster.local\tweb-1\n");
            assert!(spec.hosts.contains(&line), "{}", spec.hosts);
        }
        assert!(spec.hosts.contains("10.1.1.1\ta\tb\n"));
        assert_eq!(
            spec.resolv_conf,
            "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.43.0.10\noptions ndots:5 timeout:1\n"
        );
    }

    #[test]
    fn a_container_is_what_the_pod_says() {
        let pod = pod();
        let facts = PodFacts {
            pod: &pod,
            pod_ips: None,
            host_ips: Ipv4Addr::LOCALHOST.into(),
            node_name: "n1",
        };
        let wanted = &pod.spec.as_ref().unwrap().containers[0];
        let place = |name: &str| (name.to_owned(), format!("/srv/{name}").into());
        let places = Places::from(["data", "work", "conf"].map(place));
        let env = vec![("PORT".to_owned(), "80".to_owned())];
        let spec = container(facts, wanted, 3, env, &places).unwrap();
        assert_eq!(spec.command, ["/bin/web", "80", "$(PORT)"]);
        assert_eq!(spec.user, Some(User { uid: Some(7), gid: None, supplementary: vec![2000] }));
        assert_eq!(spec.limits.cpu_limit_millis, Some(500));
        assert_eq!(spec.limits.memory_limit_bytes, Some(64 << 20));
        assert!(spec.no_new_privileges);
        let read_only: Vec<bool> = spec.mounts.iter().map(|mount| mount.read_only).collect();
        assert_eq!(read_only, [true, false, true], "a ConfigMap is never written to");
        assert_eq!(spec.capabilities_drop, ["ALL"]);
        let error = container(facts, wanted, 0, Vec::new(), &Places::new()).unwrap_err();
        assert!(error.contains("volume \"data\""), "{error}");
    }
}
