//! What the server counts, by upstream's names, in Prometheus text.
//!
//! In: requests, streams and calls of the store as they end. Out: a page. What others count is written by them.

mod histogram;
mod process;
mod requests;
mod store;
mod text;
mod watches;

use beeline_registry::Registry;

pub(crate) use histogram::Histogram;
pub(crate) use requests::{Labels, Open, Outcome, Requests};
pub use store::StoreTimes;
pub(crate) use text::Page;
pub(crate) use watches::{WatchCounts, Watches};

/// Upper bounds of latencies in seconds. Upstream's.
const SECONDS: &[f64] = &[
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0,
    10.0, 15.0, 20.0, 30.0, 45.0, 60.0,
];

/// All counters of the server itself.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) requests: Requests,
    pub(crate) watches: Watches,
}

impl Metrics {
    pub(crate) fn render(&self, page: &mut Page) {
        self.requests.render(page);
        self.watches.render(page);
        process::render(page);
    }
}

/// How many objects of each kind there are.
pub(crate) fn objects(registry: &Registry, page: &mut Page) {
    let kinds = registry.kinds();
    let all: Vec<_> = kinds
        .iter()
        .filter(|kind| std::ptr::eq(kind.stored(), *kind))
        .map(|kind| (kind.group, kind.plural, kind.qualified(), registry.view(kind).len()))
        .collect();
    let name = "apiserver_storage_objects";
    page.family(name, "gauge", "Objects that are stored, by kind.");
    for (_, _, qualified, count) in &all {
        page.sample(name, &[("resource", qualified)], count);
    }
    let name = "apiserver_resource_objects";
    page.family(name, "gauge", "Objects that are stored, by group and kind.");
    for (group, plural, _, count) in &all {
        page.sample(name, &[("group", group), ("resource", plural)], count);
    }
}
