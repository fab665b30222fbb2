//! networking.k8s.io/v1 Ingress.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, col, status};
use super::{Causes, KindInfo};
use crate::meta::{list, text};
use crate::time::Timestamp;
use crate::validate::{self, invalid, required};

/// Ingress.
pub static INGRESS: KindInfo = KindInfo {
    group: "networking.k8s.io",
    kind: "Ingress",
    plural: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    status_subresource: true,
    generation: true,
    subresources: &[status("Ingress")],
    columns: &[NAME, col("Class"), col("Hosts"), col("Address"), col("Ports"), AGE],
    cells,
    default: |object| {
        let status = crate::meta::map(object, "status");
        crate::meta::or_set(status, "loadBalancer", serde_json::json!({}));
    },
    validate,
    ..BASE
};

fn validate(object: &Value, causes: &mut Causes) {
    let spec = &object["spec"];
    if list(spec, "rules").is_empty() && !spec["defaultBackend"].is_object() {
        let message = "either `defaultBackend` or `rules` must be specified";
        causes.push(invalid("spec", spec.clone(), message));
    }
    if spec["defaultBackend"].is_object() {
        backend(&spec["defaultBackend"], "spec.defaultBackend", causes);
    }
    for (i, rule) in list(spec, "rules").iter().enumerate() {
        let at = format!("spec.rules[{i}]");
        host(text(rule, "host"), &format!("{at}.host"), causes);
        if rule["http"].is_object() && list(&rule["http"], "paths").is_empty() {
            causes.push(required(&format!("{at}.http.paths"), ""));
        }
        for (j, path) in list(&rule["http"], "paths").iter().enumerate() {
            self::path(path, &format!("{at}.http.paths[{j}]"), causes);
        }
    }
    for (i, tls) in list(spec, "tls").iter().enumerate() {
        for (j, name) in list(tls, "hosts").iter().enumerate() {
            let at = format!("spec.tls[{i}].hosts[{j}]");
            host(name.as_str().unwrap_or_default(), &at, causes);
        }
    }
    if let Some(class) = spec["ingressClassName"].as_str() {
        let problems = validate::dns_subdomain(class, false);
        causes.extend(problems.iter().map(|p| invalid("spec.ingressClassName", class, p)));
    }
}

fn host(name: &str, at: &str, causes: &mut Causes) {
    if name.is_empty() {
        return;
    }
    if name.parse::<std::net::IpAddr>().is_ok() {
        causes.push(invalid(at, name, "must be a DNS name, not an IP address"));
        return;
    }
    let problems = match name.strip_prefix("*.") {
        Some(rest) => validate::dns_subdomain(rest, false)
            .into_iter()
            .map(|_| "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')".to_owned())
            .collect(),
        None => validate::dns_subdomain(name, false),
    };
    causes.extend(problems.iter().map(|p| invalid(at, name, p)));
}

fn path(path: &Value, at: &str, causes: &mut Causes) {
    let value = text(path, "path");
    let field = format!("{at}.path");
    let kinds = &["Exact", "ImplementationSpecific", "Prefix"];
    match text(path, "pathType") {
        "" => causes.push(required(&format!("{at}.pathType"), "pathType must be specified")),
        "Exact" | "Prefix" => {
            if !value.starts_with('/') {
                causes.push(invalid(&field, value, "must be an absolute path"));
            }
            for bad in ["//", "/./", "/../", "%2f", "%2F"] {
                if value.contains(bad) {
                    causes.push(invalid(&field, value, &format!("must not contain '{bad}'")));
                }
            }
            for bad in ["/..", "/."] {
                if value.ends_with(bad) {
                    causes.push(invalid(&field, value, &format!("cannot end with '{bad}'")));
                }
            }
        }
        "ImplementationSpecific" => {
            if !value.is_empty() && !value.starts_with('/') {
                causes.push(invalid(&field, value, "must be an absolute path"));
            }
        }
        _ => {
            let field = format!("{at}.pathType");
            rules::one_of(&path["pathType"], &field, kinds, causes);
        }
    }
    backend(&path["backend"], &format!("{at}.backend"), causes);
}

fn backend(backend: &Value, at: &str, causes: &mut Causes) {
    let (service, resource) = (&backend["service"], &backend["resource"]);
    match (service.is_object(), resource.is_object()) {
        (true, true) => {
            let message = "cannot set both resource and service backends";
            causes.push(invalid(at, "", message));
        }
        (false, false) => causes.push(required(at, "resource or service backend is required")),
        (false, true) => {
            rules::required(&resource["kind"], &format!("{at}.resource.kind"), "", causes);
            rules::required(&resource["name"], &format!("{at}.resource.name"), "", causes);
        }
        (true, false) => {
            let name = format!("{at}.service.name");
            if rules::required(&service["name"], &name, "", causes) {
                rules::named(&service["name"], &name, validate::dns_1035_label, causes);
            }
            port(&service["port"], &format!("{at}.service"), causes);
        }
    }
}

fn port(port: &Value, at: &str, causes: &mut Causes) {
    let (name, number) = (text(port, "name"), port["number"].as_i64().unwrap_or(0));
    let field = format!("{at}.port");
    match (name.is_empty(), number) {
        (true, 0) => causes.push(required(&field, "port name or number is required")),
        (false, 0) => {
            let problems = validate::port_name(name);
            causes.extend(problems.iter().map(|p| invalid(&format!("{field}.name"), name, p)));
        }
        (true, n) => {
            let problem = validate::port_number(n);
            causes.extend(problem.map(|p| invalid(&format!("{field}.number"), n, p)));
        }
        (false, _) => {
            causes.push(invalid(&field, "", "cannot set both port name & port number"));
        }
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let hosts: Vec<String> = list(spec, "rules")
        .iter()
        .map(|r| text(r, "host").to_owned())
        .filter(|h| !h.is_empty())
        .collect();
    let hosts = if hosts.is_empty() { "*".to_owned() } else { rules::first_three(&hosts) };
    let addresses = list(&o["status"]["loadBalancer"], "ingress").iter();
    let addresses: Vec<&str> = addresses
        .map(|i| if text(i, "ip").is_empty() { text(i, "hostname") } else { text(i, "ip") })
        .collect();
    let ports = if list(spec, "tls").is_empty() { "80" } else { "80, 443" };
    vec![
        rules::name_cell(o),
        rules::or_none(text(spec, "ingressClassName").to_owned()).into(),
        hosts.into(),
        addresses.join(",").into(),
        ports.into(),
        rules::age_cell(o, now),
    ]
}
