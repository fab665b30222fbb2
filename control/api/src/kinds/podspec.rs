//! What pods and pod templates share: defaults and validation of a PodSpec.

use serde_json::{Map, Value, json};

use super::Causes;
use super::probe;
use super::rules::one_of;
use crate::meta::{self, list, or_set, text};
use crate::quantity;
use crate::validate::{self, duplicate, invalid, not_found, required};

mod placement;
mod surroundings;
mod volumes;

/// Container lists of a PodSpec.
pub(super) const LISTS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// Fills in a PodSpec.
pub(super) fn default(spec: &mut Value) {
    let host_network = spec["hostNetwork"] == true;
    let Some(map) = spec.as_object_mut() else { return };
    or_set(map, "dnsPolicy", "ClusterFirst");
    or_set(map, "restartPolicy", "Always");
    or_set(map, "terminationGracePeriodSeconds", 30);
    or_set(map, "schedulerName", "default-scheduler");
    or_set(map, "securityContext", json!({}));
    if let Some(account) = map.get("serviceAccountName").or(map.get("serviceAccount")).cloned() {
        or_set(map, "serviceAccountName", account.clone());
        map.insert("serviceAccount".to_owned(), account);
    }
    for field in LISTS {
        for container in meta::items(spec, field) {
            default_container(container, host_network);
        }
    }
    volumes::default(spec);
}

fn default_container(container: &mut Value, host_network: bool) {
    let policy = if pulls_always(text(container, "image")) { "Always" } else { "IfNotPresent" };
    let Some(map) = container.as_object_mut() else { return };
    or_set(map, "imagePullPolicy", policy);
    or_set(map, "terminationMessagePath", "/dev/termination-log");
    or_set(map, "terminationMessagePolicy", "File");
    or_set(map, "resources", json!({}));
    for port in meta::items(container, "ports") {
        let number = port["containerPort"].clone();
        if let Some(port) = port.as_object_mut() {
            or_set(port, "protocol", "TCP");
            if host_network {
                or_set(port, "hostPort", number);
            }
        }
    }
    for env in meta::items(container, "env") {
        if let Some(field) = env.pointer_mut("/valueFrom/fieldRef").and_then(Value::as_object_mut) {
            or_set(field, "apiVersion", "v1");
        }
    }
    for side in ["limits", "requests"] {
        if let Some(resources) = container["resources"].get_mut(side).and_then(Value::as_object_mut)
        {
            quantity::canonicalize(resources);
        }
    }
    probe::default(container);
}

/// Requests default to limits. For pods, not for templates.
pub(super) fn default_requests(spec: &mut Value) {
    for field in LISTS {
        for container in meta::items(spec, field) {
            let Some(limits) = container["resources"]["limits"].as_object().cloned() else {
                continue;
            };
            let requests = meta::map(&mut container["resources"], "requests");
            for (name, amount) in limits {
                or_set(requests, &name, amount);
            }
        }
    }
}

