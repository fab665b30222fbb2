//! One priority level at work: its seats behind a lock, those who wait on it, and what is counted.
//!
//! In: requests that want seats. Out: tickets that give them back when dropped, or a refusal.
//! A request that is cancelled while it waits leaves nothing behind, whether it has been given seats meanwhile or not.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::queues::{Place, Queues, Refusal, Shape};
use super::shares::{Bounds, Demand};
use crate::metrics::Histogram;

/// Upper bounds of waiting and running times in seconds. Upstream's.
const SECONDS: &[f64] = &[0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0];

/// Why a request was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turned {
    Away(Refusal),
    /// It has waited long enough.
    TimeOut,
}

/// A level of priority.
#[derive(Debug)]
pub(super) struct Level {
    pub(super) name: String,
    /// None: nobody waits.
    queues: Option<Mutex<Queues<oneshot::Sender<()>>>>,
    state: Mutex<(Bounds, Demand)>,
    exempt_seats: AtomicI64,
}

/// What is counted for one schema and its level.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) dispatched: AtomicU64,
    /// By `concurrency-limit`, `queue-full`, `time-out`, `cancelled`.
    pub(super) rejected: [AtomicU64; 4],
    pub(super) waiting: AtomicI64,
    pub(super) running: AtomicI64,
    pub(super) waited: Histogram,
    pub(super) ran: Histogram,
}

/// Why requests are refused, as metrics name it; in the order of [`Counts::rejected`].
pub(super) const REASONS: [&str; 4] = ["concurrency-limit", "queue-full", "time-out", "cancelled"];

/// Seats that are taken until this is dropped.
#[derive(Debug)]
pub(crate) struct Ticket {
    level: Arc<Level>,
    counts: Arc<Counts>,
    queue: Option<usize>,
    seats: u32,
    since: Instant,
}

/// What a level says to a request at once.
enum Entry {
    Given(Ticket),
    Queued(oneshot::Receiver<()>, Place),
    Refused(Refusal),
}

/// A request in a queue, or between its queue and its seats.
struct Waiter<'a> {
    level: &'a Arc<Level>,
    counts: &'a Arc<Counts>,
    place: Option<Place>,
    seats: u32,
}

// === impl Counts ===

impl Counts {
    pub(super) fn new() -> Self {
        Self {
            dispatched: AtomicU64::new(0),
            rejected: Default::default(),
            waiting: AtomicI64::new(0),
            running: AtomicI64::new(0),
            waited: Histogram::new(SECONDS),
            ran: Histogram::new(SECONDS),
        }
    }

    fn reject(&self, at: usize) {
        self.rejected[at].fetch_add(1, Ordering::Relaxed);
    }
}

// === impl Level ===

impl Level {
    pub(super) fn new(name: &str, shape: Option<Shape>) -> Self {
        Self {
            name: name.to_owned(),
            queues: shape.map(|shape| Mutex::new(Queues::new(shape, 0))),
            state: Mutex::default(),
            exempt_seats: AtomicI64::new(0),
        }
    }

    /// Whether a changed configuration fits what is there. The length of queues can be changed in place.
    pub(super) fn adopt(&self, shape: Option<Shape>) -> bool {
        match (self.queues(), shape) {
            (None, None) => true,
            (Some(mut queues), Some(shape)) => {
                let held = queues.shape();
                let same = (held.queues, held.hand) == (shape.queues, shape.hand);
                if same {
                    queues.set_length_max(shape.length_max);
                }
                same
            }
            _ => false,
        }
    }

    /// How many seats there are; for a level where nobody waits, none are counted.
    pub(super) fn seats_max(&self) -> u32 {
        self.queues().map_or(u32::MAX, |queues| queues.seats().0)
    }

    /// Seats in use.
    pub(super) fn seats_used(&self) -> i64 {
        match self.queues() {
            Some(queues) => i64::from(queues.seats().1),
            None => self.exempt_seats.load(Ordering::Relaxed),
        }
    }

