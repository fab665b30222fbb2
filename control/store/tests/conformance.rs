//! What every backend must do, run against each of them. etcd is a real one, started on loopback.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]

use std::sync::Arc;

use beeline_kit::Tasks;
use beeline_store::{Change, KEY_BYTES_MAX, Revision, StoreError, VALUE_BYTES_MAX, WatchEnd};
use bytes::Bytes;

#[path = "support/backend.rs"]
mod backend;
#[path = "support/etcd.rs"]
mod etcd;
use backend::Backend;

/// One test per line of the suite, each with fresh backends.
macro_rules! suite {
    ($($name:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            for mut backend in Backend::all().await {
                println!("{}", backend.name());
                cases::$name(&mut backend).await;
                backend.stop().await;
            }
        }
    )*};
}

suite! {
    writes_have_three_shapes
    refusals_take_no_revision
    sizes_are_bounded
    ranges_are_by_prefix_and_in_order
    watches_begin_after_a_revision
    watches_see_only_their_prefix
    compacted_watches_are_told_so
    history_is_bounded
    slow_watchers_are_cut_off
    writers_at_once_leave_no_gap
    restarts_keep_everything
}

mod cases {
    use super::*;

    fn after(start: Revision, count: u64) -> Revision {
        Revision(start.0 + count)
    }

    /// The next `count` changes, in as many batches as they come.
    async fn many(watch: &mut beeline_store::Watch, count: usize) -> Vec<Change> {
        let mut changes = Vec::new();
        while changes.len() < count {
            changes.extend(watch.next().await.unwrap());
        }
        changes
    }

    fn bytes(text: &str) -> Bytes {
        Bytes::copy_from_slice(text.as_bytes())
    }

    pub async fn writes_have_three_shapes(backend: &mut Backend) {
        let (store, start) = (backend.store(), backend.store().revision());
        let created = store.create("/a", bytes("1")).await.unwrap();
        assert_eq!(created, start.next());
        let updated = store.update("/a", bytes("2"), created).await.unwrap();
        let entry = store.get("/a").await.unwrap().unwrap();
        assert_eq!((entry.create_revision, entry.mod_revision), (created, updated));
        assert_eq!((entry.key.as_str(), entry.value), ("/a", bytes("2")));
        let deleted = store.delete("/a", updated).await.unwrap();
        assert_eq!((deleted, store.revision()), (after(start, 3), after(start, 3)));
        assert_eq!(store.get("/a").await.unwrap(), None);
        let again = store.create("/a", bytes("3")).await.unwrap();
        assert_eq!(store.get("/a").await.unwrap().unwrap().create_revision, again);
    }

    pub async fn refusals_take_no_revision(backend: &mut Backend) {
        let store = backend.store();
        let first = store.create("/a", bytes("1")).await.unwrap();
        let exists = store.create("/a", bytes("2")).await.unwrap_err();
        assert_eq!(exists, StoreError::Exists { key: "/a".into() });
        let second = store.update("/a", bytes("2"), first).await.unwrap();
        let conflict =
            StoreError::Conflict { key: "/a".into(), expected: first, current: Some(second) };
        assert_eq!(store.update("/a", bytes("3"), first).await.unwrap_err(), conflict);
        assert_eq!(store.delete("/a", first).await.unwrap_err(), conflict);
        let missing = StoreError::NotFound { key: "/b".into() };
        assert_eq!(store.update("/b", bytes("3"), first).await.unwrap_err(), missing);
        assert_eq!(store.delete("/b", first).await.unwrap_err(), missing);
        assert_eq!(store.revision(), second);
        assert_eq!(store.create("/b", bytes("1")).await.unwrap(), second.next());
    }

    pub async fn sizes_are_bounded(backend: &mut Backend) {
        let store = backend.store();
        let largest = Bytes::from(vec![7; VALUE_BYTES_MAX]);
        store.create("/large", largest.clone()).await.unwrap();
        assert_eq!(store.get("/large").await.unwrap().unwrap().value, largest);
        let larger = Bytes::from(vec![7; VALUE_BYTES_MAX + 1]);
        assert!(matches!(
            store.create("/larger", larger).await,
            Err(StoreError::TooLarge { what: "the value", .. })
        ));
        let key = "k".repeat(KEY_BYTES_MAX + 1);
        assert!(matches!(
            store.create(&key, bytes("")).await,
            Err(StoreError::TooLarge { what: "the key", .. })
        ));
        store.create("/empty", Bytes::new()).await.unwrap();
        assert!(store.get("/empty").await.unwrap().unwrap().value.is_empty());
    }

