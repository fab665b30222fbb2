//! Requests, counted by upstream's labels without making any text: all labels are names of kinds and routes, which live
//! as long as the process, so a request costs two look-ups and some atomic additions.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use foldhash::fast::RandomState;

use super::{Histogram, Page, SECONDS};

/// Upper bounds of what is promised about latencies: what a request waited for others is not in it.
const SLI_SECONDS: &[f64] = &[
    0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0,
    30.0, 45.0, 60.0,
];
/// Upper bounds of answers in bytes. Upstream's.
const BYTES: &[f64] = &[1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];

/// What a request is about, in words that live for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Labels {
    pub(crate) verb: &'static str,
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) resource: &'static str,
    /// A part of an object; of a path that is no object, the path.
    pub(crate) subresource: &'static str,
    /// `resource`, `namespace`, `cluster`, or nothing.
    pub(crate) scope: &'static str,
    pub(crate) dry_run: bool,
}

/// How a request went.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) code: u16,
    pub(crate) took: Duration,
    /// Part of it, in a queue.
    pub(crate) waited: Duration,
    /// Of the answer, where that is known.
    pub(crate) bytes: Option<u64>,
    pub(crate) streaming: bool,
}

impl Outcome {
    /// Of one that did not wait and whose size nobody asks for.
    pub(crate) fn of(code: u16, took: Duration) -> Self {
        Self { code, took, waited: Duration::ZERO, bytes: None, streaming: false }
    }
}

/// Tables that only grow: labels come from closed sets.
#[derive(Debug)]
struct Table<K, V>(RwLock<HashMap<K, Arc<V>, RandomState>>);

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

/// All counters of requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    totals: Table<(Labels, u16), AtomicU64>,
    took: Table<Labels, Histogram>,
    served: Table<Labels, Served>,
    open: Table<Labels, AtomicI64>,
    inflight: [AtomicI64; 2],
}

/// What is not told apart by dry runs.
#[derive(Debug)]
struct Served {
    sli: Histogram,
    bytes: Histogram,
}

impl<K: Copy + Eq + std::hash::Hash, V> Table<K, V> {
    fn entry(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = held.get(&key) {
            return Arc::clone(known);
        }
        drop(held);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(all.entry(key).or_insert_with(|| Arc::new(make())))
    }

    fn all(&self) -> Vec<(K, Arc<V>)> {
        let held = self.0.read().unwrap_or_else(PoisonError::into_inner);
        held.iter().map(|(key, value)| (*key, Arc::clone(value))).collect()
    }
}

impl Labels {
    fn text(&self) -> Vec<(&'static str, &'static str)> {
        vec![
            ("verb", self.verb),
            ("dry_run", if self.dry_run { "All" } else { "" }),
            ("group", self.group),
            ("version", self.version),
            ("resource", self.resource),
            ("subresource", self.subresource),
            ("scope", self.scope),
            ("component", "apiserver"),
        ]
    }

    fn without_dry_run(&self) -> Vec<(&'static str, &'static str)> {
        self.text().into_iter().filter(|(name, _)| *name != "dry_run").collect()
    }
}

/// A request under way.
pub(crate) struct Inflight<'a>(&'a AtomicI64);

