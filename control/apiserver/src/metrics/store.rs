//! How long the store takes to write: by upstream's name, which is etcd's, whatever the store is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beeline_api::KindInfo;

use super::{Histogram, Page, SECONDS};

/// Operation, group and resource.
type Key = (&'static str, &'static str, &'static str);

/// Times of the store's calls. Given to the registry, which calls it, and to the server, which shows them.
#[derive(Debug, Default)]
pub struct StoreTimes(Mutex<HashMap<Key, Arc<Histogram>>>);

impl StoreTimes {
    /// One call that has ended: `create`, `update` or `delete`.
    pub fn observe(&self, operation: &'static str, kind: &'static KindInfo, took: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let make = || Arc::new(Histogram::new(SECONDS));
        let times = all.entry((operation, kind.group, kind.plural)).or_insert_with(make);
        let times = Arc::clone(times);
        drop(all);
        times.observe(took.as_secs_f64());
    }

    pub(crate) fn render(&self, page: &mut Page) {
        let mut all: Vec<(Key, Arc<Histogram>)> = {
            let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            all.iter().map(|(key, times)| (*key, Arc::clone(times))).collect()
        };
        all.sort_by_key(|(key, _)| *key);
        let name = "etcd_request_duration_seconds";
        page.family(name, "histogram", "Latency of writes to the store, by operation and kind.");
        for ((operation, group, resource), times) in &all {
            let labels = [("operation", *operation), ("group", *group), ("resource", *resource)];
            page.histogram(name, &labels, times);
        }
    }
}
