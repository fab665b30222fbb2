//! From a Deployment to backends on nodes, and back to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use beeline_tables::{ObjectName, Snapshot};
use serde_json::{Value, json};

use crate::cluster::{Cluster, eventually};

fn deployment(namespace: &str, replicas: i32) -> Value {
    json!({
        "metadata": { "name": "web", "namespace": namespace },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": "busybox", "ports": [{ "name": "http", "containerPort": 8080 }],
                    "envFrom": [{ "configMapRef": { "name": "settings" } }] }] },
            },
        },
    })
}

fn service(namespace: &str) -> Value {
    json!({
        "metadata": { "name": "web", "namespace": namespace },
        "spec": { "selector": { "app": "web" }, "ports": [{ "port": 80, "targetPort": "http" }] },
    })
}

fn ready(tables: &Snapshot, namespace: &str) -> usize {
    let web = ObjectName::new(namespace, "web");
    tables
        .slices_for(&web)
        .iter()
        .flat_map(|slice| slice.backends.iter())
        .filter(|b| b.ready)
        .count()
}

/// A Pod that is told to end takes no new connections any more.
fn assert_retired(tables: &Snapshot) {
    for intent in tables.pods.values().filter(|p| p.pod.metadata.deletion_timestamp.is_some()) {
        let backends = tables.slices.values().flat_map(|slice| slice.backends.iter());
        for backend in backends.filter(|b| b.pod.as_ref() == Some(&intent.name)) {
            assert!(!backend.ready && backend.terminating, "{} ends and is ready", intent.name);
        }
    }
}

