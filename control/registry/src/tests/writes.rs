use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use beeline_store::{Entry, Store, StoreError, Watch};
use bytes::Bytes;
use tokio::sync::Semaphore;

use super::*;

#[tokio::test]
async fn create_fills_in_and_refuses_twice() {
    let bench = Bench::new().await;
    let made = bench.create(&POD, pod("a")).await.unwrap();
    assert_eq!(made.value["spec"]["restartPolicy"], "Always");
    assert_eq!(made.value["spec"]["serviceAccountName"], "default");
    assert_eq!(made.value["spec"]["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(made.value["status"], json!({ "phase": "Pending", "qosClass": "BestEffort" }));
    assert_eq!(made.value["metadata"]["generation"], 1);
    let twice = bench.create(&POD, pod("a")).await.unwrap_err();
    assert_eq!((twice.code, twice.message.as_str()), (409, "pods \"a\" already exists"));
    let gone = Target::collection(&POD, Some("nowhere"));
    let missing = bench
        .registry
        .create(&bench.caller, &gone, pod("a"), &WriteOptions::default())
        .await
        .unwrap_err();
    assert_eq!((missing.code, missing.message.as_str()), (404, "namespaces \"nowhere\" not found"));
}

#[tokio::test]
async fn invalid_objects_in_upstreams_words() {
    let bench = Bench::new().await;
    let mut bad = pod("A_b");
    bad["spec"]["containers"][0]["image"] = json!("");
    let error = bench.create(&POD, bad).await.unwrap_err();
    assert_eq!(error.code, 422);
    assert!(error.message.starts_with("Pod \"A_b\" is invalid: [metadata.name: Invalid value: \"A_b\": a lowercase RFC 1123 subdomain"), "{error}");
    assert!(error.message.ends_with("spec.containers[0].image: Required value]"), "{error}");
    let mut bad = deployment("x");
    bad["spec"]["template"]["metadata"]["labels"]["app"] = json!("y");
    let error = bench.create(&DEPLOYMENT, bad).await.unwrap_err();
    assert_eq!(
        error.message,
        "Deployment.apps \"x\" is invalid: spec.template.metadata.labels: Invalid value: {\"app\":\"y\"}: `selector` does not match template `labels`"
    );
}

#[tokio::test]
async fn stale_writes_conflict_and_equal_writes_do_nothing() {
    let bench = Bench::new().await;
    let target = bench.one(&CONFIG_MAP, "a");
    let first = bench.create(&CONFIG_MAP, config_map("a", "1")).await.unwrap();
    let mut second = first.value.clone();
    second["data"]["k"] = json!("2");
    let second = bench.update(&target, second).await.unwrap();
    assert!(second.revision > first.revision);
    let stale = bench.update(&target, first.value.clone()).await.unwrap_err();
    assert_eq!(
        stale.message,
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again"
    );
    let same = bench.update(&target, second.value.clone()).await.unwrap();
    assert_eq!(same.revision, second.revision);
    let same = bench.merge(&target, json!({ "data": { "k": "2" } })).await.unwrap();
    assert_eq!(same.revision, second.revision);
    let pinned = bench.merge(&target, json!({ "metadata": { "resourceVersion": first.revision.0.to_string() }, "data": { "k": "3" } })).await;
    assert!(pinned.unwrap_err().is_conflict());
    assert_eq!(
        bench
            .update(&bench.one(&CONFIG_MAP, "none"), config_map("none", "1"))
            .await
            .unwrap_err()
            .code,
        404
    );
}

#[tokio::test]
async fn patches_retry_until_all_are_in() {
    let bench = Arc::new(Bench::new().await);
    bench.create(&CONFIG_MAP, config_map("a", "1")).await.unwrap();
    let one = |i: usize| {
        let bench = Arc::clone(&bench);
        async move {
            bench
                .merge(&bench.one(&CONFIG_MAP, "a"), json!({ "data": { format!("k{i}"): "v" } }))
                .await
        }
    };
    let results = futures::future::join_all((0..10).map(one)).await;
    assert!(results.iter().all(Result::is_ok));
    let all = bench.get(&bench.one(&CONFIG_MAP, "a")).await.unwrap();
    assert_eq!(all.value["data"].as_object().unwrap().len(), 11);
}

#[tokio::test]
async fn status_and_spec_are_written_apart() {
    let bench = Bench::new().await;
    let target = bench.one(&DEPLOYMENT, "d");
    let mut body = deployment("d");
    body["status"] = json!({ "replicas": 7 });
    let made = bench.create(&DEPLOYMENT, body).await.unwrap();
    assert_eq!(made.value["status"]["replicas"], Value::Null);
    let status = target.clone().sub(Subresource::Status);
    let patch =
        json!({ "status": { "replicas": 1, "observedGeneration": 1 }, "spec": { "replicas": 9 } });
    let after = bench.merge(&status, patch).await.unwrap();
    assert_eq!(
        (&after.value["status"]["replicas"], &after.value["spec"]["replicas"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(after.value["metadata"]["generation"], 1);
    let after =
        bench.merge(&target, json!({ "status": null, "spec": { "replicas": 2 } })).await.unwrap();
    assert_eq!(
        (&after.value["status"]["replicas"], &after.value["metadata"]["generation"]),
        (&json!(1), &json!(2))
    );
    let scale = target.clone().sub(Subresource::Scale);
    let scaled = bench.merge(&scale, json!({ "spec": { "replicas": 4 } })).await.unwrap();
    assert_eq!(
        (
            &scaled.value["kind"],
            &scaled.value["spec"]["replicas"],
            &scaled.value["status"]["selector"]
        ),
        (&json!("Scale"), &json!(4), &json!("app=d"))
    );
    let immutable = bench.merge(&target, json!({ "spec": { "selector": { "matchLabels": { "app": "e" } }, "template": { "metadata": { "labels": { "app": "e" } } } } })).await.unwrap_err();
    assert!(immutable.message.contains("field is immutable"), "{immutable}");
}

#[tokio::test]
async fn generated_names() {
    let bench = Bench::new().await;
    for _ in 0..20 {
        let mut body = pod("");
        body["metadata"] = json!({ "generateName": "web-" });
        let made = bench.create(&POD, body).await.unwrap();
        assert_eq!(made.name().len(), 9);
    }
}

#[tokio::test]
async fn deletion_waits_for_finalizers_and_grace() {
    let bench = Bench::new().await;
    let mut held = config_map("a", "1");
    held["metadata"]["finalizers"] = json!(["x.io/y"]);
    bench.create(&CONFIG_MAP, held).await.unwrap();
    let target = bench.one(&CONFIG_MAP, "a");
    assert!(matches!(
        bench.delete(&target, DeleteOptions::default()).await.unwrap(),
        Deleted::Pending(_)
    ));
    let more = bench
        .merge(&target, json!({ "metadata": { "finalizers": ["x.io/y", "z.io/z"] } }))
        .await
        .unwrap_err();
    assert!(more.message.contains("no new finalizers can be added"), "{more}");
    bench.merge(&target, json!({ "metadata": { "finalizers": null } })).await.unwrap();
    assert_eq!(bench.get(&target).await.unwrap_err().code, 404);

    let target = bench.one(&POD, "p");
    bench.create(&POD, pod("p")).await.unwrap();
    assert!(
        matches!(bench.delete(&target, DeleteOptions::default()).await.unwrap(), Deleted::Gone(_)),
        "unscheduled"
    );
    let mut scheduled = pod("p");
    scheduled["spec"]["nodeName"] = json!("n1");
    let made = bench.create(&POD, scheduled).await.unwrap();
    let pending = bench.delete(&target, DeleteOptions::default()).await.unwrap();
    assert_eq!(pending.object().value["metadata"]["deletionGracePeriodSeconds"], 30);
    let wrong = DeleteOptions {
        preconditions: Preconditions { uid: Some("x".into()), ..Preconditions::default() },
        ..DeleteOptions::default()
    };
    assert_eq!(bench.delete(&target, wrong).await.unwrap_err().code, 409);
    let uid = Some(made.uid().to_owned());
    let last = DeleteOptions {
        grace_period_seconds: Some(0),
        preconditions: Preconditions { uid, ..Preconditions::default() },
        ..DeleteOptions::default()
    };
    assert!(matches!(bench.delete(&target, last).await.unwrap(), Deleted::Gone(_)));
}

#[tokio::test]
async fn namespaces_end_through_finalize() {
    let bench = Bench::new().await;
    bench.create(&NAMESPACE, json!({ "metadata": { "name": "x" } })).await.unwrap();
    let target = Target::object(&NAMESPACE, None, "x");
    let pending = bench.delete(&target, DeleteOptions::default()).await.unwrap();
    assert_eq!(pending.object().value["status"]["phase"], "Terminating");
    let inside = Target::collection(&CONFIG_MAP, Some("x"));
    let refused = bench
        .registry
        .create(&bench.caller, &inside, config_map("a", "1"), &WriteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(refused.code, 403);
    assert!(refused.message.contains("because it is being terminated"), "{refused}");
    let mut body = pending.object().value.clone();
    body["spec"] = json!({});
    bench.update(&target.clone().sub(Subresource::Finalize), body).await.unwrap();
    assert_eq!(bench.get(&target).await.unwrap_err().code, 404);
    let kept = bench
        .delete(&Target::object(&NAMESPACE, None, "default"), DeleteOptions::default())
        .await
        .unwrap_err();
    assert_eq!(
        (kept.code, kept.message.as_str()),
        (403, "namespaces \"default\" is forbidden: this namespace may not be deleted")
    );
}

#[tokio::test]
async fn addresses_are_given_once_and_come_back() {
    let options =
        Options { service_cidrs: vec!["10.43.0.0/28".parse().unwrap()], ..Options::default() };
    let bench = Bench::with(options).await;
    // 14 addresses: one is for `kubernetes`, one for DNS.
    for round in 0..3 {
        for i in 0..12 {
            let made = bench.create(&SERVICE, service(&format!("s{i}"), &json!({}))).await;
            assert!(made.is_ok(), "round {round}, service {i}: {made:?}");
        }
        let full = bench.create(&SERVICE, service("more", &json!({}))).await.unwrap_err();
        assert!(full.message.contains("full"), "{full}");
        let invalid = service(
            "bad",
            &json!({ "spec": { "clusterIP": "10.43.0.10", "ports": [{ "port": 0 }] } }),
        );
        assert_eq!(bench.create(&SERVICE, invalid).await.unwrap_err().code, 422);
        let exists = service("s0", &json!({ "spec": { "clusterIP": "10.43.0.10" } }));
        assert_eq!(bench.create(&SERVICE, exists).await.unwrap_err().code, 409);
        let dry = WriteOptions { dry_run: true, ..WriteOptions::default() };
        let dns = service("dns", &json!({ "spec": { "clusterIP": "10.43.0.10" } }));
        let target = Target::collection(&SERVICE, Some("default"));
        bench.registry.create(&bench.caller, &target, dns.clone(), &dry).await.unwrap();
        bench.create(&SERVICE, dns).await.unwrap();
        bench.delete(&bench.one(&SERVICE, "dns"), DeleteOptions::default()).await.unwrap();
        for i in 0..12 {
            bench
                .delete(&bench.one(&SERVICE, &format!("s{i}")), DeleteOptions::default())
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn services_keep_what_they_have() {
    let bench = Bench::new().await;
    let target = bench.one(&SERVICE, "s");
    let made = bench
        .create(&SERVICE, service("s", &json!({ "spec": { "type": "NodePort" } })))
        .await
        .unwrap();
    let mut plain =
        service("s", &json!({ "spec": { "type": "NodePort", "selector": { "a": "b" } } }));
    plain["metadata"]["resourceVersion"] = made.value["metadata"]["resourceVersion"].clone();
    let after = bench.update(&target, plain).await.unwrap();
    assert_eq!(after.value["spec"]["clusterIP"], made.value["spec"]["clusterIP"]);
    assert_eq!(after.value["spec"]["ports"], made.value["spec"]["ports"]);
    let moved = bench
        .merge(
            &target,
            json!({ "spec": { "clusterIP": "10.43.9.9", "clusterIPs": ["10.43.9.9"] } }),
        )
        .await
        .unwrap_err();
    assert!(moved.message.contains("may not change once set"), "{moved}");
    let headless = bench
        .create(&SERVICE, service("h", &json!({ "spec": { "clusterIP": "None" } })))
        .await
        .unwrap();
    assert_eq!(headless.value["spec"]["clusterIPs"], json!(["None"]));
    bench
        .create(
            &SERVICE,
            service("moved-was-released", &json!({ "spec": { "clusterIP": "10.43.9.9" } })),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn server_side_apply_creates_and_conflicts() {
    let bench = Bench::new().await;
    let target = bench.one(&DEPLOYMENT, "d");
    let apply = |replicas: i64, manager: &str| {
        let mut body = deployment("d");
        body["apiVersion"] = json!("apps/v1");
        body["kind"] = json!("Deployment");
        body["spec"]["replicas"] = json!(replicas);
        let o = WriteOptions { field_manager: Some(manager.to_owned()), ..WriteOptions::default() };
        let (registry, caller, target) =
            (bench.registry.clone(), bench.caller.clone(), target.clone());
        async move { registry.patch(&caller, &target, Patch::Apply(body), &o).await }
    };
    let made = apply(1, "a").await.unwrap();
    assert_eq!(apply(1, "a").await.unwrap().revision, made.revision);
    let conflict = apply(2, "b").await.unwrap_err();
    assert_eq!(
        conflict.message,
        "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas"
    );
    assert_eq!(apply(2, "a").await.unwrap().value["spec"]["replicas"], 2);
}

#[tokio::test]
async fn every_write_has_its_manager() {
    let bench = Bench::new().await;
    let target = bench.one(&DEPLOYMENT, "d");
    let by = |manager: &str| WriteOptions {
        field_manager: Some(manager.to_owned()),
        ..WriteOptions::default()
    };
    let collection = Target::collection(&DEPLOYMENT, Some("default"));
    let made =
        bench.registry.create(&bench.caller, &collection, deployment("d"), &by("maker")).await;
    made.unwrap();
    let scale = json!({ "spec": { "replicas": 7 } });
    let scaled = target.clone().sub(Subresource::Scale);
    let patch = Patch::Merge(scale);
    bench.registry.patch(&bench.caller, &scaled, patch, &by("scaler")).await.unwrap();
    let status = target.clone().sub(Subresource::Status);
    let patch = Patch::Merge(json!({ "status": { "replicas": 7 } }));
    bench.registry.patch(&bench.caller, &status, patch, &WriteOptions::default()).await.unwrap();
    let found = bench.registry.get(&bench.caller, &target).await.unwrap();
    let entries = found.value["metadata"]["managedFields"].as_array().unwrap();
    let owners: Vec<(&str, &str)> = entries
        .iter()
        .map(|e| (e["manager"].as_str().unwrap(), e["subresource"].as_str().unwrap_or_default()))
        .collect();
    let own = bench.caller.manager.as_str();
    let mut expected = vec![("maker", ""), ("scaler", "scale"), (own, "status")];
    expected.sort_unstable();
    let mut sorted = owners.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    let of = |manager: &str| entries.iter().find(|e| e["manager"] == manager).unwrap();
    assert_eq!(of("scaler")["fieldsV1"], json!({ "f:spec": { "f:replicas": {} } }));
    // What nobody changes is no write, and clearing holds until somebody applies.
    let same = Patch::Merge(json!({ "spec": { "replicas": 7 } }));
    let again = bench.registry.patch(&bench.caller, &target, same, &by("other")).await.unwrap();
    assert_eq!(again.revision, found.revision);
    let clear = Patch::Merge(json!({ "metadata": { "managedFields": [{}] } }));
    let cleared = bench.registry.patch(&bench.caller, &target, clear, &by("maker")).await.unwrap();
    assert!(cleared.value["metadata"].get("managedFields").is_none());
}

#[tokio::test]
async fn unknown_fields_warn_or_refuse() {
    let bench = Bench::new().await;
    let mut body = pod("a");
    body["spec"]["nodName"] = json!("x");
    let target = Target::collection(&POD, Some("default"));
    let strict =
        WriteOptions { field_validation: FieldValidation::Strict, ..WriteOptions::default() };
    let refused =
        bench.registry.create(&bench.caller, &target, body.clone(), &strict).await.unwrap_err();
    assert!(
        refused.message.ends_with("strict decoding error: unknown field \"spec.nodName\""),
        "{refused}"
    );
    let warn = WriteOptions::default();
    let made = bench.registry.create(&bench.caller, &target, body, &warn).await.unwrap();
    assert_eq!(warn.warnings.take(), ["unknown field \"spec.nodName\""]);
    assert_eq!(made.value["spec"]["nodName"], Value::Null);
}

#[tokio::test]
async fn a_full_store_refuses_writes_in_words_and_serves_reads() {
    let tasks = Tasks::new();
    let store = Arc::new(Troubled {
        inner: Memory::new(),
        full: AtomicBool::new(false),
        watches: Semaphore::new(9),
    });
    let registry = Registry::open(store.clone(), Options::default(), &tasks).await.unwrap();
    let caller = Caller::system("test");
    let target = Target::collection(&SERVICE, Some("default"));
    store.full.store(true, Ordering::Relaxed);
    let wish = json!({ "spec": { "clusterIP": "10.43.0.77" } });
    let o = WriteOptions::default();
    let full = registry.create(&caller, &target, service("a", &wish), &o).await.unwrap_err();
    assert_eq!((full.code, &*full.reason), (500, "InternalError"));
    assert!(
        full.message.contains("etcdserver: mvcc: database space exceeded: free space"),
        "{full}"
    );
    assert_eq!(
        registry.get(&caller, &Target::object(&NAMESPACE, None, "default")).await.unwrap().name(),
        "default"
    );
    store.full.store(false, Ordering::Relaxed);
    registry
        .create(&caller, &target, service("a", &wish), &o)
        .await
        .expect("the address came back");
}

/// A store that can run out of space, and whose watches can be made to wait.
struct Troubled {
    inner: Memory,
    full: AtomicBool,
    watches: Semaphore,
}

#[async_trait]
impl Store for Troubled {
    async fn create(&self, key: &str, value: Bytes) -> Result<Revision, StoreError> {
        if self.full.load(Ordering::Relaxed) {
            Err(StoreError::Full)
        } else {
            self.inner.create(key, value).await
        }
    }
    async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
    ) -> Result<Revision, StoreError> {
        self.inner.update(key, value, expected).await
    }
    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision, StoreError> {
        self.inner.delete(key, expected).await
    }
    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        self.inner.compact(to).await
    }
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.inner.get(key).await
    }
    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        self.inner.range(prefix).await
    }
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.watches.acquire().await.unwrap().forget();
        self.inner.watch(prefix, after).await
    }
    fn revision(&self) -> Revision {
        self.inner.revision()
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_stored_is_never_given_twice_however_late_the_cache() {
    let store = Arc::new(Troubled {
        inner: Memory::with_limits(1000, 1),
        full: AtomicBool::new(false),
        watches: Semaphore::new(1_000),
    });
    let tasks = Tasks::new();
    let registry = Registry::open(store.clone(), Options::default(), &tasks).await.unwrap();
    store.watches.forget_permits(1_000);
    // More at once than the follower's queue takes: it is cut off, and its next watch has to wait.
    for key in ["/a", "/b", "/c"] {
        store.create(key, Bytes::new()).await.unwrap();
    }
    let (caller, target) = (Caller::system("test"), Target::collection(&SERVICE, Some("default")));
    let create = async |name: &str| {
        let body = service(name, &json!({ "spec": { "clusterIP": "10.43.0.77" } }));
        registry.create(&caller, &target, body, &WriteOptions::default()).await
    };
    let unseen = create("one").await.unwrap_err();
    assert_eq!(unseen.code, 504, "{unseen}");
    let refused = create("two").await.unwrap_err();
    assert!(refused.message.contains("already allocated"), "{refused}");
    store.watches.add_permits(1);
    let again = create("one").await.unwrap_err();
    assert!(again.message.contains("already allocated"), "{again}");
    let one = registry.get(&caller, &Target::object(&SERVICE, Some("default"), "one")).await;
    assert_eq!(one.unwrap().value["spec"]["clusterIP"], "10.43.0.77");
}

#[tokio::test]
async fn a_bound_pod_is_said_to_be_scheduled_and_only_the_pod_meant_is_evicted() {
    let bench = Bench::new().await;
    bench.create(&POD, pod("a")).await.unwrap();
    let (o, one) = (WriteOptions::default(), bench.one(&POD, "a"));
    let post = async |sub, body| {
        bench.registry.create(&bench.caller, &one.clone().sub(sub), body, &o).await
    };
    let binding =
        json!({ "metadata": { "name": "a" }, "target": { "kind": "Node", "name": "n1" } });
    post(Subresource::Binding, binding).await.unwrap();
    let bound = bench.get(&one).await.unwrap();
    assert_eq!(bound.value["spec"]["nodeName"], "n1");
    let condition = &bound.value["status"]["conditions"][0];
    assert_eq!(
        (&condition["type"], &condition["status"]),
        (&json!("PodScheduled"), &json!("True"))
    );

    let evict = |uid: &str| json!({ "metadata": { "name": "a" }, "deleteOptions": { "preconditions": { "uid": uid } } });
    let refused = post(Subresource::Eviction, evict("of-another")).await.unwrap_err();
    assert_eq!(refused.code, 409, "{refused}");
    assert!(!bench.get(&one).await.unwrap().deleting());
    post(Subresource::Eviction, evict(bound.uid())).await.unwrap();
    assert!(bench.get(&one).await.unwrap().deleting());
}
