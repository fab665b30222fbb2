//! What nodes may have and write, through the door.

use beeline_api::kinds::{LEASE, PERSISTENT_VOLUME, PERSISTENT_VOLUME_CLAIM, SECRET};
use beeline_api::selectors::FieldSelector;

use super::*;

fn spec(node: &str, secret: &str) -> Value {
    json!({ "nodeName": node, "containers": [{ "name": "c", "image": "b",
        "env": [{ "name": "X", "valueFrom": { "secretKeyRef": { "name": secret, "key": "k" } } }] }],
        "volumes": [{ "name": "v", "persistentVolumeClaim": { "claimName": "data" } }] })
}

/// Nodes `a` and `b`, a pod on each, and what they refer to.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    for node in ["a", "b"] {
        let labels = json!({ "kubernetes.io/hostname": node });
        let body = json!({ "metadata": { "name": node, "labels": labels } });
        let caller = Caller::node(node);
        let target = Target::collection(&NODE, None);
        bench.registry.create(&caller, &target, body, &WriteOptions::default()).await.unwrap();
        let body = json!({ "metadata": { "name": node }, "spec": spec(node, node) });
        bench.create(&POD, body).await.unwrap();
        bench.create(&SECRET, json!({ "metadata": { "name": node } })).await.unwrap();
    }
    bench.create(&SECRET, json!({ "metadata": { "name": "mount" } })).await.unwrap();
    let volume = json!({ "metadata": { "name": "pv" }, "spec": {
        "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"],
        "claimRef": { "namespace": "default", "name": "data" },
        "csi": { "driver": "d", "volumeHandle": "h", "nodeStageSecretRef": { "namespace": "default", "name": "mount" } } } });
    bench.create(&PERSISTENT_VOLUME, volume).await.unwrap();
    bench
}

async fn get(bench: &Bench, node: &str, kind: &'static KindInfo, name: &str) -> Result<(), String> {
    let target = Target::object(kind, Some("default"), name);
    let got = bench.registry.get(&Caller::node(node), &target).await;
    got.map(|_| ()).map_err(|error| error.message)
}

#[tokio::test]
async fn a_node_reads_what_its_pods_refer_to_while_they_are_there() {
    let bench = bench().await;
    get(&bench, "a", &SECRET, "a").await.unwrap();
    get(&bench, "a", &SECRET, "mount").await.unwrap();
    get(&bench, "a", &PERSISTENT_VOLUME, "pv").await.unwrap();
    get(&bench, "a", &POD, "a").await.unwrap();
    assert_eq!(
        get(&bench, "a", &SECRET, "b").await.unwrap_err(),
        "secrets \"b\" is forbidden: User \"system:node:a\" cannot get resource \"secrets\" in API group \"\" in the \
         namespace \"default\": no relationship found between node 'a' and this object"
    );
    assert!(get(&bench, "a", &POD, "b").await.is_err());
    let claim = get(&bench, "b", &PERSISTENT_VOLUME_CLAIM, "data").await.unwrap_err();
    assert!(claim.contains("not found"), "authorized, but absent: {claim}");

    let pods = Target::collection(&POD, None);
    let listed = async |selector: &str| {
        let fields = FieldSelector::parse(selector, &POD).unwrap();
        let options = ListOptions { fields, ..ListOptions::default() };
        let list = bench.registry.list(&Caller::node("a"), &pods, &options).await;
        list.map(|list| list.items.len()).map_err(|error| error.message)
    };
    assert_eq!(listed("spec.nodeName=a").await, Ok(1));
    for selector in ["", "spec.nodeName=b", "spec.nodeName!=a"] {
        let refused = listed(selector).await.unwrap_err();
        assert!(refused.ends_with("can only list/watch pods with spec.nodeName field selector"));
    }

    let now = DeleteOptions { grace_period_seconds: Some(0), ..DeleteOptions::default() };
    let gone = bench.delete(&bench.one(&POD, "a"), now).await.unwrap();
    bench.registry.inner.cache.reach(gone.object().revision).await.unwrap();
    assert!(get(&bench, "a", &SECRET, "a").await.is_err());
    assert!(get(&bench, "a", &PERSISTENT_VOLUME, "pv").await.is_err());
    get(&bench, "b", &PERSISTENT_VOLUME, "pv").await.unwrap();
}