    /// Whether others than one with so many seats are here. Of a level where nobody waits it does not matter.
    pub(super) fn is_shared(&self, seats: u32) -> bool {
        self.queues().is_some_and(|queues| queues.seats().1 > seats)
    }

    pub(super) fn is_exempt(&self) -> bool {
        self.queues.is_none()
    }

    pub(super) fn resize(&self, seats: u32) {
        let Some(mut queues) = self.queues() else { return };
        queues.resize(seats);
        start_waiting(&mut queues);
    }

    pub(super) fn take_demand(&self) -> u32 {
        self.queues().map_or(0, |mut queues| queues.take_demand())
    }

    pub(super) fn state(&self) -> MutexGuard<'_, (Bounds, Demand)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives seats at once, or in turn, or not at all. Waits no longer than `patience`.
    pub(super) async fn enter(
        self: &Arc<Self>,
        counts: &Arc<Counts>,
        seats: u32,
        flow: impl FnOnce() -> u64,
        patience: Duration,
    ) -> Result<Ticket, Turned> {
        let (woken, place) = match self.ask(counts, seats, flow) {
            Entry::Given(ticket) => return Ok(ticket),
            Entry::Refused(refusal) => return Err(Turned::Away(refusal)),
            Entry::Queued(woken, place) => (woken, place),
        };
        counts.waiting.fetch_add(1, Ordering::Relaxed);
        let mut waiter = Waiter { level: self, counts, place: Some(place), seats };
        let since = Instant::now();
        let in_time = tokio::time::timeout(patience, woken).await.is_ok();
        counts.waited.observe(since.elapsed().as_secs_f64());
        waiter.decide(in_time)
    }

    /// The part of it that does not wait.
    fn ask(
        self: &Arc<Self>,
        counts: &Arc<Counts>,
        seats: u32,
        flow: impl FnOnce() -> u64,
    ) -> Entry {
        let Some(mut queues) = self.queues() else {
            self.exempt_seats.fetch_add(i64::from(seats), Ordering::Relaxed);
            return Entry::Given(self.ticket(counts, None, seats));
        };
        if queues.try_start(seats) {
            return Entry::Given(self.ticket(counts, None, seats));
        }
        let (waker, woken) = oneshot::channel();
        match queues.wait(flow(), seats, waker) {
            Ok(place) => {
                start_waiting(&mut queues);
                Entry::Queued(woken, place)
            }
            Err(refusal) => {
                counts.reject(match refusal {
                    Refusal::ConcurrencyLimit => 0,
                    Refusal::QueueFull => 1,
                });
                Entry::Refused(refusal)
            }
        }
    }

    fn ticket(self: &Arc<Self>, counts: &Arc<Counts>, queue: Option<usize>, seats: u32) -> Ticket {
        counts.dispatched.fetch_add(1, Ordering::Relaxed);
        counts.running.fetch_add(1, Ordering::Relaxed);
        Ticket {
            level: Arc::clone(self),
            counts: Arc::clone(counts),
            queue,
            seats,
            since: Instant::now(),
        }
    }

    fn queues(&self) -> Option<MutexGuard<'_, Queues<oneshot::Sender<()>>>> {
        let queues = self.queues.as_ref()?;
        Some(queues.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn leave(&self, queue: Option<usize>, seats: u32, took: Duration) {
        let Some(mut queues) = self.queues() else {
            self.exempt_seats.fetch_sub(i64::from(seats), Ordering::Relaxed);
            return;
        };
        let took = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX / 64);
        queues.finish(queue, seats, took);
        start_waiting(&mut queues);
    }
}

/// Wakes all who have seats now. One who is gone meanwhile gives them back himself.
fn start_waiting(queues: &mut Queues<oneshot::Sender<()>>) {
    while let Some(waker) = queues.start_next() {
        let _ = waker.send(());
    }
}

// === impl Waiter ===

