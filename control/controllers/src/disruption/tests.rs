//! Budgets over pods of workloads.

use serde_json::{Value, json};

use super::*;

fn typed<T: serde::de::DeserializeOwned>(value: Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value).unwrap())
}

fn now() -> Timestamp {
    "2025-01-01T00:10:00Z".parse().unwrap()
}

fn pod(name: &str, owner: &str, more: &Value) -> Arc<Pod> {
    let owners = json!([{ "apiVersion": "v1", "kind": "ReplicaSet", "name": owner, "uid": owner, "controller": true }]);
    let mut pod = json!({
        "metadata": { "name": name, "namespace": "ns", "labels": { "app": "web" } },
        "status": { "conditions": [{ "type": "Ready", "status": "True" }] },
    });
    if !owner.is_empty() {
        pod["metadata"]["ownerReferences"] = owners;
    }
    let meta = pod["metadata"].as_object_mut().unwrap();
    meta.extend(more.as_object().unwrap().clone());
    typed(pod)
}

fn state(mut spec: Value, status: &Value, pods: Vec<Arc<Pod>>) -> State {
    spec["selector"] = json!({ "matchLabels": { "app": "web" } });
    let budget = json!({ "metadata": { "name": "b", "namespace": "ns", "generation": 2, "resourceVersion": "7" },
        "spec": spec, "status": status });
    let of = |name: &str, replicas: i32, owner: Value| {
        json!({ "metadata": { "name": name, "namespace": "ns", "uid": name, "ownerReferences": owner },
            "spec": { "replicas": replicas, "selector": {} } })
    };
    let owner = json!([{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "d", "controller": true }]);
    let deployment = json!({ "metadata": { "name": "d", "uid": "d" },
        "spec": { "replicas": 4, "selector": {}, "template": {} } });
    State {
        budgets: vec![typed(budget)],
        pods,
        replica_sets: vec![
            typed(of("alone", 2, json!([]))),
            typed(of("old", 1, owner.clone())),
            typed(of("new", 3, owner)),
        ],
        deployments: vec![typed(deployment)],
        ..State::default()
    }
}

/// expected, desired, current, allowed
fn numbers(state: &State) -> [i64; 4] {
    let status = status(state);
    ["expectedPods", "desiredHealthy", "currentHealthy", "disruptionsAllowed"]
        .map(|field| status[field].as_i64().unwrap_or(0))
}

fn status(state: &State) -> Value {
    match plan(state, now()).as_slice() {
        [Write::Patch { patch, part: Part::Status, .. }] => {
            assert_eq!(patch["metadata"]["resourceVersion"], "7");
            patch["status"].clone()
        }
        other => panic!("{other:?}"),
    }
}

fn three(owner: &str) -> Vec<Arc<Pod>> {
    ["a", "b", "c"].map(|name| pod(name, owner, &json!({}))).to_vec()
}

#[test]
fn numbers_and_shares() {
    let of = |spec: Value, owner: &str| numbers(&state(spec, &json!({}), three(owner)));
    assert_eq!(of(json!({ "minAvailable": 2 }), ""), [3, 2, 3, 1]);
    assert_eq!(of(json!({ "minAvailable": 3 }), "alone"), [3, 3, 3, 0]);
    assert_eq!(of(json!({ "minAvailable": "50%" }), "alone"), [2, 1, 3, 2]);
    assert_eq!(of(json!({ "maxUnavailable": 1 }), "new"), [4, 3, 3, 0], "the Deployment's number");
    assert_eq!(of(json!({ "maxUnavailable": "50%" }), "new"), [4, 2, 3, 1]);
    assert_eq!(of(json!({ "maxUnavailable": 9 }), "alone"), [2, 0, 3, 3]);
    assert_eq!(numbers(&state(json!({ "minAvailable": 0 }), &json!({}), Vec::new())), [0, 0, 0, 0]);
}

#[test]
fn pods_that_go_are_not_healthy() {
    let mut pods = three("");
    pods[0] = pod("a", "", &json!({ "deletionTimestamp": "2025-01-01T00:09:00Z" }));
    let noted = json!({ "disruptedPods": { "b": "2025-01-01T00:09:30Z", "c": "2025-01-01T00:05:00Z", "gone": "2025-01-01T00:09:30Z" } });
    let state = state(json!({ "minAvailable": 1 }), &noted, pods);
    assert_eq!(
        numbers(&state),
        [3, 1, 1, 0],
        "a is deleted, b evicted, c was believed to be for too long"
    );
    let kept = status(&state)["disruptedPods"].clone();
    assert_eq!(kept, json!({ "c": null, "gone": null }), "b stays");
}

#[test]
fn conditions_say_why() {
    let condition = |state: &State| {
        let condition = status(state)["conditions"][0].clone();
        ["status", "reason", "message"]
            .map(|field| condition[field].as_str().unwrap_or_default().to_owned())
    };
    let spec = |n: i64| json!({ "minAvailable": n });
    assert_eq!(condition(&state(spec(2), &json!({}), three(""))), ["True", "SufficientPods", ""]);
    assert_eq!(
        condition(&state(spec(3), &json!({}), three(""))),
        ["False", "InsufficientPods", ""]
    );
    let unknown = state(json!({ "maxUnavailable": 1 }), &json!({}), three("job"));
    assert_eq!(condition(&unknown), ["False", "SyncFailed", "found no controller for pod \"a\""]);
}

#[test]
fn what_is_so_is_not_written() {
    let mut state = state(json!({ "minAvailable": 2 }), &json!({}), three(""));
    let mut budget = write::value(&*state.budgets[0]);
    budget["status"] = status(&state);
    state.budgets = vec![typed(budget)];
    assert_eq!(plan(&state, now()), []);
}
