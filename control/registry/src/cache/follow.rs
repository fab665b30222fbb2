//! The one task that keeps the cache up to date, and what it does when the store's history is lost.

use std::time::Duration;

use beeline_kit::{Backoff, Tasks};
use beeline_store::{Change, Entry, Key, Revision, StoreError, WatchEnd};
use bytes::Bytes;

use super::ROOT;
use crate::registry::Registry;

/// Starts the one task that keeps the cache up to date.
pub(crate) fn follow(registry: &Registry, from: Revision, tasks: &Tasks) {
    let registry = registry.clone();
    let token = tasks.token();
    tasks.spawn("registry-cache", async move {
        token.run_until_cancelled(follow_forever(&registry, from)).await;
    });
}

async fn follow_forever(registry: &Registry, mut from: Revision) {
    let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_secs(5));
    loop {
        match registry.inner.store.watch("", from).await {
            Ok(mut watch) => loop {
                match watch.next().await {
                    Ok(changes) => {
                        backoff.reset();
                        registry.inner.cache.apply(registry, changes);
                        from = registry.inner.cache.applied();
                    }
                    Err(WatchEnd::Lagged) => break,
                    Err(WatchEnd::Closed) => return,
                }
            },
            Err(StoreError::Compacted { .. }) => {
                if let Err(e) = reload(registry).await {
                    tracing::error!("reload the cache after compaction: {e}");
                }
                from = registry.inner.cache.applied();
            }
            Err(StoreError::Closed | StoreError::Failed { .. }) => return,
            Err(e) => tracing::warn!("watch the store: {e}"),
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

/// History is lost: compare with the store, apply the difference, and let all watchers start anew.
async fn reload(registry: &Registry) -> Result<(), StoreError> {
    let cache = &registry.inner.cache;
    let (entries, revision) = registry.inner.store.range(ROOT).await?;
    let mut changes: Vec<Change> = Vec::new();
    let known: std::collections::HashSet<Key> = entries.iter().map(|e| e.key.clone()).collect();
    for bucket in cache.buckets.load().iter() {
        let gone: Vec<Key> =
            bucket.read().objects.keys().filter(|k| !known.contains(*k)).cloned().collect();
        for key in gone {
            let previous = Entry {
                key: key.clone(),
                value: Bytes::new(),
                create_revision: revision,
                mod_revision: revision,
            };
            changes.push(Change::Delete { key, revision, previous });
        }
    }
    let stale = |e: &Entry| {
        let held =
            cache.bucket_of(&e.key).and_then(|b| b.read().objects.get(&e.key).map(|o| o.revision));
        held.is_none_or(|r| r < e.mod_revision)
    };
    changes.extend(entries.into_iter().filter(stale).map(Change::Put));
    changes.sort_by_key(Change::revision);
    cache.apply(registry, changes);
    for bucket in cache.buckets.load().iter() {
        bucket.write().forget(revision);
    }
    cache.applied.send_replace(revision.0);
    Ok(())
}
