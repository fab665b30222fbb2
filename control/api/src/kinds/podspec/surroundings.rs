//! What surrounds a pod's containers: names, hosts, accounts, rights.

use serde_json::Value;

use super::super::{Causes, rules};
use crate::meta::{list, text};
use crate::validate::{self, address, forbidden, invalid, required};

/// Greatest user and group id, as upstream has it.
const ID_MAX: i64 = 2_147_483_647;
/// Most name servers and search domains, as upstream allows.
const NAME_SERVERS_MAX: usize = 3;
const SEARCHES_MAX: usize = 32;

/// Checks what of a PodSpec at `path` is about the pod as a whole.
pub(super) fn validate(spec: &Value, path: &str, causes: &mut Causes) {
    let subdomain = validate::dns_subdomain;
    for (field, rule) in [
        ("serviceAccountName", subdomain as fn(&str, bool) -> Vec<String>),
        ("nodeName", subdomain),
        ("priorityClassName", subdomain),
        ("runtimeClassName", subdomain),
        ("hostname", validate::dns_label),
        ("subdomain", validate::dns_label),
    ] {
        if !text(spec, field).is_empty() {
            rules::named(&spec[field], &format!("{path}.{field}"), rule, causes);
        }
    }
    for (i, alias) in list(spec, "hostAliases").iter().enumerate() {
        let at = format!("{path}.hostAliases[{i}]");
        address::valid(text(alias, "ip"), &format!("{at}.ip"), causes);
        for (j, name) in list(alias, "hostnames").iter().enumerate() {
            rules::named(name, &format!("{at}.hostnames[{j}]"), subdomain, causes);
        }
    }
    let policies = &["Never", "PreemptLowerPriority"];
    let field = format!("{path}.preemptionPolicy");
    rules::one_of(&spec["preemptionPolicy"], &field, policies, causes);
    rules::quantities(&spec["overhead"], &format!("{path}.overhead"), causes);
    for (i, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let field = format!("{path}.schedulingGates[{i}]");
        rules::named(&gate["name"], &field, |s, _| validate::label_key(s), causes);
    }
    dns(spec, path, causes);
    ids(&spec["securityContext"], &format!("{path}.securityContext"), causes);
    shared(spec, path, causes);
}

fn dns(spec: &Value, path: &str, causes: &mut Causes) {
    let config = &spec["dnsConfig"];
    let servers = list(config, "nameservers");
    let field = format!("{path}.dnsConfig.nameservers");
    if spec["dnsPolicy"] == "None" {
        if !config.is_object() {
            let message = "must provide `dnsConfig` when `dnsPolicy` is None";
            causes.push(required(&format!("{path}.dnsConfig"), message));
        } else if servers.is_empty() {
            let message = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            causes.push(required(&field, message));
        }
    }
    if servers.len() > NAME_SERVERS_MAX {
        let message = format!("must not have more than {NAME_SERVERS_MAX} nameservers");
        causes.push(invalid(&field, config["nameservers"].clone(), &message));
    }
    for (i, server) in servers.iter().enumerate() {
        address::valid(server.as_str().unwrap_or_default(), &format!("{field}[{i}]"), causes);
    }
    if list(config, "searches").len() > SEARCHES_MAX {
        let message = format!("must not have more than {SEARCHES_MAX} search paths");
        let field = format!("{path}.dnsConfig.searches");
        causes.push(invalid(&field, config["searches"].clone(), &message));
    }
    for (i, option) in list(config, "options").iter().enumerate() {
        let field = format!("{path}.dnsConfig.options[{i}]");
        if text(option, "name").is_empty() {
            causes.push(required(&field, "must not be empty"));
        }
    }
}

