//! Forgetting history, which etcd keeps until told otherwise.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Etcd;
use crate::{Revision, Store as _};

/// How often the revision is noted.
const EVERY: Duration = Duration::from_secs(30);
/// How often history is forgotten: a server that does so makes it unnecessary for the others.
const NOTES_PER_COMPACTION: usize = 10;

/// Keeps history short: neither younger than the options' age nor fewer than their count is forgotten.
pub(super) async fn keep_short(store: Arc<Etcd>) {
    let token = store.tasks.token();
    let mut notes: VecDeque<(Instant, Revision)> = VecDeque::new();
    loop {
        if tokio::time::timeout(EVERY, token.cancelled()).await.is_ok() {
            return;
        }
        notes.push_back((Instant::now(), store.revision()));
        if !notes.len().is_multiple_of(NOTES_PER_COMPACTION) {
            continue;
        }
        let Some(old) = newest_of_age(&mut notes, store.options.history_age) else { continue };
        let kept = store.revision().0.saturating_sub(store.options.history_changes);
        if let Err(error) = store.compact(old.min(Revision(kept))).await {
            tracing::warn!(%error, "history could not be forgotten, it will be tried again");
        }
    }
}

/// The newest revision that was noted so long ago; older notes are of no use any more.
fn newest_of_age(notes: &mut VecDeque<(Instant, Revision)>, age: Duration) -> Option<Revision> {
    let mut newest = None;
    while let Some((_, revision)) = notes.pop_front_if(|(at, _)| at.elapsed() >= age) {
        newest = Some(revision);
    }
    newest
}
