//! A node that falls silent, step by step.

use serde_json::{Value, json};

use super::*;

fn at(text: &str) -> Timestamp {
    format!("2026-01-01T{text}Z").parse().unwrap()
}

fn state(lease: &str, spec: &Value, ready: &str, pods: &[Value]) -> State {
    let node = json!({
        "metadata": { "name": "n1", "uid": "n", "resourceVersion": "5" }, "spec": spec,
        "status": { "conditions": [{ "type": "Ready", "status": ready }] },
    });
    let lease = json!({ "metadata": { "name": "n1" }, "spec": { "renewTime": format!("2026-01-01T{lease}.000000Z") } });
    State {
        nodes: vec![Arc::new(serde_json::from_value(node).unwrap())],
        leases: vec![Arc::new(serde_json::from_value(lease).unwrap())],
        pods: pods
            .iter()
            .map(|pod| Arc::new(serde_json::from_value(pod.clone()).unwrap()))
            .collect(),
        started: at("00:00:00"),
        networks: vec![network("10.42.0.0/16")],
    }
}

fn network(range: &str) -> PodCidrs {
    PodCidrs::new(range.parse::<ipnet::IpNet>().unwrap()).unwrap()
}

fn pod(tolerations: &Value) -> Value {
    json!({
        "metadata": { "name": "p", "namespace": "default", "uid": "p", "resourceVersion": "7" },
        "spec": { "nodeName": "n1", "containers": [], "tolerations": tolerations },
        "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] },
    })
}

fn planned(state: &State, now: Timestamp) -> Vec<String> {
    let texts = plan(state, now).iter().map(ToString::to_string).collect::<Vec<_>>();
    texts.into_iter().filter(|t| !t.contains("Event")).collect()
}

#[test]
fn a_node_without_a_network_gets_one() {
    let writes = planned(&state("00:00:00", &json!({}), "True", &[]), at("00:00:05"));
    assert_eq!(
        writes,
        [
            r#"patch Node n1 {"metadata":{"resourceVersion":"5"},"spec":{"podCIDR":"10.42.0.0/24","podCIDRs":["10.42.0.0/24"]}}"#
        ]
    );
}

#[test]
fn a_cluster_of_both_families_gives_one_of_each() {
    let mut bare = state("00:00:00", &json!({}), "True", &[]);
    bare.networks.push(network("fd42::/48"));
    assert_eq!(
        planned(&bare, at("00:00:05")),
        [
            r#"patch Node n1 {"metadata":{"resourceVersion":"5"},"spec":{"podCIDR":"10.42.0.0/24","podCIDRs":["10.42.0.0/24","fd42::/64"]}}"#
        ]
    );
    // A node from before the second family keeps its first.
    let old = json!({ "podCIDR": "10.42.7.0/24", "podCIDRs": ["10.42.7.0/24"] });
    let mut old = state("00:00:00", &old, "True", &[]);
    old.networks.push(network("fd42::/48"));
    assert_eq!(
        planned(&old, at("00:00:05")),
        [
            r#"patch Node n1 {"metadata":{"resourceVersion":"5"},"spec":{"podCIDR":"10.42.7.0/24","podCIDRs":["10.42.7.0/24","fd42::/64"]}}"#
        ]
    );
}

#[test]
fn silence_makes_a_node_unknown_and_tainted() {
    let spec = json!({ "podCIDR": "10.42.0.0/24" });
    assert!(planned(&state("00:10:00", &spec, "True", &[]), at("00:10:39")).is_empty());
    let writes = planned(&state("00:10:00", &spec, "True", &[]), at("00:10:40"));
    assert_eq!(writes.len(), 2, "{writes:?}");
    assert!(
        writes[0].starts_with("patch Node/status n1") && writes[0].contains("NodeStatusUnknown")
    );
    assert!(
        writes[1].contains(UNREACHABLE)
            && writes[1].contains("NoExecute")
            && writes[1].contains("NoSchedule")
    );
}

#[test]
fn a_node_that_is_back_loses_its_taints() {
    let taint = json!([{ "key": UNREACHABLE, "effect": "NoExecute" }, { "key": "mine", "effect": "NoSchedule" }]);
    let spec = json!({ "podCIDR": "10.42.0.0/24", "taints": taint });
    let writes = planned(&state("00:10:00", &spec, "True", &[]), at("00:10:01"));
    assert_eq!(
        writes,
        [
            r#"patch Node n1 {"metadata":{"resourceVersion":"5"},"spec":{"taints":[{"effect":"NoSchedule","key":"mine"}]}}"#
        ]
    );
}

#[test]
fn pods_of_a_node_that_is_back_stay_ready() {
    let taint = json!([{ "key": UNREACHABLE, "effect": "NoSchedule" }]);
    let spec = json!({ "podCIDR": "10.42.0.0/24", "taints": taint });
    let writes = planned(&state("00:10:00", &spec, "True", &[pod(&json!([]))]), at("00:10:01"));
    assert!(!writes.iter().any(|write| write.contains("Pod/status")), "{writes:?}");
    let writes = planned(&state("00:10:00", &spec, "Unknown", &[pod(&json!([]))]), at("00:10:01"));
    let marked = writes.iter().find(|write| write.contains("Pod/status")).unwrap();
    assert!(marked.contains(r#""resourceVersion":"7""#), "{marked}");
}

#[test]
fn pods_leave_when_they_tolerate_it_no_longer() {
    let taints = json!([
        { "key": UNREACHABLE, "effect": "NoSchedule" },
        { "key": UNREACHABLE, "effect": "NoExecute", "timeAdded": "2026-01-01T00:10:40Z" },
    ]);
    let spec = json!({ "podCIDR": "10.42.0.0/24", "taints": taints });
    let five = json!([{ "key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300 }]);
    let cases = [
        (json!([]), "00:10:41", true),
        (five.clone(), "00:15:39", false),
        (five, "00:15:40", true),
        (json!([{ "operator": "Exists" }]), "09:00:00", false),
    ];
    for (tolerations, now, evicted) in cases {
        let state = state("00:10:00", &spec, "Unknown", &[pod(&tolerations)]);
        let writes = planned(&state, at(now));
        assert!(
            writes
                .iter()
                .any(|w| w.starts_with("patch Pod/status default/p") && w.contains("False")),
            "{writes:?}"
        );
        assert_eq!(
            writes.contains(&"delete Pod default/p".to_owned()),
            evicted,
            "{tolerations} {now}"
        );
    }
}

#[test]
fn pods_of_a_node_that_is_gone_are_removed() {
    let mut state = state("00:00:00", &json!({}), "True", &[pod(&json!([]))]);
    state.nodes.clear();
    assert!(planned(&state, at("00:00:10")).is_empty());
    assert_eq!(planned(&state, at("00:01:00")), ["delete Pod default/p now"]);
}
