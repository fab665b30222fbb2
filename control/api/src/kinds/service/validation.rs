//! A whole Service: type, policies, affinity, load balancer fields.
//!
//! In: a Service with defaults, before anything is allocated for it. Out: causes in upstream's words.

use serde_json::{Value, json};

use super::{Shape, families, ports};
use crate::kinds::Causes;
use crate::kinds::rules::one_of;
use crate::meta::{list, text};
use crate::validate::{self, address, forbidden, invalid, required};

/// Upstream's agent listens there on every node.
const KUBELET_PORT: i64 = 10_250;
const AFFINITY_TIMEOUT_MAX_S: i64 = 86_400;
const ONLY_LOAD_BALANCER: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";

pub(super) fn validate(object: &Value, causes: &mut Causes) {
    let shape = Shape::of(object);
    let spec = shape.spec;
    topology_annotations(object, causes);
    if list(spec, "ports").is_empty() && !shape.headless() && !shape.external_name() {
        causes.push(required("spec.ports", ""));
    }
    for_type(&shape, causes);
    ports::each(&shape, causes);
    validate::labels(&spec["selector"], "spec.selector", causes);
    one_of(&spec["sessionAffinity"], "spec.sessionAffinity", &["ClientIP", "None"], causes);
    affinity(spec, causes);
    if !shape.external_name() {
        families::validate(&shape, causes);
    }
    for (i, ip) in list(spec, "externalIPs").iter().enumerate() {
        let field = format!("spec.externalIPs[{i}]");
        address::usable(ip.as_str().unwrap_or_default(), &field, causes);
    }
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(&spec["type"], "spec.type", &types, causes);
    ports::together(&shape, causes);
    source_ranges(object, &shape, causes);
    if !spec["allocateLoadBalancerNodePorts"].is_null() && !shape.load_balancer() {
        causes.push(forbidden("spec.allocateLoadBalancerNodePorts", ONLY_LOAD_BALANCER));
    }
    class(&shape, causes);
    external_policy(&shape, causes);
    let policies = ["Cluster", "Local"];
    one_of(&spec["internalTrafficPolicy"], "spec.internalTrafficPolicy", &policies, causes);
    let distributions = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    one_of(&spec["trafficDistribution"], "spec.trafficDistribution", &distributions, causes);
}

fn topology_annotations(object: &Value, causes: &mut Causes) {
    let annotations = &object["metadata"]["annotations"];
    let (mode, hints) = (&annotations[TOPOLOGY_MODE], &annotations[TOPOLOGY_HINTS]);
    if mode.is_string() && hints.is_string() && mode != hints {
        let message = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        let field = format!("metadata.annotations[{TOPOLOGY_MODE}]");
        causes.push(invalid(&field, mode.clone(), &message));
    }
}

fn for_type(shape: &Shape<'_>, causes: &mut Causes) {
    let spec = shape.spec;
    if shape.load_balancer() {
        for (i, port) in list(spec, "ports").iter().enumerate() {
            if port["port"] == KUBELET_PORT {
                let message = format!(
                    "may not expose port {KUBELET_PORT} externally since it is used by kubelet"
                );
                causes.push(invalid(&format!("spec.ports[{i}]"), KUBELET_PORT, &message));
            }
        }
    }
    if shape.on_nodes() && shape.headless() {
        let message = format!("may not be set to 'None' for {} services", shape.kind);
        causes.push(invalid("spec.clusterIPs[0]", "None", &message));
    }
    if !shape.external_name() {
        return;
    }
    for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        if !spec[field].is_null() {
            let message = "may not be set for ExternalName services";
            causes.push(forbidden(&format!("spec.{field}"), message));
        }
    }
    let name = text(spec, "externalName");
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.is_empty() {
        causes.push(required("spec.externalName", ""));
    } else {
        let problems = validate::dns_subdomain(bare, false);
        causes.extend(problems.iter().map(|p| invalid("spec.externalName", bare, p)));
    }
}

fn affinity(spec: &Value, causes: &mut Causes) {
    let config = &spec["sessionAffinityConfig"];
    if spec["sessionAffinity"] != "ClientIP" {
        if !config.is_null() {
            let message = "must not be set when session affinity is None";
            causes.push(forbidden("spec.sessionAffinityConfig", message));
        }
        return;
    }
    let timeout = config["clientIP"]["timeoutSeconds"].as_i64().unwrap_or(0);
    if !(1..=AFFINITY_TIMEOUT_MAX_S).contains(&timeout) {
        let message = format!("must be greater than 0 and less than {AFFINITY_TIMEOUT_MAX_S}");
        causes.push(invalid(
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
            timeout,
            &message,
        ));
    }
}

/// The field's name begins with a capital in upstream's messages.
fn source_ranges(object: &Value, shape: &Shape<'_>, causes: &mut Causes) {
    let ranges = list(shape.spec, "loadBalancerSourceRanges");
    if !ranges.is_empty() {
        if !shape.load_balancer() {
            causes.push(forbidden("spec.LoadBalancerSourceRanges", ONLY_LOAD_BALANCER));
        }
        for (i, range) in ranges.iter().enumerate() {
            let field = format!("spec.LoadBalancerSourceRanges[{i}]");
            address::range(range.as_str().unwrap_or_default().trim(), &field, causes);
        }
        return;
    }
    let Some(text) = object["metadata"]["annotations"][SOURCE_RANGES].as_str() else { return };
    let field = format!("metadata.annotations[{SOURCE_RANGES}]");
    if !shape.load_balancer() {
        causes.push(forbidden(&field, ONLY_LOAD_BALANCER));
    }
    for range in text.split(',').map(str::trim).filter(|_| !text.trim().is_empty()) {
        address::range(range, &field, causes);
    }
}

fn class(shape: &Shape<'_>, causes: &mut Causes) {
    let Some(class) = shape.spec["loadBalancerClass"].as_str() else { return };
    if shape.load_balancer() {
        let problems = validate::label_key(class);
        causes.extend(problems.iter().map(|p| invalid("spec.loadBalancerClass", class, p)));
    } else {
        causes.push(forbidden("spec.loadBalancerClass", ONLY_LOAD_BALANCER));
    }
}

fn external_policy(shape: &Shape<'_>, causes: &mut Causes) {
    let policy = &shape.spec["externalTrafficPolicy"];
    if shape.externally_accessible() {
        one_of(policy, "spec.externalTrafficPolicy", &["Cluster", "Local"], causes);
    } else if !policy.is_null() {
        let message = "may only be set for externally-accessible services";
        causes.push(invalid("spec.externalTrafficPolicy", policy.clone(), message));
    }
    let Some(port) = shape.spec["healthCheckNodePort"].as_i64() else { return };
    if shape.health_checked() {
        let problem = validate::port_number(port);
        causes.extend(problem.map(|p| invalid("spec.healthCheckNodePort", json!(port), p)));
    } else {
        let message =
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        causes.push(invalid("spec.healthCheckNodePort", port, message));
    }
}
