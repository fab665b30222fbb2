use super::*;
use beeline_api::selectors::LabelSelector;

fn from(revision: u64) -> WatchOptions {
    WatchOptions { resource_version: Some(revision.to_string()), ..WatchOptions::default() }
}

async fn next(watch: &mut ObjectWatch) -> WatchEvent {
    tokio::time::timeout(Duration::from_secs(10), watch.next())
        .await
        .expect("an event in time")
        .expect("a live watch")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resumes_without_loss_or_duplicate_under_concurrent_writes() {
    const WRITES: usize = 1000;
    let bench =
        Arc::new(Bench::with(Options { history_per_kind: 4096, ..Options::default() }).await);
    let target = Target::collection(&CONFIG_MAP, None);
    let start = bench.registry.revision().0;
    let writers = Tasks::new();
    for w in 0..WRITES {
        let bench = Arc::clone(&bench);
        writers.spawn("writer", async move {
            bench.create(&CONFIG_MAP, config_map(&format!("c{w}"), "1")).await.unwrap();
        });
    }
    let (mut seen, mut names) = (start, Vec::new());
    while names.len() < WRITES {
        let mut watch = bench.registry.watch(&bench.caller, &target, &from(seen)).await.unwrap();
        for _ in 0..37.min(WRITES - names.len()) {
            let event = next(&mut watch).await;
            assert!(event.revision.0 > seen, "in order");
            seen = event.revision.0;
            names.push(event.object.name().to_owned());
        }
    }
    names.sort();
    names.dedup();
    assert_eq!(names.len(), WRITES);
}

#[tokio::test]
async fn selector_transitions() {
    let bench = Bench::new().await;
    let target = Target::collection(&CONFIG_MAP, Some("default"));
    let one = bench.one(&CONFIG_MAP, "a");
    let labels = LabelSelector::parse("on=yes").unwrap();
    let o = WatchOptions { labels, ..from(bench.registry.revision().0) };
    let mut watch = bench.registry.watch(&bench.caller, &target, &o).await.unwrap();
    bench.create(&CONFIG_MAP, config_map("a", "1")).await.unwrap();
    for label in ["yes", "no"] {
        bench.merge(&one, json!({ "metadata": { "labels": { "on": label } } })).await.unwrap();
    }
    bench.merge(&one, json!({ "metadata": { "labels": { "on": "yes" } } })).await.unwrap();
    bench.merge(&one, json!({ "data": { "k": "2" } })).await.unwrap();
    bench.delete(&one, DeleteOptions::default()).await.unwrap();
    let mut kinds = Vec::new();
    for _ in 0..5 {
        let event = next(&mut watch).await;
        assert_eq!(event.object.value["metadata"]["resourceVersion"], event.revision.0.to_string());
        kinds.push(event.kind.as_str());
    }
    assert_eq!(kinds, ["ADDED", "DELETED", "ADDED", "MODIFIED", "DELETED"]);
}

#[tokio::test]
async fn initial_events_and_bookmarks() {
    let options = Options { bookmark_interval: Duration::from_millis(20), ..Options::default() };
    let bench = Bench::with(options).await;
    bench.create(&CONFIG_MAP, config_map("a", "1")).await.unwrap();
    let target = Target::collection(&CONFIG_MAP, Some("default"));
    let o = WatchOptions {
        bookmarks: true,
        send_initial_events: Some(true),
        version_match: Some(VersionMatch::NotOlderThan),
        timeout: Some(Duration::from_millis(300)),
        ..WatchOptions::default()
    };
    let mut watch = bench.registry.watch(&bench.caller, &target, &o).await.unwrap();
    assert_eq!(next(&mut watch).await.kind, EventKind::Added);
    let end = next(&mut watch).await;
    assert_eq!(end.object.value["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    bench.create(&POD, pod("p")).await.unwrap();
    let idle = next(&mut watch).await;
    assert_eq!((idle.kind, idle.revision), (EventKind::Bookmark, bench.registry.revision()));
    while watch.next().await.is_some() {}
    let wrong = WatchOptions { send_initial_events: Some(true), ..WatchOptions::default() };
    assert_eq!(bench.registry.watch(&bench.caller, &target, &wrong).await.err().unwrap().code, 422);
}

#[tokio::test]
async fn too_old_and_too_slow() {
    let bench =
        Bench::with(Options { history_per_kind: 4, watch_buffer: 4, ..Options::default() }).await;
    let target = Target::collection(&CONFIG_MAP, None);
    let start = bench.registry.revision().0;
    let mut slow = bench.registry.watch(&bench.caller, &target, &from(start)).await.unwrap();
    for i in 0..10 {
        bench.create(&CONFIG_MAP, config_map(&format!("c{i}"), "1")).await.unwrap();
    }
    let old = bench.registry.watch(&bench.caller, &target, &from(start)).await.err().unwrap();
    assert_eq!((old.code, &*old.reason), (410, "Expired"));
    assert!(old.message.starts_with(&format!("too old resource version: {start} (")), "{old}");
    let mut got = 0;
    while slow.next().await.is_some() {
        got += 1;
    }
    assert_eq!(got, 4, "cut off after what was buffered");
}
