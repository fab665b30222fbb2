//! The registry on a store in memory.

use std::sync::Arc;
use std::time::Duration;

use beeline_api::kinds::{CONFIG_MAP, DEPLOYMENT, NAMESPACE, NODE, POD, SERVICE};
use beeline_api::{ApiError, KindInfo};
use beeline_kit::Tasks;
use beeline_store::Memory;
use serde_json::{Value, json};

use crate::*;

mod accounts;
mod embedded;
mod lists;
mod nodes;
mod services;
mod watches;
mod writes;

/// A registry and what keeps it alive.
struct Bench {
    registry: Registry,
    caller: Caller,
    _tasks: Tasks,
}

impl Bench {
    async fn new() -> Self {
        Self::with(Options { advertise: Some(([127, 0, 0, 1].into(), 6443)), ..Options::default() })
            .await
    }

    async fn with(options: Options) -> Self {
        let tasks = Tasks::new();
        let registry = Registry::open(Arc::new(Memory::new()), options, &tasks).await.unwrap();
        Self { registry, caller: Caller::system("test"), _tasks: tasks }
    }

    fn one(&self, kind: &'static KindInfo, name: &str) -> Target {
        Target::object(kind, Some("default"), name)
    }

    async fn create(&self, kind: &'static KindInfo, body: Value) -> Result<Arc<Object>, ApiError> {
        let target = Target::collection(kind, kind.namespaced.then_some("default"));
        self.registry.create(&self.caller, &target, body, &WriteOptions::default()).await
    }

    async fn update(&self, target: &Target, body: Value) -> Result<Arc<Object>, ApiError> {
        self.registry.update(&self.caller, target, body, &WriteOptions::default()).await
    }

    async fn merge(&self, target: &Target, patch: Value) -> Result<Arc<Object>, ApiError> {
        self.registry
            .patch(&self.caller, target, Patch::Merge(patch), &WriteOptions::default())
            .await
    }

    async fn delete(&self, target: &Target, o: DeleteOptions) -> Result<Deleted, ApiError> {
        self.registry.delete(&self.caller, target, &o).await
    }

    async fn get(&self, target: &Target) -> Result<Arc<Object>, ApiError> {
        self.registry.get(&self.caller, target).await
    }
}

fn config_map(name: &str, value: &str) -> Value {
    json!({ "metadata": { "name": name }, "data": { "k": value } })
}

fn pod(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "busybox" }] } })
}

fn deployment(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "selector": { "matchLabels": { "app": name } },
        "template": { "metadata": { "labels": { "app": name } }, "spec": { "containers": [{ "name": "c", "image": "busybox" }] } } } })
}

fn service(name: &str, extra: &Value) -> Value {
    let mut service =
        json!({ "metadata": { "name": name }, "spec": { "ports": [{ "port": 80 }] } });
    json_patch_merge(&mut service, extra);
    service
}

fn json_patch_merge(into: &mut Value, extra: &Value) {
    *into = beeline_api::patch::merge(into.clone(), extra).unwrap();
}

#[tokio::test]
async fn opens_with_what_every_cluster_has() {
    let bench = Bench::new().await;
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        let ns = bench.get(&Target::object(&NAMESPACE, None, name)).await.unwrap();
        assert_eq!(ns.value["spec"]["finalizers"], json!(["kubernetes"]));
        assert_eq!(ns.value["status"]["phase"], "Active");
    }
    let service = bench.get(&bench.one(&SERVICE, "kubernetes")).await.unwrap();
    assert_eq!(service.value["spec"]["clusterIP"], "10.43.0.1");
    assert_eq!(service.value["metadata"]["resourceVersion"], service.revision.0.to_string());
}

#[tokio::test]
async fn survives_reopening() {
    let store = Arc::new(Memory::new());
    let tasks = Tasks::new();
    let caller = Caller::system("test");
    let first = Registry::open(store.clone(), Options::default(), &tasks).await.unwrap();
    let target = Target::collection(&SERVICE, Some("default"));
    let made = first
        .create(&caller, &target, service("a", &json!({})), &WriteOptions::default())
        .await
        .unwrap();
    let second = Registry::open(store, Options::default(), &tasks).await.unwrap();
    let again = second.get(&caller, &Target::object(&SERVICE, Some("default"), "a")).await.unwrap();
    assert_eq!(*again.value, *made.value);
    let wish = json!({ "spec": { "clusterIP": made.value["spec"]["clusterIP"] } });
    let taken = second
        .create(&caller, &target, service("b", &wish), &WriteOptions::default())
        .await
        .unwrap_err();
    assert!(taken.message.contains("provided IP is already allocated"), "{taken}");
}

#[tokio::test]
async fn typed_clients_and_nudges() {
    use k8s_openapi::api::core::v1::Pod;
    let bench = Bench::new().await;
    bench.create(&NODE, json!({ "metadata": { "name": "n1" } })).await.unwrap();
    let client = bench.registry.client(Caller::system("scheduler"));
    let nudge = client.changed(&[&POD]);
    bench.create(&POD, pod("a")).await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), nudge.notified()).await.unwrap();
    let pods = client.api::<Pod>();
    pods.bind("default", "a", "n1").await.unwrap();
    let bound = pods.get(Some("default"), "a").await.unwrap().unwrap();
    assert_eq!(bound.spec.as_ref().unwrap().node_name.as_deref(), Some("n1"));
    assert!(
        pods.bind("default", "a", "n2")
            .await
            .unwrap_err()
            .message
            .contains("already assigned to node \"n1\"")
    );
    assert!(pods.create(&bound).await.is_err(), "the scheduler creates no pods");
    assert_eq!(client.cached::<Pod>().len(), 1);
}