#[tokio::test]
async fn a_node_writes_itself_and_the_status_of_its_pods() {
    let bench = bench().await;
    let patched = async |target: Target, patch: Value| {
        let options = WriteOptions::default();
        let caller = Caller::node("a");
        let done = bench.registry.patch(&caller, &target, Patch::Merge(patch), &options).await;
        done.map(|_| ()).map_err(|error| error.message)
    };
    let node = |name: &str| Target::object(&NODE, None, name);
    let status = |name: &str| Target {
        subresource: Some(Subresource::Status),
        ..Target::object(&POD, Some("default"), name)
    };
    let label = |key: &str| json!({ "metadata": { "labels": { key: "x" } } });
    patched(node("a"), label("node.kubernetes.io/pool")).await.unwrap();
    patched(node("a"), label("mine")).await.unwrap();
    patched(status("a"), json!({ "status": { "phase": "Running" } })).await.unwrap();
    for (target, patch, words) in [
        (node("b"), label("mine"), "node \"a\" is not allowed to modify node \"b\""),
        (
            node("a"),
            label("node-restriction.kubernetes.io/tier"),
            "is not allowed to modify labels: node-restriction.kubernetes.io/tier",
        ),
        (node("a"), label("x.k8s.io/y"), "is not allowed to modify labels: x.k8s.io/y"),
        (
            node("a"),
            json!({ "spec": { "taints": [{ "key": "t", "effect": "NoSchedule" }] } }),
            "node \"a\" is not allowed to modify taints",
        ),
        (
            status("b"),
            json!({ "status": { "phase": "Failed" } }),
            "node \"a\" can only update pod status for pods with spec.nodeName set to itself",
        ),
    ] {
        let refused = patched(target, patch).await.unwrap_err();
        assert!(refused.ends_with(words), "{words} in {refused}");
    }
}

#[tokio::test]
async fn a_node_makes_mirror_pods_and_ends_its_own_alone() {
    let bench = bench().await;
    let caller = Caller::node("a");
    let create = async |kind: &'static KindInfo, namespace: &str, body: Value| {
        let target = Target::collection(kind, kind.namespaced.then_some(namespace));
        let made = bench.registry.create(&caller, &target, body, &WriteOptions::default()).await;
        made.map(|_| ()).map_err(|error| error.message)
    };
    let uid = bench.registry.cached(&NODE, None, "a").unwrap().uid().to_owned();
    let mirror = |owner: &str, uid: &str| {
        let mut body = pod("m");
        body["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
        body["metadata"]["ownerReferences"] = json!([{ "apiVersion": "v1", "kind": "Node", "name": owner,
            "uid": uid, "controller": true }]);
        body["spec"]["nodeName"] = "a".into();
        body
    };
    create(&POD, "default", mirror("a", &uid)).await.unwrap();
    let mut with_secret = mirror("a", &uid);
    with_secret["spec"]["volumes"] = json!([{ "name": "v", "secret": { "secretName": "b" } }]);
    for (body, words) in [
        (pod("p"), "node \"a\" can only create mirror pods"),
        (mirror("b", &uid), "with an owner reference set to itself"),
        (mirror("a", "other"), "node a UID mismatch: expected other got"),
        (with_secret, "node \"a\" can not create pods that reference secrets"),
    ] {
        let refused = create(&POD, "default", body).await.unwrap_err();
        assert!(refused.contains(words), "{words} in {refused}");
    }
    // A mirror pod puts nothing within reach of its node.
    assert!(get(&bench, "a", &SECRET, "b").await.is_err());
    create(&LEASE, "kube-node-lease", json!({ "metadata": { "name": "a" }, "spec": {} }))
        .await
        .unwrap();
    let refused = create(&LEASE, "kube-node-lease", json!({ "metadata": { "name": "b" } })).await;
    assert!(refused.unwrap_err().ends_with("same name as the requesting node"));
    let refused = create(&NODE, "", json!({ "metadata": { "name": "c" } })).await.unwrap_err();
    assert!(refused.ends_with("node \"a\" is not allowed to modify node \"c\""), "{refused}");

    let delete = async |name: &str| {
        let options = DeleteOptions::default();
        bench.registry.delete(&caller, &bench.one(&POD, name), &options).await
    };
    let refused = delete("b").await.unwrap_err().message;
    assert!(refused.ends_with("node \"a\" can only delete pods with spec.nodeName set to itself"));
    delete("a").await.unwrap();
    let eviction = |name: &str| Target {
        subresource: Some(Subresource::Eviction),
        ..Target::object(&POD, Some("default"), name)
    };
    let body = json!({ "apiVersion": "policy/v1", "kind": "Eviction" });
    let evicted = bench
        .registry
        .create(&caller, &eviction("b"), body, &WriteOptions::default())
        .await
        .unwrap_err();
    assert!(evicted.message.ends_with("can only evict pods with spec.nodeName set to itself"));
}