impl Waiter<'_> {
    /// After waking, or when patience is at an end.
    fn decide(&mut self, in_time: bool) -> Result<Ticket, Turned> {
        let place = self.place.take();
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        let queue = place.map(|place| place.queue);
        let gave_up = !in_time
            && place.is_some_and(|place| {
                self.level.queues().is_some_and(|mut queues| queues.give_up(place))
            });
        if gave_up {
            self.counts.reject(2);
            return Err(Turned::TimeOut);
        }
        Ok(self.level.ticket(self.counts, queue, self.seats))
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        // Only what was cancelled still has its place.
        let Some(place) = self.place.take() else { return };
        self.counts.waiting.fetch_sub(1, Ordering::Relaxed);
        self.counts.reject(3);
        let waits = self.level.queues().is_some_and(|mut queues| queues.give_up(place));
        if !waits {
            self.level.leave(Some(place.queue), self.seats, Duration::ZERO);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let took = self.since.elapsed();
        self.counts.running.fetch_sub(1, Ordering::Relaxed);
        self.counts.ran.observe(took.as_secs_f64());
        self.level.leave(self.queue, self.seats, took);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(15);

    fn level(shape: Shape, seats: u32) -> (Arc<Level>, Arc<Counts>) {
        let level = Level::new("l", Some(shape));
        level.resize(seats);
        (Arc::new(level), Arc::new(Counts::new()))
    }

    const SHAPE: Shape = Shape { queues: 4, hand: 2, length_max: 8 };

    #[tokio::test]
    async fn seats_come_back_whatever_becomes_of_the_request() {
        let (level, counts) = level(SHAPE, 1);
        let enter = |flow| level.enter(&counts, 1, move || flow, PATIENCE);
        let first = enter(1).await.unwrap();
        let mut cancelled = Box::pin(enter(2));
        let mut given_and_cancelled = Box::pin(enter(3));
        let mut third = Box::pin(enter(4));
        assert!(cancelled.as_mut().now_or_never().is_none());
        assert!(given_and_cancelled.as_mut().now_or_never().is_none());
        assert!(third.as_mut().now_or_never().is_none());
        drop(cancelled);
        assert_eq!(counts.waiting.load(Ordering::Relaxed), 2);
        drop(first);
        // Of the two one has been given the seat without having seen it.
        drop(given_and_cancelled);
        let ticket = third.await.unwrap();
        assert_eq!(level.seats_used(), 1);
        drop(ticket);
        assert_eq!(level.seats_used(), 0);
        assert_eq!(counts.rejected[3].load(Ordering::Relaxed), 2);
        assert_eq!(counts.running.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_its_patience() {
        let (level, counts) = level(SHAPE, 1);
        let _held = level.enter(&counts, 1, || 1, PATIENCE).await.unwrap();
        let got = level.enter(&counts, 1, || 1, Duration::ZERO).await;
        assert_eq!(got.err(), Some(Turned::TimeOut));
        assert_eq!(counts.waiting.load(Ordering::Relaxed), 0);
        assert_eq!(counts.rejected[2].load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn without_queues_the_answer_is_no_at_once() {
        let (level, counts) = level(Shape::default(), 1);
        let held = level.enter(&counts, 1, || 1, PATIENCE).await.unwrap();
        let got = level.enter(&counts, 1, || 1, PATIENCE).now_or_never().unwrap();
        assert_eq!(got.err(), Some(Turned::Away(Refusal::ConcurrencyLimit)));
        drop(held);
        assert!(level.enter(&counts, 1, || 1, PATIENCE).await.is_ok());
    }

    #[tokio::test]
    async fn exempt_requests_are_only_counted() {
        let (level, counts) = (Arc::new(Level::new("exempt", None)), Arc::new(Counts::new()));
        let mut held = Vec::new();
        for _ in 0..1000 {
            held.push(level.enter(&counts, 1, || 1, PATIENCE).await.unwrap());
        }
        assert_eq!(level.seats_used(), 1000);
        held.clear();
        assert_eq!(level.seats_used(), 0);
    }
}
