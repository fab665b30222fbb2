//! A disk that fails under a running store.

use super::*;

mod faults;

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_is_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (tasks, options) = (Tasks::new(), Options { reserve_bytes: 0, ..Options::default() });
    let store = Embedded::open(dir.path(), options.clone(), &tasks).await.unwrap();
    let first = store.create("/a", "kept".into()).await.unwrap();
    store.close().await;
    drop(store);

    let directory = Directory::open(dir.path(), Disk::default()).unwrap();
    let mut recovered = recover::recover(&directory, &options).unwrap();
    recovered.log.break_disk();
    let broken = Embedded::start(directory, recovered, options.clone(), &tasks).unwrap();
    let mut watch = broken.watch("", first).await.unwrap();
    let at_once = (0..20).map(|n| {
        let store = Arc::clone(&broken);
        async move { store.create(&format!("/{n}"), "lost".into()).await }
    });
    let answers = at_once.collect::<tokio::task::JoinSet<_>>().join_all().await;
    assert!(
        answers.iter().all(|answer| matches!(answer, Err(StoreError::Failed { .. }))),
        "{answers:?}"
    );
    let StoreError::Failed { reason } = broken.fatal().await else { panic!("not failed") };
    assert!(reason.contains(".log"), "{reason}");
    // It stays that way, for readers too: what they would see could be gone after the next start.
    assert!(matches!(broken.get("/a").await, Err(StoreError::Failed { .. })));
    assert!(matches!(broken.create("/b", "x".into()).await, Err(StoreError::Failed { .. })));
    assert!(watch.next().await.is_err());
    broken.close().await;
    drop(broken);

    let again = Embedded::open(dir.path(), options, &tasks).await.unwrap();
    let (entries, revision) = again.range("").await.unwrap();
    assert_eq!((entries.len(), revision), (1, first));
    tasks.stop(Duration::from_secs(30)).await;
}

#[test]
fn a_refusal_that_rests_on_a_failed_write_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reserve_bytes: 0, ..Options::default() };
    let directory = Directory::open(dir.path(), Disk::default()).unwrap();
    let Recovered { state, mut log, snapshot, .. } =
        recover::recover(&directory, &options).unwrap();
    log.break_disk();
    let shared = Arc::new(Shared::new(state, log.bytes(), snapshot, 1));
    let (commands, receiver) = mpsc::channel(8);
    let wake = commands.downgrade();
    let compactor = Compactor::new(Arc::new(directory), wake, snapshot, u64::MAX);
    let ask = |key: &str| {
        let (reply, answer) = oneshot::channel();
        let op = Op::Create { key: key.into(), value: "lost".into() };
        commands.try_send(Command::Write { op, reply }).unwrap();
        answer
    };
    let both = [ask("/a"), ask("/a")];
    Writer::new(shared, log, compactor, receiver, &options).run();
    for answer in both {
        let answer = answer.blocking_recv().unwrap();
        assert!(matches!(answer, Err(StoreError::Failed { .. })), "{answer:?}");
    }
}
