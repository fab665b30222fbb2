//! Members of etcd that are killed under load.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use beeline_kit::Tasks;
use beeline_store::{Change, Etcd, EtcdOptions, Revision, Store, StoreError, Watch};
use tokio::sync::mpsc;

#[path = "support/etcd.rs"]
mod etcd;
use etcd::Member;

/// Reads on until a revision has been seen.
async fn until(watch: &mut Watch, last: Revision) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    while changes.last().is_none_or(|change| change.revision() < last) {
        let batch = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
        changes.extend(batch.expect("the watch goes on").unwrap());
    }
    changes
}

/// Writes until told to stop, and reports what was acknowledged.
async fn write(
    store: Arc<Etcd>,
    writer: u32,
    stop: Arc<AtomicBool>,
    acknowledged: mpsc::Sender<(String, Revision)>,
) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let key = format!("/{writer}/{n}");
        match store.create(&key, "x".into()).await {
            Ok(revision) => acknowledged.send((key, revision)).await.unwrap(),
            // It may be there or not: the next key is another.
            Err(StoreError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_three_is_killed_under_load() {
    let mut members = Member::cluster(3).await;
    let tasks = Tasks::new();
    let urls = members.iter().map(Member::url).collect();
    // The watch is read at the end.
    let options = EtcdOptions { watch_queue: 1 << 16, ..EtcdOptions::new(urls) };
    let store = Etcd::connect(options, &tasks).await.unwrap();
    let start = store.revision();
    let mut watch = store.watch("/", start).await.unwrap();
    let (sender, mut receiver) = mpsc::channel(1 << 16);
    let stop = Arc::new(AtomicBool::new(false));
    for writer in 0..4 {
        let work = write(Arc::clone(&store), writer, Arc::clone(&stop), sender.clone());
        tasks.spawn("writer", work);
    }
    drop(sender);
    // Each in turn, so the leader too.
    for member in &mut members {
        tokio::time::sleep(Duration::from_millis(300)).await;
        member.restart().await;
        let probe = tokio::time::timeout(Duration::from_secs(30), async {
            while store.get("/probe").await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        probe.await.expect("another member answers");
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    while let Some((key, revision)) = receiver.recv().await {
        acknowledged.insert(key, revision);
    }
    assert!(acknowledged.len() > 100, "{} writes prove little", acknowledged.len());
    let (entries, revision) = store.range("").await.unwrap();
    let held: BTreeMap<_, _> =
        entries.iter().map(|entry| (entry.key.to_string(), entry.mod_revision)).collect();
    for (key, at) in &acknowledged {
        assert_eq!(held.get(key), Some(at), "{key} was acknowledged");
    }
    // The watch has gone on, each revision once and in order.
    let changes = until(&mut watch, revision).await;
    let seen: Vec<u64> = changes.iter().map(|change| change.revision().0).collect();
    assert_eq!(seen, (start.0 + 1..=revision.0).collect::<Vec<_>>());
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_when_etcd_comes_back() {
    let mut member = Member::start().await;
    let tasks = Tasks::new();
    let store = Etcd::connect(EtcdOptions::new(vec![member.url()]), &tasks).await.unwrap();
    let first = store.create("/a", "1".into()).await.unwrap();
    let mut watch = store.watch("/", first).await.unwrap();
    member.stop();
    let refused = store.update("/a", "2".into(), first).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }), "{refused}");
    member.restart().await;
    let second = loop {
        match store.update("/a", "3".into(), first).await {
            Ok(revision) => break revision,
            Err(StoreError::Unavailable { .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let changes = until(&mut watch, second).await;
    assert_eq!((changes.len(), changes[0].revision()), (1, second));
    tasks.stop(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_etcd_that_is_not_there_is_named() {
    let mut member = Member::start().await;
    member.stop();
    let options = EtcdOptions::new(vec![member.url()]);
    let tasks = Tasks::new();
    let refused = Etcd::connect(options, &tasks).await.unwrap_err().to_string();
    assert!(refused.contains(&member.url()), "{refused}");
}
