//! Tables: a Pod, nodes, and what is decided.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::{Value, json};

use crate::{Decision, Snapshot, decide};

fn node(name: &str, extra: &Value) -> Arc<Node> {
    let mut node = json!({
        "metadata": { "name": name, "labels": { "zone": &name[..1] } }, "spec": {},
        "status": {
            "allocatable": { "cpu": "2", "memory": "4Gi", "pods": "10", "ephemeral-storage": "10Gi" },
            "conditions": [{ "type": "Ready", "status": "True" }],
        },
    });
    merge(&mut node, extra);
    Arc::new(serde_json::from_value(node).unwrap())
}

fn pod(name: &str, extra: &Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "default", "labels": { "app": "web" } },
        "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": "500m", "memory": "1Gi" } } }] },
    });
    merge(&mut pod, extra);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

fn decided(pod: &Pod, nodes: &[Arc<Node>], pods: &[Arc<Pod>]) -> String {
    let decision = decide(pod, &Snapshot::new(nodes, pods));
    match decision {
        Decision::Node { name, .. } => name,
        nowhere @ Decision::Nowhere { .. } => {
            let text = nowhere.message().unwrap();
            text.split(". preemption").next().unwrap().to_owned()
        }
    }
}

#[test]
fn preemption_is_said_to_help_only_where_it_could() {
    let big = json!({ "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": "3" } } }] } });
    let cordoned = json!({ "spec": { "unschedulable": true } });
    let nodes = [node("a", &json!({})), node("b", &json!({})), node("c", &cordoned)];
    let decision = decide(&pod("p", &big), &Snapshot::new(&nodes, &[]));
    assert_eq!(
        decision.message().unwrap(),
        "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu. preemption: 0/3 nodes are \
         available: 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    );
    let decision = decide(&pod("p", &big), &Snapshot::new(&nodes[2..], &[]));
    assert!(decision.message().unwrap().ends_with(
        "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    ));
}

#[test]
fn reasons_are_in_upstreams_words() {
    let tainted = json!({ "spec": { "taints": [{ "key": "dedicated", "value": "gpu", "effect": "NoSchedule" }] } });
    let small = json!({ "status": { "allocatable": { "cpu": "100m" } } });
    let full = json!({ "status": { "allocatable": { "pods": "0" } } });
    let silent = json!({ "status": { "conditions": [] } });
    let lost = json!({ "status": { "conditions": [{ "type": "Ready", "status": "Unknown" }] } });
    let cordoned = json!({ "spec": { "unschedulable": true } });
    let big = json!({ "spec": { "containers": [{ "name": "c", "resources": { "requests": { "cpu": "3", "memory": "5Gi" } } }] } });
    let select = json!({ "spec": { "nodeSelector": { "disk": "ssd" } } });
    let named = json!({ "spec": { "nodeName": "other" } });
    let none = json!({});
    let cases: &[(&Value, &[&Value], &str)] = &[
        (&none, &[], "no nodes available to schedule pods"),
        (
            &none,
            &[&small, &tainted, &tainted],
            "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint {dedicated: gpu}",
        ),
        (&big, &[&none], "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory"),
        (&none, &[&full], "0/1 nodes are available: 1 Too many pods"),
        (
            &none,
            &[&silent],
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }",
        ),
        (
            &none,
            &[&lost],
            "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/unreachable: }",
        ),
        (&none, &[&cordoned], "0/1 nodes are available: 1 node(s) were unschedulable"),
        (
            &select,
            &[&none],
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector",
        ),
        (
            &named,
            &[&none],
            "0/1 nodes are available: 1 node(s) didn't match the requested node name",
        ),
        (&none, &[&cordoned, &none], "b"),
    ];
    for (wants, nodes, expected) in cases {
        let nodes: Vec<_> =
            nodes.iter().zip(["a", "b", "c"]).map(|(n, name)| node(name, n)).collect();
        assert_eq!(decided(&pod("p", wants), &nodes, &[]), *expected);
    }
}

#[test]
fn replicas_spread_over_nodes() {
    let nodes = [node("a", &json!({})), node("b", &json!({})), node("c", &json!({}))];
    let mut snapshot = Snapshot::new(&nodes, &[]);
    let mut placed = Vec::new();
    for n in 0..6 {
        let owned = json!({ "metadata": { "ownerReferences": [
            { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "u", "controller": true },
        ]}});
        let pod = pod(&format!("p{n}"), &owned);
        let Decision::Node { name, .. } = decide(&pod, &snapshot) else { panic!("fits") };
        snapshot.place(&pod, &name);
        placed.push(name);
    }
    placed.sort();
    assert_eq!(placed, ["a", "a", "b", "b", "c", "c"]);
}

#[test]
fn the_emptier_node_gets_a_single_pod() {
    let nodes = [node("a", &json!({})), node("b", &json!({}))];
    let busy = pod(
        "busy",
        &json!({ "metadata": { "labels": { "app": "db" } }, "spec": { "nodeName": "a" } }),
    );
    assert_eq!(decided(&pod("p", &json!({})), &nodes, &[busy]), "b");
}

#[test]
fn ended_pods_take_nothing_and_host_ports_are_taken_once() {
    let ports = json!({ "spec": { "nodeName": "a", "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 80 }] }] } });
    let wants = json!({ "spec": { "containers": [{ "name": "c", "ports": [{ "containerPort": 80, "hostPort": 80 }] }] } });
    let nodes = [node("a", &json!({}))];
    let taken = decided(&pod("p", &wants), &nodes, &[pod("q", &ports)]);
    assert!(taken.ends_with("didn't have free ports for the requested pod ports"), "{taken}");
    let mut ended = ports.clone();
    merge(&mut ended, &json!({ "status": { "phase": "Succeeded" } }));
    assert_eq!(decided(&pod("p", &wants), &nodes, &[pod("q", &ended)]), "a");
}

#[test]
fn required_affinity_and_tolerations_open_doors() {
    let zone = json!({ "spec": { "affinity": { "nodeAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{ "matchExpressions": [{ "key": "zone", "operator": "In", "values": ["b"] }] }] } } } } });
    let nodes = [node("a", &json!({})), node("b", &json!({}))];
    assert_eq!(decided(&pod("p", &zone), &nodes, &[]), "b");
    let tainted = json!({ "spec": { "taints": [{ "key": "k", "effect": "NoExecute" }] } });
    let tolerant = json!({ "spec": { "tolerations": [{ "operator": "Exists" }] } });
    assert_eq!(decided(&pod("p", &tolerant), &[node("a", &tainted)], &[]), "a");
}

#[test]
fn init_containers_count_by_their_peak_and_sidecars_beside_all() {
    let wants = json!({ "spec": { "initContainers": [
        { "name": "side", "restartPolicy": "Always", "resources": { "requests": { "cpu": "1" } } },
        { "name": "init", "resources": { "requests": { "cpu": "1200m" } } },
    ] } });
    // 1 for the sidecar and 1.2 for the init container are more than the 2 there are.
    assert_eq!(
        decided(&pod("p", &wants), &[node("a", &json!({}))], &[]),
        "0/1 nodes are available: 1 Insufficient cpu"
    );
}