/// Users and groups, of the pod or of one container.
pub(super) fn ids(context: &Value, at: &str, causes: &mut Causes) {
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        if let Some(n) = context[field].as_i64().filter(|n| !(0..=ID_MAX).contains(n)) {
            let message = format!("must be between 0 and {ID_MAX}, inclusive");
            causes.push(invalid(&format!("{at}.{field}"), n, &message));
        }
    }
    let profiles = &["Localhost", "RuntimeDefault", "Unconfined"];
    let profile = &context["seccompProfile"];
    let field = format!("{at}.seccompProfile");
    if profile.is_object() {
        rules::required_of(&profile["type"], &format!("{field}.type"), profiles, causes);
        let named = !text(profile, "localhostProfile").is_empty();
        if profile["type"] == "Localhost" && !named {
            let message = "must be set when seccomp type is Localhost";
            causes.push(required(&format!("{field}.localhostProfile"), message));
        } else if profile["type"] != "Localhost" && named {
            let message = "can only be set when seccomp type is Localhost";
            let shown = profile["localhostProfile"].clone();
            causes.push(invalid(&format!("{field}.localhostProfile"), shown, message));
        }
    }
}

/// Rights of one container.
pub(super) fn container(context: &Value, at: &str, causes: &mut Causes) {
    ids(context, at, causes);
    if context["allowPrivilegeEscalation"] == false {
        if context["privileged"] == true {
            let message = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            causes.push(invalid(at, context.clone(), message));
        }
        if list(&context["capabilities"], "add").iter().any(|c| c == "CAP_SYS_ADMIN") {
            let message = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            causes.push(invalid(at, context.clone(), message));
        }
    }
    let mounts = &["Default", "Unmasked"];
    rules::one_of(&context["procMount"], &format!("{at}.procMount"), mounts, causes);
}

/// What does not go together.
fn shared(spec: &Value, path: &str, causes: &mut Causes) {
    if spec["shareProcessNamespace"] == true && spec["hostPID"] == true {
        let message = "ShareProcessNamespace and HostPID cannot both be enabled";
        causes.push(invalid(&format!("{path}.shareProcessNamespace"), true, message));
    }
    if spec["hostNetwork"] != true {
        return;
    }
    for field in super::LISTS {
        for (i, container) in list(spec, field).iter().enumerate() {
            for (j, port) in list(container, "ports").iter().enumerate() {
                if port["hostPort"] != port["containerPort"] {
                    let field = format!("{path}.{field}[{i}].ports[{j}].hostPort");
                    let shown = port["hostPort"].clone();
                    let message = "must match `containerPort` when `hostNetwork` is true";
                    causes.push(invalid(&field, shown, message));
                }
            }
        }
    }
}

/// Host ports that two containers want, and what sidecars and helpers may not have.
pub(super) fn containers(spec: &Value, path: &str, causes: &mut Causes) {
    let mut taken: Vec<(Value, Value, Value)> = Vec::new();
    for (i, container) in list(spec, "containers").iter().enumerate() {
        for (j, port) in list(container, "ports").iter().enumerate() {
            if port["hostPort"].as_i64().unwrap_or(0) == 0 {
                continue;
            }
            let (number, protocol) = (port["hostPort"].clone(), port["protocol"].clone());
            let wanted = (number, protocol, port["hostIP"].clone());
            if taken.contains(&wanted) {
                let shown = format!("{}/{}", text(port, "protocol"), port["hostPort"]);
                let field = format!("{path}.containers[{i}].ports[{j}].hostPort");
                causes.push(validate::duplicate(&field, shown));
            }
            taken.push(wanted);
        }
    }
    for (i, container) in list(spec, "initContainers").iter().enumerate() {
        let at = format!("{path}.initContainers[{i}]");
        let lasting = container["restartPolicy"] == "Always";
        rules::one_of(
            &container["restartPolicy"],
            &format!("{at}.restartPolicy"),
            &["Always"],
            causes,
        );
        for field in ["livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
            if !lasting && container[field].is_object() {
                let message = "may not be set for init containers without restartPolicy=Always";
                causes.push(forbidden(&format!("{at}.{field}"), message));
            }
        }
    }
    for (i, container) in list(spec, "ephemeralContainers").iter().enumerate() {
        for field in
            ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resources"]
        {
            let given = match &container[field] {
                Value::Array(items) => !items.is_empty(),
                Value::Object(map) => !map.is_empty(),
                _ => false,
            };
            if given {
                let message = "cannot be set for an Ephemeral Container";
                let at = format!("{path}.ephemeralContainers[{i}].{field}");
                causes.push(forbidden(&at, message));
            }
        }
    }
}
