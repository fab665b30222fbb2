//! Stores that are saved, checked, restored, and carried from one engine to the other and back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use beeline_kit::Tasks;
use beeline_store::backup::{self, REVISION_BUMP};
use beeline_store::{Entry, Etcd, EtcdOptions, OpenError, Options, Revision, Store, StoreError};

#[path = "support/etcd.rs"]
mod etcd;
#[path = "support/running.rs"]
mod running;
use etcd::Member;
use running::Running;

fn options() -> Options {
    Options { reserve_bytes: 0, ..Options::default() }
}

/// What must survive a change of engine: etcd gives its own revisions.
fn values(entries: &[Entry]) -> Vec<(String, Vec<u8>)> {
    entries.iter().map(|entry| (entry.key.to_string(), entry.value.to_vec())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_is_saved_while_it_serves_and_restored_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(&dir.path().join("store"), options()).await.unwrap();
    running.fill("a", 300).await;
    let before = running.contents().await;
    let file = dir.path().join("saved");
    let saved = backup::save(&*running.store, &file, &mut |_| ()).await.unwrap();
    assert_eq!((saved.revision, saved.keys), (before.1, before.0.len() as u64));
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "Secrets are in it");
    running.fill("later", 10).await;
    running.stop().await;
    assert_eq!(backup::verify(&file).unwrap(), saved);

    let restored = dir.path().join("restored");
    let made = backup::restore(&file, &restored, REVISION_BUMP).unwrap();
    assert_eq!((made.revision.0, made.hash), (before.1.0 + REVISION_BUMP, saved.hash));
    for _ in 0..2 {
        let again = Running::open(&restored, options()).await.unwrap();
        assert_eq!(again.contents().await, (before.0.clone(), made.revision));
        let refused = again.store.watch("", before.1).await.unwrap_err();
        assert_eq!(refused, StoreError::Compacted { at: made.revision });
        again.stop().await;
    }
    let again = Running::open(&restored, options()).await.unwrap();
    again.fill("b", 100).await;
    let after = again.contents().await;
    assert_eq!(after.1.0, made.revision.0 + 100);
    again.stop().await;
    let found = backup::verify_directory(&restored).unwrap();
    assert_eq!((found.revision, found.keys), (after.1, after.0.len() as u64));
    // Nothing is restored over a store.
    let refused = backup::restore(&file, &restored, 0).unwrap_err();
    assert!(matches!(refused, OpenError::File { what: "restore to", .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_neither_verified_nor_restored() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let running = Running::open(&store, options()).await.unwrap();
    running.fill("a", 300).await;
    running.stop().await;
    let file = dir.path().join("saved");
    let saved = backup::save_directory(&store, &file, &mut |_| ()).unwrap();
    assert_eq!(saved.hash, backup::verify_directory(&store).unwrap().hash);
    let good = fs::read(&file).unwrap();
    for at in [3, 70, 200, good.len() - 3] {
        let mut bad = good.clone();
        bad[at] ^= 2;
        fs::write(&file, bad).unwrap();
        let refused = backup::verify(&file).unwrap_err();
        assert!(matches!(refused, OpenError::Snapshot { .. }), "{refused}");
        backup::restore(&file, &dir.path().join("restored"), 0).unwrap_err();
        assert!(!dir.path().join("restored").exists());
    }
    let segment = &running::segments(&store)[0];
    let mut bytes = fs::read(segment).unwrap();
    bytes[100] ^= 1;
    fs::write(segment, &bytes).unwrap();
    let refused = backup::verify_directory(&store).unwrap_err();
    assert!(matches!(refused, OpenError::Corrupt { .. }), "{refused}");
    assert_eq!(fs::read(segment).unwrap(), bytes);
    backup::verify_directory(&dir.path().join("nothing")).unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn contents_go_to_etcd_and_back_and_revisions_only_rise() {
    let dir = tempfile::tempdir().unwrap();
    let running = Running::open(&dir.path().join("store"), options()).await.unwrap();
    running.fill("a", 700).await;
    for n in 0..300 {
        running.store.create(&format!("/many/{n}"), vec![7; 9_000].into()).await.unwrap();
    }
    let before = running.contents().await;
    let file = dir.path().join("saved");
    backup::save(&*running.store, &file, &mut |_| ()).await.unwrap();
    running.stop().await;

    let (member, tasks) = (Member::start().await, Tasks::new());
    let etcd = EtcdOptions::new(vec![member.url()]);
    let mut done = 0;
    let made = backup::restore_etcd(&file, &etcd, 5_000, &mut |keys| done = keys).await.unwrap();
    assert_eq!(done, before.0.len() as u64);
    assert!(made.revision.0 > before.1.0 + 5_000);
    let over = backup::restore_etcd(&file, &etcd, 0, &mut |_| ()).await.unwrap_err();
    assert!(over.to_string().contains("holds keys already"), "{over}");
    let store = Etcd::connect(etcd, &tasks).await.unwrap();
    let (entries, revision) = store.range("").await.unwrap();
    assert_eq!((values(&entries), revision), (values(&before.0), made.revision));
    assert!(entries.iter().all(|entry| entry.mod_revision > before.1));
    // It is used: conditions and watches are in the same revisions.
    let first = &entries[0];
    let written = store.update(&first.key, "new".into(), first.mod_revision).await.unwrap();
    assert_eq!(written, revision.next());
    let stale = store.update(&first.key, "old".into(), Revision(3)).await.unwrap_err();
    let current = Some(written);
    let key = first.key.to_string();
    assert_eq!(stale, StoreError::Conflict { key, expected: Revision(3), current });
    let mut watch = store.watch("", revision).await.unwrap();
    assert_eq!(watch.next().await.unwrap()[0].revision(), written);
    store.watch("", before.1).await.unwrap_err();

    let back = dir.path().join("back");
    let after = store.range("").await.unwrap();
    let saved = backup::save(&*store, &back, &mut |_| ()).await.unwrap();
    tasks.stop(std::time::Duration::from_secs(5)).await;
    let restored = dir.path().join("restored");
    backup::restore(&back, &restored, 10).unwrap();
    let again = Running::open(&restored, options()).await.unwrap();
    assert_eq!(again.contents().await, (after.0, Revision(saved.revision.0 + 10)));
    again.stop().await;
}
