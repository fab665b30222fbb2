//! The same on the store that servers use: what was acknowledged is there after a restart.

use std::collections::BTreeSet;

use beeline_store::Embedded;

use super::*;

async fn open(dir: &std::path::Path) -> (Registry, Arc<Embedded>, Tasks) {
    let tasks = Tasks::new();
    let store = Embedded::open(dir, beeline_store::Options::default(), &tasks).await.unwrap();
    let registry = Registry::open(store.clone(), Options::default(), &tasks).await.unwrap();
    (registry, store, tasks)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writes_a_watch_and_a_restart() {
    const WRITERS: usize = 20;
    const EACH: usize = 50;
    let dir = tempfile::tempdir().unwrap();
    let (registry, store, tasks) = open(dir.path()).await;
    let caller = Caller::system("test");
    let all = Target::collection(&CONFIG_MAP, None);
    let mut watch = registry.watch(&caller, &all, &WatchOptions::default()).await.unwrap();
    for w in 0..WRITERS {
        let (registry, caller) = (registry.clone(), caller.clone());
        tasks.spawn("writer", async move {
            let target = Target::collection(&CONFIG_MAP, Some("default"));
            for i in 0..EACH {
                let body = config_map(&format!("c{w}-{i}"), "1");
                registry.create(&caller, &target, body, &WriteOptions::default()).await.unwrap();
            }
        });
    }
    let (mut names, mut last) = (BTreeSet::new(), 0);
    while names.len() < WRITERS * EACH {
        let event =
            tokio::time::timeout(Duration::from_secs(30), watch.next()).await.unwrap().unwrap();
        assert!(event.revision.0 > last, "in order, none twice");
        last = event.revision.0;
        assert!(names.insert(event.object.name().to_owned()));
    }
    drop(watch);
    store.close().await;
    tasks.stop(Duration::from_secs(5)).await;
    drop((registry, store));
    let (registry, store, tasks) = open(dir.path()).await;
    let found = registry.list(&caller, &all, &ListOptions::default()).await.unwrap();
    assert_eq!(found.items.len(), WRITERS * EACH);
    assert!(found.revision.0 >= last);
    store.close().await;
    tasks.stop(Duration::from_secs(5)).await;
}

fn definition() -> Value {
    let names = json!({ "plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList" });
    json!({
        "metadata": { "name": "things.example.com" },
        "spec": { "group": "example.com", "scope": "Namespaced", "names": names, "versions": [{
            "name": "v1", "served": true, "storage": true,
            "schema": { "openAPIV3Schema": { "type": "object", "properties": { "size": { "type": "integer" } } } } }] },
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn defined_kinds_and_their_objects_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (registry, store, tasks) = open(dir.path()).await;
    let (caller, o) = (Caller::system("test"), WriteOptions::default());
    let crd = &beeline_api::kinds::CUSTOM_RESOURCE_DEFINITION;
    let of = Target::object(crd, None, "things.example.com");
    let nudge = registry.changed_or_defined(&[]);
    registry.create(&caller, &Target::collection(crd, None), definition(), &o).await.unwrap();
    assert!(registry.kinds().by_resource("example.com", "v1", "things").is_none());
    let status = json!({ "status": { "acceptedNames": definition()["spec"]["names"],
        "conditions": [{ "type": "Established", "status": "True" }] } });
    let established = of.clone().sub(Subresource::Status);
    registry.patch(&caller, &established, Patch::Merge(status), &o).await.unwrap();
    let kind = registry.kinds().by_resource("example.com", "v1", "things").unwrap();
    let all = Target::collection(kind, Some("default"));
    let thing = |name: &str| json!({ "metadata": { "name": name }, "size": 1, "unknown": 2 });
    registry.create(&caller, &all, thing("a"), &o).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), nudge.notified()).await.unwrap();
    tasks.stop(Duration::from_secs(5)).await;
    drop((registry, store));

    let (registry, _store, tasks) = open(dir.path()).await;
    let kind = registry.kinds().by_resource("example.com", "v1", "things").unwrap();
    let all = Target::collection(kind, Some("default"));
    let list = registry.list(&caller, &all, &ListOptions::default()).await.unwrap();
    assert_eq!(list.items.len(), 1);
    assert_eq!(
        (&list.items[0].value["size"], &list.items[0].value["unknown"]),
        (&json!(1), &json!(null))
    );
    // A definition that is going takes no new objects; one that is gone has taken its kind along, and ends watches.
    let mut watch = registry.watch(&caller, &all, &WatchOptions::default()).await.unwrap();
    assert!(watch.next().await.is_some());
    registry.delete(&caller, &of, &DeleteOptions::default()).await.unwrap();
    let refused = registry.create(&caller, &all, thing("b"), &o).await.unwrap_err();
    assert_eq!(refused.code, 405, "{refused}");
    let one = Target::object(kind, Some("default"), "a");
    registry.delete(&caller, &one, &DeleteOptions::default()).await.unwrap();
    let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
    registry.patch(&caller, &of, free, &o).await.unwrap();
    assert!(registry.kinds().by_resource("example.com", "v1", "things").is_none());
    assert!(watch.next().await.is_some_and(|e| e.kind == EventKind::Deleted));
    assert!(watch.next().await.is_none());
    tasks.stop(Duration::from_secs(5)).await;
}
