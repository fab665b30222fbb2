//! Plans as text.

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn set(replicas: i32) -> Arc<ReplicaSet> {
    let set = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "rs", "generation": 1 },
        "spec": { "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "template": { "metadata": { "labels": { "app": "web" } }, "spec": { "containers": [] } } },
        "status": { "replicas": 0 },
    });
    Arc::new(serde_json::from_value(set).unwrap())
}

fn pod(name: &str, what: &str) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "default", "uid": name, "labels": { "app": "web" },
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "rs", "controller": true }] },
        "spec": { "containers": [], "nodeName": "n1" },
        "status": { "phase": "Running", "conditions": [
            { "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z" }] },
    });
    for word in what.split_whitespace() {
        match word {
            "unscheduled" => pod["spec"]["nodeName"] = Value::Null,
            "pending" => pod["status"]["phase"] = json!("Pending"),
            "unready" => pod["status"]["conditions"] = json!([]),
            "young" => {
                pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:59:00Z");
                pod["status"]["conditions"][0]["lastTransitionTime"] =
                    json!("2026-01-01T00:59:30Z");
            }
            "deleting" => pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:00Z"),
            "failed" => pod["status"]["phase"] = json!("Failed"),
            "orphan" => pod["metadata"]["ownerReferences"] = Value::Null,
            "relabelled" => pod["metadata"]["labels"] = json!({ "app": "x" }),
            word => panic!("{word}"),
        }
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

/// Everything but Events and status.
fn planned(replicas: i32, pods: &[(&str, &str)]) -> Vec<String> {
    let pods = pods.iter().map(|(name, what)| pod(name, what)).collect();
    let writes = plan(&State { replica_sets: vec![set(replicas)], pods }, now());
    let texts = writes.iter().map(ToString::to_string);
    texts.filter(|t| !t.contains("Event") && !t.contains("/status")).collect()
}

#[test]
fn the_least_useful_go_first() {
    let pods = [
        ("f-old", ""),
        ("e-young", "young"),
        ("c-unready", "unready"),
        ("b-pending", "pending unready"),
        ("a-unscheduled", "unscheduled pending unready"),
    ];
    let order: Vec<Vec<String>> = (0..5).rev().map(|wanted| planned(wanted, &pods)).collect();
    assert_eq!(order[0], ["delete Pod default/a-unscheduled"]);
    assert_eq!(order[1].last().unwrap(), "delete Pod default/b-pending");
    assert_eq!(order[2].last().unwrap(), "delete Pod default/c-unready");
    assert_eq!(order[3].last().unwrap(), "delete Pod default/e-young");
    assert_eq!(order[4].last().unwrap(), "delete Pod default/f-old");
}

#[test]
fn ended_and_ending_pods_are_replaced_and_left_alone() {
    let made = planned(2, &[("a", ""), ("b", "deleting"), ("c", "failed")]);
    assert_eq!(made.len(), 1);
    assert!(made[0].starts_with("create Pod default/web-"), "{made:?}");
    assert!(planned(1, &[("a", ""), ("b", "deleting")]).is_empty());
}

#[test]
fn orphans_are_adopted_and_strangers_released() {
    let adopted = planned(1, &[("a", "orphan")]);
    assert_eq!(adopted.len(), 1);
    assert!(adopted[0].starts_with("patch Pod default/a") && adopted[0].contains("\"uid\":\"rs\""));
    let released = planned(0, &[("a", "relabelled")]);
    assert_eq!(released.len(), 1);
    assert!(released[0].contains("\"ownerReferences\":[]"), "{released:?}");
}

#[test]
fn names_differ_and_counts_are_reported() {
    let state = State { replica_sets: vec![set(30)], pods: Vec::new() };
    let mut names: Vec<String> = plan(&state, now())
        .iter()
        .filter_map(|w| match w {
            Write::Create { kind, name, .. } if kind.kind == "Pod" => Some(name.clone()),
            _ => None,
        })
        .collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 30);
    let pods = vec![pod("a", ""), pod("b", "unready")];
    let writes = plan(&State { replica_sets: vec![set(2)], pods }, now());
    let status = writes.last().unwrap().to_string();
    assert_eq!(
        status,
        "patch ReplicaSet/status default/web {\"status\":{\"availableReplicas\":1,\
         \"fullyLabeledReplicas\":2,\"observedGeneration\":1,\"readyReplicas\":1,\"replicas\":2}}"
    );
}
