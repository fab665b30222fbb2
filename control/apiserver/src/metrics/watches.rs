//! Events that watches were sent.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use beeline_api::KindInfo;

use super::{Histogram, Page};

/// Upper bounds of events in bytes. Upstream's.
const BYTES: &[f64] = &[1024.0, 2048.0, 4096.0, 8192.0, 16_384.0, 32_768.0, 65_536.0, 131_072.0];

/// Group, version and kind.
type Key = (&'static str, &'static str, &'static str);

/// Of all kinds.
#[derive(Debug, Default)]
pub(crate) struct Watches(Mutex<HashMap<Key, Arc<WatchCounts>>>);

/// Of one kind; a watch takes it once and counts without a look-up.
#[derive(Debug)]
pub(crate) struct WatchCounts {
    events: AtomicU64,
    bytes: Histogram,
}

impl WatchCounts {
    pub(crate) fn sent(&self, bytes: usize) {
        self.events.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "events are far below 2^53 bytes")]
        self.bytes.observe(bytes as f64);
    }
}

impl Watches {
    pub(crate) fn of(&self, kind: &'static KindInfo) -> Arc<WatchCounts> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let make =
            || Arc::new(WatchCounts { events: AtomicU64::new(0), bytes: Histogram::new(BYTES) });
        Arc::clone(all.entry((kind.group, kind.version, kind.kind)).or_insert_with(make))
    }

    pub(super) fn render(&self, page: &mut Page) {
        let mut all: Vec<(Key, Arc<WatchCounts>)> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().map(|(key, counts)| (*key, Arc::clone(counts))).collect()
        };
        all.sort_by_key(|(key, _)| *key);
        let labels = |key: Key| [("group", key.0), ("version", key.1), ("kind", key.2)];
        let name = "apiserver_watch_events_total";
        page.family(name, "counter", "Events that were sent to watches.");
        for (key, counts) in &all {
            page.sample(name, &labels(*key), counts.events.load(Ordering::Relaxed));
        }
        let name = "apiserver_watch_events_sizes";
        page.family(name, "histogram", "Size of these events in bytes.");
        for (key, counts) in &all {
            page.histogram(name, &labels(*key), &counts.bytes);
        }
    }
}
