//! Probes and life-cycle hooks of a container.

use serde_json::Value;

use super::Causes;
use super::rules::one_of;
use crate::meta::or_set;
use crate::validate::{self, forbidden, invalid, required};

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];
const HANDLERS: [&str; 4] = ["exec", "httpGet", "tcpSocket", "grpc"];

/// Fills in probes and hooks.
pub(super) fn default(container: &mut Value) {
    for probe in PROBES {
        let Some(probe) = container.get_mut(probe) else { continue };
        if let Some(map) = probe.as_object_mut() {
            for (field, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                or_set_positive(map, field, value);
            }
        }
        default_handler(probe);
    }
    for hook in ["postStart", "preStop"] {
        if let Some(handler) = container.pointer_mut(&format!("/lifecycle/{hook}")) {
            default_handler(handler);
        }
    }
}

/// Zero is as good as absent here.
fn or_set_positive(map: &mut serde_json::Map<String, Value>, field: &str, value: i64) {
    if map.get(field).and_then(Value::as_i64).unwrap_or(0) == 0 {
        map.insert(field.to_owned(), Value::from(value));
    }
}

fn default_handler(handler: &mut Value) {
    if let Some(http) = handler.get_mut("httpGet").and_then(Value::as_object_mut) {
        or_set(http, "path", "/");
        or_set(http, "scheme", "HTTP");
    }
    if let Some(grpc) = handler.get_mut("grpc").and_then(Value::as_object_mut) {
        grpc.entry("service").or_insert(Value::from(""));
    }
}

/// Checks the probes of the container at `at`.
pub(super) fn validate(container: &Value, at: &str, causes: &mut Causes) {
    for name in PROBES {
        let probe = &container[name];
        if !probe.is_object() {
            continue;
        }
        let at = format!("{at}.{name}");
        handler(probe, &at, causes);
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            super::rules::not_negative(&probe[field], &format!("{at}.{field}"), causes);
        }
        let threshold = probe["successThreshold"].as_i64().unwrap_or(1);
        if name != "readinessProbe" && threshold != 1 {
            causes.push(invalid(&format!("{at}.successThreshold"), threshold, "must be 1"));
        }
    }
}

fn handler(probe: &Value, at: &str, causes: &mut Causes) {
    let used: Vec<&&str> = HANDLERS.iter().filter(|h| probe[**h].is_object()).collect();
    match used.as_slice() {
        [] => causes.push(required(at, "must specify a handler type")),
        [_] => {}
        [_, second, ..] => {
            causes.push(forbidden(
                &format!("{at}.{second}"),
                "may not specify more than 1 handler type",
            ));
        }
    }
    for kind in ["httpGet", "tcpSocket", "grpc"] {
        if let Some(n) = probe[kind]["port"].as_i64() {
            causes.extend(
                validate::port_number(n).map(|p| invalid(&format!("{at}.{kind}.port"), n, p)),
            );
        }
    }
    one_of(
        &probe["httpGet"]["scheme"],
        &format!("{at}.httpGet.scheme"),
        &["HTTP", "HTTPS"],
        causes,
    );
    let command = &probe["exec"]["command"];
    if probe["exec"].is_object() && command.as_array().is_none_or(Vec::is_empty) {
        causes.push(required(&format!("{at}.exec.command"), ""));
    }
}