impl Drop for Inflight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream that is open.
#[derive(Debug)]
pub(crate) struct Open(Arc<AtomicI64>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Requests {
    /// One answered request; latencies of streams are not kept.
    pub(crate) fn answered(&self, labels: Labels, how: Outcome) {
        let Outcome { code, took, waited, bytes, streaming } = how;
        self.totals.entry((labels, code), AtomicU64::default).fetch_add(1, Ordering::Relaxed);
        if streaming {
            return;
        }
        self.took.entry(labels, || Histogram::new(SECONDS)).observe(took.as_secs_f64());
        let served = self.served.entry(Labels { dry_run: false, ..labels }, || Served {
            sli: Histogram::new(SLI_SECONDS),
            bytes: Histogram::new(BYTES),
        });
        served.sli.observe(took.saturating_sub(waited).as_secs_f64());
        if let Some(bytes) = bytes.filter(|_| matches!(labels.verb, "GET" | "LIST")) {
            #[expect(clippy::cast_precision_loss, reason = "answers are far below 2^53 bytes")]
            served.bytes.observe(bytes as f64);
        }
    }

    pub(crate) fn begin(&self, mutating: bool) -> Inflight<'_> {
        let count = &self.inflight[usize::from(mutating)];
        count.fetch_add(1, Ordering::Relaxed);
        Inflight(count)
    }

    pub(crate) fn open(&self, labels: Labels) -> Open {
        let count = self.open.entry(labels, AtomicI64::default);
        count.fetch_add(1, Ordering::Relaxed);
        Open(count)
    }

    pub(crate) fn render(&self, page: &mut Page) {
        let name = "apiserver_request_total";
        page.family(
            name,
            "counter",
            "Requests by what they were about and how they were answered.",
        );
        for ((labels, code), count) in sorted(self.totals.all()) {
            let (mut text, code) = (labels.text(), code.to_string());
            text.push(("code", &code));
            page.sample(name, &text, count.load(Ordering::Relaxed));
        }
        self.times(page);
        let name = "apiserver_current_inflight_requests";
        page.family(name, "gauge", "Requests that are answered now.");
        for (kind, count) in ["readOnly", "mutating"].iter().zip(&self.inflight) {
            page.sample(name, &[("request_kind", kind)], count.load(Ordering::Relaxed));
        }
        let name = "apiserver_longrunning_requests";
        page.family(name, "gauge", "Streams that are open now.");
        for (labels, count) in sorted(self.open.all()) {
            page.sample(name, &labels.without_dry_run(), count.load(Ordering::Relaxed));
        }
    }

    fn times(&self, page: &mut Page) {
        let name = "apiserver_request_duration_seconds";
        page.family(name, "histogram", "Latency of requests that are no streams.");
        for (labels, took) in &sorted(self.took.all()) {
            page.histogram(name, &labels.text(), took);
        }
        let served = sorted(self.served.all());
        let name = "apiserver_request_sli_duration_seconds";
        page.family(name, "histogram", "The same without the time in a queue.");
        for (labels, served) in &served {
            page.histogram(name, &labels.without_dry_run(), &served.sli);
        }
        let name = "apiserver_response_sizes";
        page.family(name, "histogram", "Size of answers to reads in bytes.");
        for (labels, served) in &served {
            if matches!(labels.verb, "GET" | "LIST") {
                page.histogram(name, &labels.without_dry_run(), &served.bytes);
            }
        }
    }
}

/// In an order that does not change from page to page.
fn sorted<K: std::fmt::Debug, V>(mut all: Vec<(K, V)>) -> Vec<(K, V)> {
    all.sort_by_cached_key(|(key, _)| format!("{key:?}"));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const PODS: Labels = Labels {
        verb: "LIST",
        group: "",
        version: "v1",
        resource: "pods",
        subresource: "",
        scope: "namespace",
        dry_run: false,
    };

    fn outcome(code: u16, streaming: bool) -> Outcome {
        Outcome {
            code,
            took: Duration::from_millis(30),
            waited: Duration::from_millis(10),
            bytes: Some(2_000),
            streaming,
        }
    }

    #[test]
    fn a_page_has_upstreams_names_and_labels() {
        let requests = Requests::default();
        requests.answered(PODS, outcome(200, false));
        requests.answered(PODS, outcome(200, false));
        requests.answered(Labels { verb: "WATCH", ..PODS }, outcome(200, true));
        let dry = Labels { verb: "POST", dry_run: true, scope: "resource", ..PODS };
        requests.answered(dry, outcome(201, false));
        let open = requests.open(Labels { verb: "WATCH", ..PODS });
        let busy = requests.begin(true);
        let page = |requests: &Requests| {
            let mut page = Page::default();
            requests.render(&mut page);
            page.finish()
        };
        let text = page(&requests);
        let of = "group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",scope=\"namespace\",component=\"apiserver\"";
        for line in [
            format!("apiserver_request_total{{verb=\"LIST\",dry_run=\"\",{of},code=\"200\"}} 2\n"),
            format!(
                "apiserver_request_duration_seconds_bucket{{verb=\"LIST\",dry_run=\"\",{of},le=\"0.025\"}} 0\n"
            ),
            format!(
                "apiserver_request_duration_seconds_bucket{{verb=\"LIST\",dry_run=\"\",{of},le=\"0.05\"}} 2\n"
            ),
            format!("apiserver_request_sli_duration_seconds_sum{{verb=\"LIST\",{of}}} 0.04\n"),
            format!("apiserver_response_sizes_bucket{{verb=\"LIST\",{of},le=\"10000\"}} 2\n"),
            format!("apiserver_longrunning_requests{{verb=\"WATCH\",{of}}} 1\n"),
            "apiserver_current_inflight_requests{request_kind=\"mutating\"} 1\n".to_owned(),
        ] {
            assert!(text.contains(&line), "{line} is not in\n{text}");
        }
        assert!(text.contains("apiserver_request_total{verb=\"POST\",dry_run=\"All\""));
        assert!(!text.contains("duration_seconds_count{verb=\"WATCH\""));
        drop((open, busy));
        let text = page(&requests);
        assert!(text.contains("request_kind=\"mutating\"} 0\n"));
        assert!(
            text.contains(&format!("apiserver_longrunning_requests{{verb=\"WATCH\",{of}}} 0\n"))
        );
    }
}