    pub async fn ranges_are_by_prefix_and_in_order(backend: &mut Backend) {
        let (store, start) = (backend.store(), backend.store().revision());
        for key in ["/pods/b", "/pods/a", "/podsets/x", "/nodes/n", "/pods/ä"] {
            store.create(key, bytes("")).await.unwrap();
        }
        let (entries, revision) = store.range("/pods/").await.unwrap();
        let keys: Vec<_> = entries.iter().map(|entry| entry.key.as_str()).collect();
        assert_eq!((keys, revision), (vec!["/pods/a", "/pods/b", "/pods/ä"], after(start, 5)));
        assert_eq!(store.range("").await.unwrap().0.len(), 5);
        assert!(store.range("/z").await.unwrap().0.is_empty());
    }

    pub async fn watches_begin_after_a_revision(backend: &mut Backend) {
        let store = backend.store();
        let first = store.create("/a", bytes("1")).await.unwrap();
        let second = store.update("/a", bytes("2"), first).await.unwrap();
        let mut past = store.watch("/", first).await.unwrap();
        let mut present = store.watch("/", second).await.unwrap();
        let mut future = store.watch("/", second.next()).await.unwrap();
        let third = store.delete("/a", second).await.unwrap();
        store.create("/b", bytes("3")).await.unwrap();
        let mut seen = Vec::new();
        while seen.len() < 3 {
            seen.extend(past.next().await.unwrap());
        }
        let revisions: Vec<_> = seen.iter().map(Change::revision).collect();
        assert_eq!(revisions, [second, third, third.next()]);
        let Change::Put(entry) = &seen[0] else { panic!("{:?}", seen[0]) };
        assert_eq!((&entry.value, entry.create_revision), (&bytes("2"), first));
        let Change::Delete { previous, .. } = &seen[1] else { panic!("{:?}", seen[1]) };
        assert_eq!((&previous.value, previous.mod_revision), (&bytes("2"), second));
        assert_eq!(present.next().await.unwrap()[0].revision(), third);
        assert_eq!(future.next().await.unwrap()[0].revision(), third.next());
    }

    pub async fn watches_see_only_their_prefix(backend: &mut Backend) {
        let (store, start) = (backend.store(), backend.store().revision());
        store.create("/pods/a", bytes("1")).await.unwrap();
        store.create("/nodes/a", bytes("1")).await.unwrap();
        let mut watch = store.watch("/pods/", start).await.unwrap();
        assert_eq!(watch.next().await.unwrap().len(), 1);
        store.create("/nodes/b", bytes("1")).await.unwrap();
        store.create("/pods/b", bytes("1")).await.unwrap();
        let batch = watch.next().await.unwrap();
        assert_eq!((batch.len(), batch[0].key().as_str()), (1, "/pods/b"));
        assert!(watch.try_next().is_none());
    }

    pub async fn compacted_watches_are_told_so(backend: &mut Backend) {
        let (store, start) = (backend.store(), backend.store().revision());
        for n in 0..10 {
            store.create(&format!("/{n}"), bytes("")).await.unwrap();
        }
        store.compact(after(start, 5)).await.unwrap();
        let refused = store.watch("/", after(start, 4)).await.unwrap_err();
        assert_eq!(refused, StoreError::Compacted { at: after(start, 5) });
        store.watch("/", Revision(0)).await.unwrap_err();
        let mut watch = store.watch("/", after(start, 5)).await.unwrap();
        assert_eq!(many(&mut watch, 5).await.len(), 5);
        assert_eq!(store.range("/").await.unwrap().0.len(), 10);
        store.compact(after(start, 3)).await.unwrap();
        store.compact(after(start, 1_000)).await.unwrap();
        store.watch("/", after(start, 9)).await.unwrap_err();
        store.watch("/", after(start, 10)).await.unwrap();
    }