fn progress(cluster: &Cluster) -> String {
    let web = cluster.object("apps/v1", "Deployment", Some("default"), "web").unwrap();
    let conditions = web.value["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let found = conditions.iter().find(|c| c["type"] == "Progressing");
    found.map(|c| c["reason"].as_str().unwrap().to_owned()).unwrap_or_default()
}

fn is_rolled_out(cluster: &Cluster, replicas: i64) -> bool {
    let web = cluster.object("apps/v1", "Deployment", Some("default"), "web").unwrap();
    let status = &web.value["status"];
    status["observedGeneration"] == web.value["metadata"]["generation"]
        && status["updatedReplicas"] == replicas
        && status["replicas"] == replicas
        && status["availableReplicas"] == replicas
        && progress(cluster) == "NewReplicaSetAvailable"
}

#[tokio::test]
async fn a_rollout_never_leaves_a_service_without_its_backends() {
    let cluster = Cluster::new().await;
    let (one, two) = (cluster.node("n1"), cluster.node("n2"));
    eventually("both up", || one.tables().complete && two.tables().complete).await;
    cluster.create("v1", "ConfigMap", &json!({ "metadata": { "name": "settings", "namespace": "default" }, "data": { "a": "b" } })).await;
    cluster.create("v1", "Service", &service("default")).await;
    cluster.create("apps/v1", "Deployment", &deployment("default", 4)).await;
    eventually("rolled out", || is_rolled_out(&cluster, 4)).await;
    eventually("backends on both nodes", || {
        ready(&one.tables(), "default") == 4 && ready(&two.tables(), "default") == 4
    })
    .await;
    assert_eq!((one.tables().pods.len(), two.tables().pods.len()), (2, 2), "spread");
    assert_eq!(one.tables().endpoints.len(), 4);
    let identities: std::collections::BTreeSet<_> =
        one.tables().endpoints.values().map(|e| e.identity).collect();
    assert_eq!(identities.len(), 1);
    let settings = ObjectName::new("default", "settings");
    assert!(
        one.tables().objects.keys().any(|key| key.name == settings && &*key.kind == "ConfigMap")
    );
    let least = Arc::new(AtomicUsize::new(usize::MAX));
    let (seen, mut reader) = (Arc::clone(&least), one.reader());
    // It ends the channel when it panics.
    let (alive, mut watched) = tokio::sync::oneshot::channel::<()>();
    cluster.tasks.spawn("test-watch", async move {
        let _alive = alive;
        while let Some(snapshot) = reader.changed().await {
            seen.fetch_min(ready(&snapshot, "default"), Ordering::SeqCst);
            assert_retired(&snapshot);
        }
    });
    cluster.patch("apps/v1", "Deployment", "web", json!({ "spec": { "template": { "metadata": { "annotations": { "restarted": "1" } } } } })).await;
    eventually("second revision", || {
        let web = cluster.object("apps/v1", "Deployment", Some("default"), "web").unwrap();
        web.value["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "2"
            && is_rolled_out(&cluster, 4)
    })
    .await;
    eventually("old ones gone", || cluster.list("v1", "Pod", Some("default")).len() == 4).await;
    assert!(
        watched.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty),
        "the watcher failed"
    );
    assert!(least.load(Ordering::SeqCst) >= 3, "{least:?} of 4 were ready at the worst moment");
    let made: Vec<_> = cluster
        .list("v1", "Event", Some("default"))
        .into_iter()
        .filter(|e| {
            e.value["reason"] == "SuccessfulCreate"
                && e.value["involvedObject"]["kind"] == "ReplicaSet"
        })
        .collect();
    assert_eq!(made.len(), 8, "no Pod is made twice");
    cluster.delete("apps/v1", "Deployment", Some("default"), "web").await;
    eventually("nothing left", || {
        cluster.list("v1", "Pod", Some("default")).is_empty()
            && cluster.list("apps/v1", "ReplicaSet", None).is_empty()
            && one.tables().pods.is_empty()
            && one.tables().endpoints.is_empty()
            && ready(&one.tables(), "default") == 0
    })
    .await;
    cluster.stop().await;
}

#[tokio::test]
async fn a_namespace_goes_with_all_that_is_in_it() {
    let cluster = Cluster::new().await;
    let node = cluster.node("n1");
    cluster.create("v1", "Namespace", &json!({ "metadata": { "name": "shop" } })).await;
    eventually("account", || {
        cluster.object("v1", "ServiceAccount", Some("shop"), "default").is_some()
    })
    .await;
    eventually("root CA", || {
        cluster.object("v1", "ConfigMap", Some("shop"), "kube-root-ca.crt").is_some()
    })
    .await;
    cluster
        .create(
            "v1",
            "ConfigMap",
            &json!({ "metadata": { "name": "settings", "namespace": "shop" } }),
        )
        .await;
    cluster.create("v1", "Service", &service("shop")).await;
    cluster.create("apps/v1", "Deployment", &deployment("shop", 2)).await;
    eventually("backends", || ready(&node.tables(), "shop") == 2).await;
    eventually("Endpoints", || {
        let endpoints = cluster.object("v1", "Endpoints", Some("shop"), "web");
        endpoints.is_some_and(|e| {
            e.value["subsets"][0]["addresses"].as_array().is_some_and(|a| a.len() == 2)
        })
    })
    .await;
    cluster.delete("v1", "Namespace", None, "shop").await;
    eventually("gone", || cluster.object("v1", "Namespace", None, "shop").is_none()).await;
    assert!(cluster.list("v1", "Pod", Some("shop")).is_empty());
    assert!(cluster.list("discovery.k8s.io/v1", "EndpointSlice", Some("shop")).is_empty());
    cluster.stop().await;
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_waits_and_says_why() {
    let cluster = Cluster::new().await;
    let pod = json!({
        "metadata": { "name": "big", "namespace": "default" },
        "spec": { "containers": [{ "name": "c", "image": "busybox", "resources": { "requests": { "cpu": "64" } } }] },
    });
    let node = cluster.node("n1");
    eventually("snapshot", || node.tables().complete).await;
    eventually("account", || {
        cluster.object("v1", "ServiceAccount", Some("default"), "default").is_some()
    })
    .await;
    cluster.create("v1", "Pod", &pod).await;
    eventually("event", || {
        cluster.list("v1", "Event", Some("default")).iter().any(|e| {
            e.value["reason"] == "FailedScheduling"
                && e.value["message"]
                    .as_str()
                    .unwrap()
                    .starts_with("0/1 nodes are available: 1 Insufficient cpu.")
        })
    })
    .await;
    cluster
        .patch("v1", "Pod", "big", json!({ "metadata": { "labels": { "touched": "yes" } } }))
        .await;
    let big = cluster.object("v1", "Pod", Some("default"), "big").unwrap();
    assert!(big.value["spec"].get("nodeName").is_none());
    cluster.stop().await;
}