/// Whether an image reference has the tag `latest` or none, and no digest.
fn pulls_always(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let last = image.rsplit('/').next().unwrap_or_default();
    last.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// Validates a PodSpec at `path` (`spec` or `spec.template.spec`).
pub(super) fn validate(spec: &Value, path: &str, causes: &mut Causes) {
    if list(spec, "containers").is_empty() {
        causes.push(required(&format!("{path}.containers"), ""));
    }
    one_of(
        &spec["restartPolicy"],
        &format!("{path}.restartPolicy"),
        &["Always", "OnFailure", "Never"],
        causes,
    );
    let dns = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(&spec["dnsPolicy"], &format!("{path}.dnsPolicy"), dns, causes);
    super::rules::not_negative(
        &spec["terminationGracePeriodSeconds"],
        &format!("{path}.terminationGracePeriodSeconds"),
        causes,
    );
    if let Some(n) = spec["activeDeadlineSeconds"].as_i64().filter(|n| *n < 1) {
        causes.push(invalid(
            &format!("{path}.activeDeadlineSeconds"),
            n,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    validate::labels(&spec["nodeSelector"], &format!("{path}.nodeSelector"), causes);
    let volumes = volumes::validate(spec, path, causes);
    let mut names = Vec::new();
    for field in LISTS {
        for (i, container) in list(spec, field).iter().enumerate() {
            let at = format!("{path}.{field}[{i}]");
            let name = text(container, "name");
            if !name.is_empty() && names.contains(&name) {
                causes.push(duplicate(&format!("{at}.name"), name));
            }
            names.push(name);
            validate_container(container, &at, &volumes, causes);
        }
    }
    placement::validate(spec, path, causes);
    surroundings::validate(spec, path, causes);
    surroundings::containers(spec, path, causes);
}

fn validate_container(container: &Value, at: &str, volumes: &[&str], causes: &mut Causes) {
    let name = text(container, "name");
    if name.is_empty() {
        causes.push(required(&format!("{at}.name"), ""));
    } else {
        causes.extend(
            validate::dns_label(name, false)
                .iter()
                .map(|p| invalid(&format!("{at}.name"), name, p)),
        );
    }
    let image = text(container, "image");
    if image.is_empty() {
        causes.push(required(&format!("{at}.image"), ""));
    } else if image != image.trim() {
        causes.push(invalid(
            &format!("{at}.image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
    let pull = &["Always", "IfNotPresent", "Never"];
    one_of(&container["imagePullPolicy"], &format!("{at}.imagePullPolicy"), pull, causes);
    let message = &["File", "FallbackToLogsOnError"];
    one_of(
        &container["terminationMessagePolicy"],
        &format!("{at}.terminationMessagePolicy"),
        message,
        causes,
    );
    validate_ports(container, at, causes);
    validate_env(container, at, causes);
    validate_mounts(container, at, volumes, causes);
    validate_resources(&container["resources"], &format!("{at}.resources"), causes);
    probe::validate(container, at, causes);
    surroundings::container(
        &container["securityContext"],
        &format!("{at}.securityContext"),
        causes,
    );
}

fn validate_ports(container: &Value, at: &str, causes: &mut Causes) {
    let mut names = Vec::new();
    for (i, port) in list(container, "ports").iter().enumerate() {
        let at = format!("{at}.ports[{i}]");
        let name = text(port, "name");
        if !name.is_empty() {
            causes.extend(
                validate::port_name(name).iter().map(|p| invalid(&format!("{at}.name"), name, p)),
            );
            if names.contains(&name) {
                causes.push(duplicate(&format!("{at}.name"), name));
            }
            names.push(name);
        }
        match port["containerPort"].as_i64() {
            None | Some(0) => causes.push(required(&format!("{at}.containerPort"), "")),
            Some(n) => causes.extend(
                validate::port_number(n).map(|p| invalid(&format!("{at}.containerPort"), n, p)),
            ),
        }
        if let Some(n) = port["hostPort"].as_i64().filter(|n| *n != 0) {
            causes
                .extend(validate::port_number(n).map(|p| invalid(&format!("{at}.hostPort"), n, p)));
        }
        one_of(&port["protocol"], &format!("{at}.protocol"), &["SCTP", "TCP", "UDP"], causes);
    }
}

fn validate_env(container: &Value, at: &str, causes: &mut Causes) {
    for (i, env) in list(container, "env").iter().enumerate() {
        let at = format!("{at}.env[{i}]");
        let name = text(env, "name");
        if name.is_empty() {
            causes.push(required(&format!("{at}.name"), ""));
        } else if !name.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=') {
            causes.push(invalid(&format!("{at}.name"), name, "a valid environment variable name must consist only of printable ASCII characters other than '='"));
        }
        let sources = env["valueFrom"].as_object().map_or(1, Map::len);
        if sources != 1 {
            let message = match sources {
                0 => {
                    "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
                }
                _ => "may not have more than one field specified at a time",
            };
            causes.push(invalid(&format!("{at}.valueFrom"), "", message));
        }
        if env["valueFrom"].is_object() && !text(env, "value").is_empty() {
            causes.push(invalid(
                &format!("{at}.valueFrom"),
                "",
                "may not be specified when `value` is not empty",
            ));
        }
    }
}

fn validate_mounts(container: &Value, at: &str, volumes: &[&str], causes: &mut Causes) {
    let mut paths = Vec::new();
    for (i, mount) in list(container, "volumeMounts").iter().enumerate() {
        let at = format!("{at}.volumeMounts[{i}]");
        let (name, path) = (text(mount, "name"), text(mount, "mountPath"));
        if name.is_empty() {
            causes.push(required(&format!("{at}.name"), ""));
        } else if !volumes.contains(&name) {
            causes.push(not_found(&format!("{at}.name"), name));
        }
        if path.is_empty() {
            causes.push(required(&format!("{at}.mountPath"), ""));
        } else if paths.contains(&path) {
            causes.push(invalid(&format!("{at}.mountPath"), path, "must be unique"));
        }
        paths.push(path);
        let inner = text(mount, "subPath");
        if inner.starts_with('/') {
            causes.push(invalid(&format!("{at}.subPath"), inner, "must be a relative path"));
        }
        if inner.split('/').any(|part| part == "..") {
            causes.push(invalid(&format!("{at}.subPath"), inner, "must not contain '..'"));
        }
    }
}

fn validate_resources(resources: &Value, at: &str, causes: &mut Causes) {
    let empty = Map::new();
    let side = |name: &str| resources[name].as_object().unwrap_or(&empty);
    for name in ["limits", "requests"] {
        for (resource, amount) in side(name) {
            let field = format!("{at}.{name}.{resource}");
            match quantity::of(amount) {
                None => causes.push(invalid(&field, amount.clone(), "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")),
                Some(q) if q.milli() < 0 => {
                    causes.push(invalid(&field, amount.clone(), "must be greater than or equal to 0"));
                }
                Some(_) => {}
            }
        }
    }
    for (resource, request) in side("requests") {
        let Some(limit) = side("limits").get(resource) else { continue };
        if quantity::of(request) > quantity::of(limit) {
            let message = format!(
                "must be less than or equal to {resource} limit of {}",
                limit.as_str().unwrap_or_default()
            );
            causes.push(invalid(&format!("{at}.requests"), request.clone(), &message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::pulls_always;

    #[test]
    fn pull_policy_follows_the_tag() {
        for image in ["nginx", "nginx:latest", "localhost:5000/nginx", "a/b"] {
            assert!(pulls_always(image), "{image}");
        }
        for image in ["nginx:1", "localhost:5000/nginx:1.2", "nginx@sha256:abc"] {
            assert!(!pulls_always(image), "{image}");
        }
    }
}
