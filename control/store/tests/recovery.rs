//! Stores that were killed, damaged, or deprived of their disk, opened again.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use beeline_store::{OpenError, Options, Revision, Store, StoreError};

#[path = "support/running.rs"]
mod running;
use running::{Running, SmallDisk, fill_up, image, segments};

fn options() -> Options {
    Options {
        segment_bytes: 1 << 20,
        reserve_bytes: 0,
        index_delay: Duration::from_millis(5),
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_clean_stop_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    running.fill("a", 2_500).await;
    let before = running.contents().await;
    let killed = image(dir.path());
    running.stop().await;
    for dir in [dir.path(), killed.path()] {
        for _ in 0..2 {
            let again = Running::open(dir, options()).await.unwrap();
            assert_eq!(again.contents().await, before);
            // History survives: a watch resumes across the restart.
            let mut watch = again.store.watch("", Revision(2_000)).await.unwrap();
            assert_eq!(watch.next().await.unwrap()[0].revision(), Revision(2_001));
            again.indexed().await;
            again.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_is_refused_and_late_operations_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    let refused = Running::open(dir.path(), options()).await.err().unwrap().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    let store = Arc::clone(&running.store);
    let mut watch = store.watch("", Revision(0)).await.unwrap();
    running.stop().await;
    assert_eq!(store.create("/late", "".into()).await.unwrap_err(), StoreError::Closed);
    assert_eq!(store.get("/late").await.unwrap_err(), StoreError::Closed);
    assert!(watch.next().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_tail_is_cut_and_life_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    running.fill("a", 100).await;
    let before = running.contents().await;
    let sound = image(dir.path());
    let offset = running.store.status().log_bytes;
    running.stop().await;
    for garbage in [&[1_u8; 3][..], &[255; 500], &[0, 0, 0, 0, 0, 0, 0, 0, 7]] {
        let torn = image(sound.path());
        let path = &segments(torn.path())[0];
        let mut bytes = fs::read(path).unwrap();
        let at = usize::try_from(offset).unwrap();
        bytes[at..at + garbage.len()].copy_from_slice(garbage);
        fs::write(path, bytes).unwrap();
        let again = Running::open(torn.path(), options()).await.unwrap();
        assert_eq!(again.contents().await, before);
        again.fill("b", 10).await;
        let after = again.contents().await;
        again.stop().await;
        let again = Running::open(torn.path(), options()).await.unwrap();
        assert_eq!(again.contents().await, after);
        again.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_acknowledged_writes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    running.fill("a", 100).await;
    let offset = running.store.status().log_bytes;
    running.fill("b", 1).await;
    running.stop().await;
    let unmarked = image(dir.path());
    fs::remove_file(unmarked.path().join("clean")).unwrap();
    for (dir, witness) in [(unmarked.path(), "the index"), (dir.path(), "clean stop")] {
        let file = fs::OpenOptions::new().write(true).open(&segments(dir)[0]).unwrap();
        file.set_len(offset).unwrap();
        let refused = Running::open(dir, options()).await.err().unwrap();
        assert!(matches!(refused, OpenError::Short { .. }), "{refused}");
        assert!(refused.to_string().contains(witness), "{refused}");
        // The remedy works.
        fs::remove_dir_all(dir.join("index")).unwrap();
        let _ = fs::remove_file(dir.join("clean"));
        let again = Running::open(dir, options()).await.unwrap();
        assert_eq!(again.store.revision(), Revision(100));
        again.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_log_is_refused_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    running.fill("a", 100).await;
    running.stop().await;
    let path = &segments(dir.path())[0];
    let mut bytes = fs::read(path).unwrap();
    bytes[500] ^= 4;
    fs::write(path, &bytes).unwrap();
    for _ in 0..2 {
        let refused = Running::open(dir.path(), options()).await.err().unwrap();
        assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
    }
    assert_eq!(fs::read(path).unwrap(), bytes);
    bytes[500] ^= 4;
    fs::write(path, &bytes).unwrap();
    let again = Running::open(dir.path(), options()).await.unwrap();
    assert_eq!(again.store.revision(), Revision(100));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_gone_or_broken_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(dir.path(), options()).await.unwrap();
    running.fill("a", 1_500).await;
    running.indexed().await;
    let before = running.contents().await;
    running.stop().await;
    let db = |dir: &Path| dir.join("index/db");
    let harms: [&dyn Fn(&Path); 5] = [
        &|dir| fs::remove_dir_all(dir.join("index")).unwrap(),
        &|dir| fs::write(db(dir), "rubbish").unwrap(),
        &|dir| fs::OpenOptions::new().write(true).open(db(dir)).unwrap().set_len(700).unwrap(),
        &|dir| {
            let mut bytes = fs::read(db(dir)).unwrap();
            bytes.iter_mut().step_by(97).for_each(|byte| *byte ^= 0x10);
            fs::write(db(dir), bytes).unwrap();
        },
        &|dir| {
            // Its own bookkeeping is fine, but one entry is another: only the hash can tell.
            let index =
                sled::Config::new().path(dir.join("index")).segment_size(256 << 10).open().unwrap();
            index.insert(b"e/a/1", vec![0; 28]).unwrap();
            index.flush().unwrap();
            let _ = fs::remove_file(dir.join("clean"));
        },
    ];
    for (number, harm) in harms.into_iter().enumerate() {
        for fast_load_bytes in [u64::MAX, 0] {
            let harmed = image(dir.path());
            harm(harmed.path());
            let again = Running::open(harmed.path(), Options { fast_load_bytes, ..options() })
                .await
                .unwrap();
            assert_eq!(again.contents().await, before, "harm {number}");
            again.fill("b", 10).await;
            again.indexed().await;
            let after = again.contents().await;
            again.stop().await;
            let again = Running::open(harmed.path(), options()).await.unwrap();
            assert_eq!(again.contents().await, after, "harm {number}");
            again.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_writes_and_serves_reads_until_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(dir.path(), 40 << 20) else { return };
    let filler = dir.path().join("filler");
    let running = Running::open(&dir.path().join("store"), options()).await.unwrap();
    let first = running.store.create("/a", "kept".into()).await.unwrap();
    fill_up(&filler);
    let mut written = 0_u64;
    let refused = loop {
        match running.store.create(&format!("/{written}"), vec![1; 100_000].into()).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, StoreError::Full);
    assert!(running.store.status().full && written < 50);
    assert_eq!(running.store.get("/a").await.unwrap().unwrap().mod_revision, first);
    assert_eq!(running.store.revision(), Revision(written + 1));
    fs::remove_file(&filler).unwrap();
    running.store.create("/after", vec![1; 100_000].into()).await.unwrap();
    assert!(!running.store.status().full);
    let before = running.contents().await;
    running.stop().await;
    // And it opens while the disk is full.
    fill_up(&filler);
    let again = Running::open(&dir.path().join("store"), options()).await.unwrap();
    assert_eq!(again.contents().await, before);
    again.stop().await;
    drop(disk);
}
