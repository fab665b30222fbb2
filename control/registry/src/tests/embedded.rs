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
