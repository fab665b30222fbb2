//! What was asked of the dataplane and what it has done: the figures behind kube-proxy's health and metrics.
//!
//! In: batches as they are written to the tables, epochs as they come into force, the time of both. Out: whether the
//! dataplane keeps up, and counts. Pure.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use beeline_datapath::InForce;
use beeline_informer::Batch;

use super::metrics::Histogram;

/// How long a change may wait for the kernel before the node calls itself unwell: kube-proxy's limit, twice its sync period.
const LATE: Duration = Duration::from_secs(60);
/// Batches that wait one by one; more are counted as one.
const WAITING_MAX: usize = 1_024;
/// Bounds of `sync_proxy_rules_duration_seconds`: upstream's begin at 1 ms, where ours mostly end.
const SYNC_BOUNDS: &[f64] = &[
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256,
    0.512, 1.024, 2.048, 4.096, 8.192, 16.384,
];
/// Bounds of `network_programming_duration_seconds`: some of upstream's, and finer ones below its first.
const PROGRAMMING_BOUNDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0, 90.0, 120.0, 180.0, 240.0, 300.0,
];

/// Those who write it and those who read it.
pub type Shared = Arc<Mutex<Ledger>>;

/// For a moment; never across an await.
pub fn lock(shared: &Shared) -> MutexGuard<'_, Ledger> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A moment on both clocks: one for people, one that does not jump.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// For people.
    pub wall: SystemTime,
    /// For waits.
    pub steady: Instant,
}

impl Now {
    /// The machine's.
    pub fn read() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }
}

/// Changes on their way from the tables to the kernel.
#[derive(Debug)]
pub struct Ledger {
    waiting: VecDeque<Waiting>,
    /// Services that changed since the start.
    pub services_total: u64,
    /// Slices that changed since the start.
    pub slices_total: u64,
    /// When the tables changed last.
    pub queued: Option<SystemTime>,
    /// When the kernel last held what the tables say.
    pub in_force: Option<SystemTime>,
    /// From the start of compiling to the last write.
    pub sync: Histogram,
    /// From the change in the cluster to the kernel.
    pub programming: Histogram,
}

#[derive(Debug)]
struct Waiting {
    batch: Batch,
    since: Instant,
}

/// Whether the dataplane keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It does, or nothing was asked of it yet.
    Well,
    /// A change has waited for too long.
    Late,
}

impl Ledger {
    /// Nothing was asked yet.
    pub fn new() -> Self {
        Self {
            waiting: VecDeque::new(),
            services_total: 0,
            slices_total: 0,
            queued: None,
            in_force: None,
            sync: Histogram::new(SYNC_BOUNDS),
            programming: Histogram::new(PROGRAMMING_BOUNDS),
        }
    }

    /// One for several.
    pub fn shared() -> Shared {
        Arc::new(Mutex::new(Self::new()))
    }

    /// The tables are about to change.
    pub fn queue(&mut self, batch: &Batch, now: Now) {
        self.services_total = self.services_total.saturating_add(count(batch.services));
        self.slices_total = self.slices_total.saturating_add(count(batch.slices));
        self.queued = Some(now.wall);
        let full = self.waiting.len() >= WAITING_MAX;
        match self.waiting.back_mut() {
            Some(last) if full => {
                // Its time to programme is not measured any more; that it waits is.
                last.batch.epoch = batch.epoch;
                last.batch.services += batch.services;
                last.batch.slices += batch.slices;
            }
            _ => self.waiting.push_back(Waiting { batch: batch.clone(), since: now.steady }),
        }
    }

    /// The kernel holds an epoch.
    pub fn hold(&mut self, held: &InForce, now: Now) {
        self.in_force = Some(now.wall);
        self.sync.observe(held.took);
        while let Some(first) = self.waiting.front() {
            if first.batch.epoch > held.epoch {
                break;
            }
            for trigger in &first.batch.triggers {
                // A clock elsewhere may be ahead of ours.
                self.programming.observe(now.wall.duration_since(*trigger).unwrap_or_default());
            }
            self.waiting.pop_front();
        }
    }

    /// Whether anything has waited for too long.
    pub fn health(&self, now: Now) -> Health {
        let oldest = self.waiting.front();
        let late = oldest.is_some_and(|w| now.steady.saturating_duration_since(w.since) >= LATE);
        if late { Health::Late } else { Health::Well }
    }

    /// Changes of Services and of slices that the kernel does not hold yet.
    pub fn pending(&self) -> (usize, usize) {
        let batches = self.waiting.iter().map(|waiting| &waiting.batch);
        batches.fold((0, 0), |(services, slices), batch| {
            (services + batch.services, slices + batch.slices)
        })
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use beeline_datapath::InForce;
    use beeline_informer::Batch;
    use beeline_tables::Epoch;

    use super::{Health, LATE, Ledger, Now, WAITING_MAX};

    fn batch(epoch: u64) -> Batch {
        Batch { epoch: Epoch(epoch), services: 1, slices: 2, triggers: vec![] }
    }

    fn held(epoch: u64) -> InForce {
        InForce { epoch: Epoch(epoch), writes: 1, took: Duration::from_micros(300) }
    }

    fn later(now: Now, by: Duration) -> Now {
        Now { wall: now.wall + by, steady: now.steady + by }
    }

    #[test]
    fn a_change_that_waits_for_too_long_is_an_illness_until_it_holds() {
        let (mut ledger, start) = (Ledger::new(), Now::read());
        assert_eq!(ledger.health(later(start, LATE * 9)), Health::Well, "nothing was asked");
        ledger.queue(&batch(1), start);
        ledger.queue(&batch(2), later(start, LATE / 2));
        assert_eq!(ledger.pending(), (2, 4));
        assert_eq!(ledger.health(later(start, LATE / 2)), Health::Well);
        assert_eq!(ledger.health(later(start, LATE)), Health::Late);
        ledger.hold(&held(1), later(start, LATE));
        assert_eq!(ledger.health(later(start, LATE)), Health::Well, "the second is young");
        ledger.hold(&held(2), later(start, LATE));
        assert_eq!(ledger.pending(), (0, 0));
        assert_eq!(ledger.health(later(start, LATE * 9)), Health::Well);
        assert_eq!((ledger.services_total, ledger.slices_total), (2, 4));
    }

    #[test]
    fn programming_is_measured_from_the_change_in_the_cluster() {
        let (mut ledger, start) = (Ledger::new(), Now::read());
        let triggers = vec![start.wall, start.wall + Duration::from_secs(3_600)];
        ledger.queue(&Batch { triggers, ..batch(1) }, start);
        ledger.hold(&held(7), later(start, Duration::from_millis(40)));
        let text = ledger.programming.render("x");
        assert!(text.contains("x_bucket{le=\"0.025\"} 1\n"), "a clock that is ahead: {text}");
        assert!(text.contains("x_bucket{le=\"0.05\"} 2\n"), "{text}");
        assert!(ledger.sync.render("y").contains("y_bucket{le=\"0.0005\"} 1\n"));
    }

    #[test]
    fn a_kernel_that_never_answers_fills_no_memory() {
        let (mut ledger, start) = (Ledger::new(), Now::read());
        for epoch in 0..10 * WAITING_MAX {
            ledger.queue(&batch(epoch as u64), start);
        }
        assert_eq!(ledger.waiting.len(), WAITING_MAX);
        assert_eq!(ledger.pending().0, 10 * WAITING_MAX);
        ledger.hold(&held(10 * WAITING_MAX as u64), start);
        assert_eq!(ledger.pending(), (0, 0));
    }
}
