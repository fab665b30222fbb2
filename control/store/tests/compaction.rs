//! A log that is made shorter: what is kept, what a kill leaves, what damage costs.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use beeline_store::{OpenError, Options, Revision, Store, StoreError};

#[path = "support/running.rs"]
mod running;
use running::{Running, SmallDisk, disk_bytes, fill_up, image, segments};

fn options() -> Options {
    Options {
        segment_bytes: 256 << 10,
        snapshot_log_bytes: 32 << 10,
        reserve_bytes: 0,
        index_delay: Duration::from_millis(5),
        ..Options::default()
    }
}

/// Overwrites until there have been so many compactions.
async fn run_until_compacted(running: &Running, times: u64) {
    for _ in 0..400 {
        if running.store.status().compactions >= times {
            return;
        }
        running.fill("a", 200).await;
    }
    panic!("the log is not made shorter: {:?}", running.store.status());
}

fn snapshots(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("snapshots")).unwrap();
    let mut all: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "snap"))
        .collect();
    all.sort();
    all
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at % bytes.len();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// A store that was made shorter some times and killed, and what it held.
async fn killed(times: u64) -> (tempfile::TempDir, (Vec<beeline_store::Entry>, Revision)) {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    run_until_compacted(&running, times).await;
    running.fill("b", 20).await;
    let before = running.contents().await;
    running.indexed().await;
    let killed = image(dir.path());
    running.stop().await;
    (killed, before)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_made_shorter_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    run_until_compacted(&running, 5).await;
    let status = running.store.status();
    // Two lengths of log, and what came while the last snapshot was written.
    assert!(status.log_bytes < 400 << 10, "{status:?}");
    assert!(status.snapshot > Revision(0) && status.compaction_error.is_none(), "{status:?}");
    assert_eq!(snapshots(dir.path()).len(), 2);
    let before = running.contents().await;
    let killed = image(dir.path());
    running.stop().await;
    for dir in [dir.path(), killed.path()] {
        for fast_load_bytes in [u64::MAX, 0] {
            let _ = fs::remove_dir_all(dir.join("index"));
            let again = Running::open(dir, Options { fast_load_bytes, ..options() }).await.unwrap();
            assert_eq!(again.contents().await, before);
            // History begins with the older snapshot, or where the log is long with the newer.
            let begin = again.store.status().compacted;
            let expected = if fast_load_bytes == 0 { 1 } else { 0 };
            let name = snapshots(dir)[expected].file_stem().unwrap().to_str().unwrap().to_owned();
            assert_eq!(begin, Revision(name.parse().unwrap()));
            let refused = again.store.watch("", Revision(begin.0 - 1)).await.unwrap_err();
            assert_eq!(refused, StoreError::Compacted { at: begin });
            let mut watch = again.store.watch("", begin).await.unwrap();
            assert_eq!(watch.next().await.unwrap()[0].revision(), begin.next());
            again.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_any_two_removals_leaves_a_whole_log() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    run_until_compacted(&running, 3).await;
    let earlier = image(dir.path());
    let times = running.store.status().compactions;
    run_until_compacted(&running, times + 1).await;
    let before = running.contents().await;
    let later = image(dir.path());
    running.stop().await;
    let relative = |root: &Path| -> BTreeSet<PathBuf> {
        let all = [snapshots(root), segments(root)].concat();
        all.iter().map(|path| path.strip_prefix(root).unwrap().to_owned()).collect()
    };
    // In the order of removal: snapshots, then segments, the oldest first.
    let mut removed: Vec<_> =
        relative(earlier.path()).difference(&relative(later.path())).cloned().collect();
    removed.sort_by_key(|path| (path.starts_with("log"), path.clone()));
    assert!(removed.len() >= 2, "{removed:?}");
    for done in 0..=removed.len() {
        let state = image(later.path());
        for path in &removed[done..] {
            fs::copy(earlier.path().join(path), state.path().join(path)).unwrap();
        }
        fs::write(state.path().join("snapshots/00000000000000000099.snap.new"), "half").unwrap();
        let again = Running::open(state.path(), options()).await.unwrap();
        assert_eq!(again.contents().await, before, "{done} of {removed:?} were removed");
        again.stop().await;
        assert_eq!(snapshots(state.path()).len(), 2);
        assert!(relative(state.path()).is_disjoint(&removed.iter().cloned().collect()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_damaged_snapshot_costs_nothing_and_both_are_refused() {
    let (killed, before) = killed(3).await;
    for damaged in [&[0][..], &[1], &[0, 1]] {
        let harmed = image(killed.path());
        for number in damaged {
            flip(&snapshots(harmed.path())[*number], 1_234);
        }
        let opened = Running::open(harmed.path(), options()).await;
        if damaged.len() == 2 {
            let refused = opened.err().unwrap();
            assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
            assert_eq!(snapshots(harmed.path()).len(), 2, "nothing is changed");
            continue;
        }
        let again = opened.unwrap();
        assert_eq!(again.contents().await, before);
        assert_eq!(snapshots(harmed.path()).len(), 1);
        // The next one makes two again.
        run_until_compacted(&again, 1).await;
        let before = again.contents().await;
        again.stop().await;
        assert_eq!(snapshots(harmed.path()).len(), 2);
        let again = Running::open(harmed.path(), options()).await.unwrap();
        assert_eq!(again.contents().await, before);
        again.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_that_is_missing_is_noticed() {
    let (killed, _) = killed(3).await;
    let all = segments(killed.path());
    assert!(all.len() >= 2);
    for path in &all {
        let aside = path.with_extension("aside");
        fs::rename(path, &aside).unwrap();
        let refused = Running::open(killed.path(), options()).await.err();
        assert!(refused.is_some(), "without {}", path.display());
        fs::rename(aside, path).unwrap();
    }
    // Another store's snapshot is not what this log begins with.
    let (other, _) = self::killed(3).await;
    fs::copy(&snapshots(other.path())[0], &snapshots(killed.path())[0]).unwrap();
    let opened = Running::open(killed.path(), options()).await;
    let Ok(running) = opened else { return };
    // Its name betrays it unless both are of the same revision: then it is set aside, and the newer one serves.
    assert_eq!(snapshots(killed.path()).len(), 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_history_stays_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), Options { segment_bytes: 1 << 20, ..options() });
    let running = running.await.unwrap();
    running.fill("a", 100).await;
    running.store.compact(Revision(60)).await.unwrap();
    running.store.compact(Revision(40)).await.unwrap();
    let killed = image(dir.path());
    running.stop().await;
    for dir in [dir.path(), killed.path()] {
        let again = Running::open(dir, options()).await.unwrap();
        let refused = again.store.watch("", Revision(59)).await.unwrap_err();
        assert_eq!(refused, StoreError::Compacted { at: Revision(60) });
        let mut watch = again.store.watch("", Revision(60)).await.unwrap();
        assert_eq!(watch.next().await.unwrap().len(), 40);
        again.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn live_keys_have_a_bound_and_deletions_are_taken_beyond_it() {
    let dir = tempfile::tempdir().unwrap();
    let limited = Options { live_bytes_max: 100_000, ..options() };
    let running = Running::open(dir.path(), limited).await.unwrap();
    let store = &running.store;
    let over = StoreError::OverLimit { limit: 100_000 };
    let mut last = Revision(0);
    let mut count = 0;
    let refused = loop {
        match store.create(&format!("/{count}"), vec![1; 10_000].into()).await {
            Ok(revision) => (last, count) = (revision, count + 1),
            Err(error) => break error,
        }
    };
    assert_eq!((refused, count), (over.clone(), 9));
    let larger = store.update("/8", vec![1; 30_000].into(), last).await.unwrap_err();
    assert_eq!(larger, over);
    let smaller = store.update("/8", vec![1; 9_000].into(), last).await.unwrap();
    store.delete("/8", smaller).await.unwrap();
    store.create("/new", vec![1; 10_000].into()).await.unwrap();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_helped_by_what_the_log_need_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path(), 48 << 20) else { return };
    let path = dir.path().join("store");
    // No compaction but for want of space.
    let options = Options {
        segment_bytes: 2 << 20,
        snapshot_log_bytes: u64::MAX,
        reserve_bytes: 2 << 20,
        ..Options::default()
    };
    let running = Running::open(&path, options.clone()).await.unwrap();
    let mut at = running.store.create("/a", vec![0; 100_000].into()).await.unwrap();
    while running.store.status().log_bytes < 12 << 20 {
        at = running.store.update("/a", vec![1; 100_000].into(), at).await.unwrap();
    }
    running.indexed().await;
    fill_up(&dir.path().join("filler"));
    let (mut refused, mut taken) = (0, 0);
    while taken < 60 {
        match running.store.update("/a", vec![2; 100_000].into(), at).await {
            Ok(revision) => (at, taken) = (revision, taken + 1),
            Err(error) => {
                assert_eq!(error, StoreError::Full);
                refused += 1;
                assert!(refused < 500, "{:?}", running.store.status());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    let status = running.store.status();
    assert!(refused > 0 && status.compactions > 0 && !status.full, "{refused} {status:?}");
    assert!(status.log_bytes < 12 << 20, "{status:?}");
    assert!(status.space.unwrap().free_bytes < 48 << 20);
    assert!(disk_bytes(&path.join("log")) < 12 << 20);
    let before = running.contents().await;
    running.stop().await;
    let again = Running::open(&path, options).await.unwrap();
    assert_eq!(again.contents().await, before);
    again.stop().await;
    drop(disk);
}