    pub async fn history_is_bounded(backend: &mut Backend) {
        let (store, start) = (backend.store(), backend.store().revision());
        let mut at = store.create("/a", bytes("")).await.unwrap();
        for _ in 0..99 {
            at = store.update("/a", bytes("x"), at).await.unwrap();
        }
        backend.bound_history(64).await;
        let refused = store.watch("/", start).await.unwrap_err();
        assert_eq!(refused, StoreError::Compacted { at: after(start, 36) });
        let mut watch = store.watch("/", after(start, 36)).await.unwrap();
        assert_eq!(many(&mut watch, 64).await.len(), 64);
    }

    pub async fn slow_watchers_are_cut_off(backend: &mut Backend) {
        let (store, start) = (backend.store(), backend.store().revision());
        let mut slow = store.watch("/", start).await.unwrap();
        let mut quick = store.watch("/", start).await.unwrap();
        for n in 0..20 {
            store.create(&format!("/{n}"), bytes("")).await.unwrap();
            assert_eq!(quick.next().await.unwrap().len(), 1);
        }
        let mut seen = Vec::new();
        let end = loop {
            match slow.next().await {
                Ok(batch) => seen.extend(batch.iter().map(|change| change.revision().0)),
                Err(end) => break end,
            }
        };
        assert_eq!(end, WatchEnd::Lagged);
        // What it was given has no gap, and it goes on from there.
        let count = seen.len() as u64;
        assert!((4..20).contains(&count), "{seen:?}");
        assert_eq!(seen, (start.0 + 1..=start.0 + count).collect::<Vec<_>>());
        let mut resumed = store.watch("/", after(start, count)).await.unwrap();
        let rest = many(&mut resumed, 20 - seen.len()).await;
        assert_eq!(rest[0].revision(), after(start, count + 1));
    }

    pub async fn writers_at_once_leave_no_gap(backend: &mut Backend) {
        let (store, start) = (backend.store(), backend.store().revision());
        let tasks = Tasks::new();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(400);
        for writer in 0..8 {
            let (store, sender) = (Arc::clone(&store), sender.clone());
            tasks.spawn("writer", async move {
                for n in 0..50 {
                    let revision =
                        store.create(&format!("/{writer}/{n}"), bytes("")).await.unwrap();
                    sender.send(revision).await.unwrap();
                    // What is acknowledged can be read.
                    assert!(store.get(&format!("/{writer}/{n}")).await.unwrap().is_some());
                    assert!(store.revision() >= revision);
                }
            });
        }
        drop(sender);
        let mut revisions = Vec::new();
        while let Some(revision) = receiver.recv().await {
            revisions.push(revision.0);
        }
        revisions.sort_unstable();
        assert_eq!(revisions, (start.0 + 1..=start.0 + 400).collect::<Vec<_>>());
        // Of eight who change one key at once, one succeeds.
        let at = store.create("/one", bytes("")).await.unwrap();
        let mut changes = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let store = Arc::clone(&store);
            changes.spawn(async move { store.update("/one", bytes("x"), at).await });
        }
        let won = changes.join_all().await.into_iter().filter(Result::is_ok).count();
        assert_eq!(won, 1);
    }

    pub async fn restarts_keep_everything(backend: &mut Backend) {
        let (store, start) = (backend.store(), backend.store().revision());
        for n in 0..20 {
            store.create(&format!("/{n:02}"), bytes("x")).await.unwrap();
        }
        store.delete("/03", after(start, 4)).await.unwrap();
        store.compact(after(start, 5)).await.unwrap();
        let before = store.range("").await.unwrap();
        drop(store);
        if !backend.restart().await {
            return;
        }
        let store = backend.store();
        assert_eq!(store.range("").await.unwrap(), before);
        assert_eq!(store.revision(), after(start, 21));
        let refused = store.watch("", after(start, 4)).await.unwrap_err();
        assert_eq!(refused, StoreError::Compacted { at: after(start, 5) });
        let mut watch = store.watch("", after(start, 5)).await.unwrap();
        let next = store.create("/after", bytes("")).await.unwrap();
        assert_eq!(next, after(start, 22));
        let changes = many(&mut watch, 17).await;
        assert_eq!(changes[0].revision(), after(start, 6));
        assert_eq!(changes[16].revision(), next);
    }
}
