//! Counts and latencies of requests, in Prometheus text with upstream's names.

mod histogram;
mod text;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub(crate) use histogram::Histogram;
pub(crate) use text::Page;

/// Upper bounds of the latency buckets in seconds.
const BUCKETS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0];

/// All counters of the server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// (verb, status code) to count.
    requests: BTreeMap<(&'static str, u16), u64>,
    latencies: BTreeMap<&'static str, Latency>,
    watches: BTreeMap<&'static str, i64>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Latency {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum_seconds: f64,
}

impl Metrics {
    /// One answered request. `verb` is one of a closed set; latencies of streams are not kept.
    pub(crate) fn answered(&self, verb: &'static str, code: u16, took: Duration, streaming: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.requests.entry((verb, code)).or_default() += 1;
        if !streaming {
            state.latencies.entry(verb).or_default().observe(took.as_secs_f64());
        }
    }

    /// A watch began (+1) or ended (-1).
    pub(crate) fn watching(&self, plural: &'static str, change: i64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.watches.entry(plural).or_default() += change;
    }

    /// The text of `/metrics`.
    pub(crate) fn render(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        out.push_str("# HELP apiserver_request_total Requests by verb and response code.\n");
        out.push_str("# TYPE apiserver_request_total counter\n");
        for ((verb, code), count) in &state.requests {
            let _ =
                writeln!(out, "apiserver_request_total{{verb=\"{verb}\",code=\"{code}\"}} {count}");
        }
        out.push_str("# HELP apiserver_request_duration_seconds Latency of requests that are no streams, by verb.\n");
        out.push_str("# TYPE apiserver_request_duration_seconds histogram\n");
        for (verb, histogram) in &state.latencies {
            histogram.render(verb, &mut out);
        }
        out.push_str("# HELP apiserver_longrunning_requests Watches open now, by resource.\n");
        out.push_str("# TYPE apiserver_longrunning_requests gauge\n");
        for (resource, open) in &state.watches {
            let _ = writeln!(
                out,
                "apiserver_longrunning_requests{{verb=\"WATCH\",resource=\"{resource}\"}} {open}"
            );
        }
        out
    }
}

impl Latency {
    fn observe(&mut self, seconds: f64) {
        for (bucket, bound) in self.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= bound);
        }
        self.count += 1;
        self.sum_seconds += seconds;
    }

    fn render(&self, verb: &str, out: &mut String) {
        const NAME: &str = "apiserver_request_duration_seconds";
        for (count, bound) in self.buckets.iter().zip(BUCKETS) {
            let _ = writeln!(out, "{NAME}_bucket{{verb=\"{verb}\",le=\"{bound}\"}} {count}");
        }
        let _ = writeln!(out, "{NAME}_bucket{{verb=\"{verb}\",le=\"+Inf\"}} {}", self.count);
        let _ = writeln!(out, "{NAME}_sum{{verb=\"{verb}\"}} {}", self.sum_seconds);
        let _ = writeln!(out, "{NAME}_count{{verb=\"{verb}\"}} {}", self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renders_prometheus_text() {
        let metrics = Metrics::default();
        metrics.answered("GET", 200, Duration::from_millis(3), false);
        metrics.answered("WATCH", 200, Duration::from_secs(30), true);
        metrics.watching("pods", 1);
        let text = metrics.render();
        assert!(text.contains("apiserver_request_total{verb=\"GET\",code=\"200\"} 1\n"));
        assert!(
            text.contains(
                "apiserver_request_duration_seconds_bucket{verb=\"GET\",le=\"0.005\"} 1\n"
            )
        );
        assert!(
            text.contains(
                "apiserver_request_duration_seconds_bucket{verb=\"GET\",le=\"0.0025\"} 0\n"
            )
        );
        assert!(!text.contains("_count{verb=\"WATCH\"}"));
        assert!(
            text.contains("apiserver_longrunning_requests{verb=\"WATCH\",resource=\"pods\"} 1\n")
        );
    }
}
