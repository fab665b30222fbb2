//! What the gate has done, by upstream's names.

use std::sync::atomic::{AtomicI64, Ordering};

use super::level::REASONS;
use super::{Current, Fairness, Way};
use crate::metrics::Page;

/// Labels of a schema.
fn of(way: &Way) -> [(&str, &str); 2] {
    [("priority_level", &way.level.name), ("flow_schema", &way.schema.name)]
}

impl Fairness {
    pub(crate) fn render(&self, page: &mut Page) {
        let current = self.current.load();
        counters(&current, page);
        gauges(&current, page);
        times(&current, page);
        seats(&current, page);
    }
}

fn counters(current: &Current, page: &mut Page) {
    let name = "apiserver_flowcontrol_dispatched_requests_total";
    page.family(name, "counter", "Requests that were let in.");
    for way in &current.schemas {
        page.sample(name, &of(way), way.counts.dispatched.load(Ordering::Relaxed));
    }
    let name = "apiserver_flowcontrol_rejected_requests_total";
    page.family(name, "counter", "Requests that were turned away, by reason.");
    for way in &current.schemas {
        let [level, schema] = of(way);
        for (reason, count) in REASONS.iter().zip(&way.counts.rejected) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                page.sample(name, &[level, schema, ("reason", reason)], count);
            }
        }
    }
}

fn gauges(current: &Current, page: &mut Page) {
    type Gauge = fn(&Way) -> &AtomicI64;
    let all: [(&str, &str, Gauge); 2] = [
        ("apiserver_flowcontrol_current_inqueue_requests", "Requests that wait now.", |way| {
            &way.counts.waiting
        }),
        ("apiserver_flowcontrol_current_executing_requests", "Requests that run now.", |way| {
            &way.counts.running
        }),
    ];
    for (name, help, gauge) in all {
        page.family(name, "gauge", help);
        for way in &current.schemas {
            page.sample(name, &of(way), gauge(way).load(Ordering::Relaxed));
        }
    }
}

fn times(current: &Current, page: &mut Page) {
    let name = "apiserver_flowcontrol_request_wait_duration_seconds";
    page.family(name, "histogram", "Time in a queue, of requests that had to wait.");
    for way in &current.schemas {
        page.histogram(name, &of(way), &way.counts.waited);
    }
    let name = "apiserver_flowcontrol_request_execution_seconds";
    page.family(name, "histogram", "Time for which seats were taken.");
    for way in &current.schemas {
        page.histogram(name, &of(way), &way.counts.ran);
    }
}

fn seats(current: &Current, page: &mut Page) {
    let name = "apiserver_flowcontrol_current_executing_seats";
    page.family(name, "gauge", "Seats in use.");
    for level in current.levels.values() {
        page.sample(name, &[("priority_level", &level.name)], level.seats_used());
    }
    let limits = ["current_limit", "nominal_limit", "lower_limit", "upper_limit"];
    for limit in limits {
        let name = format!("apiserver_flowcontrol_{limit}_seats");
        page.family(&name, "gauge", "Seats that a level may use.");
        for level in current.levels.values().filter(|level| !level.is_exempt()) {
            let bounds = level.state().0;
            let seats = match limit {
                "current_limit" => level.seats_max(),
                "nominal_limit" => bounds.nominal,
                "lower_limit" => bounds.lower,
                _ => bounds.upper,
            };
            page.sample(&name, &[("priority_level", &level.name)], seats);
        }
    }
}
