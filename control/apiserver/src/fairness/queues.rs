//! The seats of one priority level, and who takes the next one.
//!
//! In: arrivals, ends, and how long a request took. Out: which waiting request starts. Fair queuing after KEP 1040: every
//! queue has a virtual time, which its requests move on by seats times duration, and the queue that is furthest behind is
//! served next. A queue that was idle begins at the present, so idleness saves nothing up.
//! Pure: no clock, no lock, no task. What a waiting request is woken by is the caller's.

use std::collections::VecDeque;

use super::deal;

/// What a request is thought to take until it has ended, in nanoseconds. Upstream's guess.
const ESTIMATE_NS: i64 = 3_000_000;

/// The queues of a level. Without any, what finds no seat is refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) queues: usize,
    pub(super) hand: usize,
    pub(super) length_max: usize,
}

/// Why a request may not even wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// No seat, and no queues.
    ConcurrencyLimit,
    /// No seat, and the best queue is full.
    QueueFull,
}

/// A waiting request: its queue, and its number in the level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) queue: usize,
    id: u64,
}

/// One level's state. `W` is what wakes a request.
#[derive(Debug)]
pub(super) struct Queues<W> {
    shape: Shape,
    seats_max: u32,
    seats_used: u32,
    seats_wanted: u32,
    /// Most seats used and wanted at once since somebody asked.
    demand_high: u32,
    queues: Vec<Queue<W>>,
    next_id: u64,
    /// Where the queue was that a request started from last.
    virtual_now: i64,
    /// Among queues that are as far behind, the one after this is next.
    last: usize,
}

#[derive(Debug)]
struct Queue<W> {
    waiting: VecDeque<Waiting<W>>,
    /// Virtual time at which its next request starts.
    start: i64,
    /// Of its requests that run.
    seats_used: u32,
    seats_wanted: u32,
}

#[derive(Debug)]
struct Waiting<W> {
    id: u64,
    seats: u32,
    waker: W,
}

impl<W> Queues<W> {
    pub(super) fn new(shape: Shape, seats_max: u32) -> Self {
        let queue = || Queue { waiting: VecDeque::new(), start: 0, seats_used: 0, seats_wanted: 0 };
        Self {
            shape,
            seats_max,
            seats_used: 0,
            seats_wanted: 0,
            demand_high: 0,
            queues: (0..shape.queues).map(|_| queue()).collect(),
            next_id: 0,
            virtual_now: 0,
            last: 0,
        }
    }

    /// Takes seats at once, if nobody waits and enough are free.
    pub(super) fn try_start(&mut self, seats: u32) -> bool {
        let starts = self.seats_wanted == 0 && self.fits(seats);
        if starts {
            self.seats_used += seats;
            self.note_demand();
        }
        starts
    }

    /// Waits in the emptiest queue of the flow's hand.
    pub(super) fn wait(&mut self, flow: u64, seats: u32, waker: W) -> Result<Place, Refusal> {
        let hand = deal::deal(flow, self.queues.len(), self.shape.hand);
        let load =
            |queue: &usize| self.queues[*queue].seats_wanted + self.queues[*queue].seats_used;
        let Some(queue) = hand.min_by_key(load) else {
            self.demand_high = self.demand_high.max(self.seats_used + seats);
            return Err(Refusal::ConcurrencyLimit);
        };
        let id = self.next_id;
        let now = self.virtual_now;
        let at = &mut self.queues[queue];
        if at.waiting.len() >= self.shape.length_max {
            return Err(Refusal::QueueFull);
        }
        if at.waiting.is_empty() {
            at.start = at.start.max(now);
        }
        at.waiting.push_back(Waiting { id, seats, waker });
        at.seats_wanted += seats;
        self.next_id += 1;
        self.seats_wanted += seats;
        self.note_demand();
        Ok(Place { queue, id })
    }

    /// The waiting request that starts now, if one does. Asked again until there is none.
    pub(super) fn start_next(&mut self) -> Option<W> {
        let count = self.queues.len();
        let order = |i: &usize| (self.queues[*i].start, (*i + count - self.last - 1) % count);
        let next = (0..count).filter(|i| !self.queues[*i].waiting.is_empty()).min_by_key(order)?;
        let seats = self.queues[next].waiting.front()?.seats;
        // Nobody overtakes a wide request: it would never find its seats together.
        if !self.fits(seats) {
            return None;
        }
        self.last = next;
        let queue = &mut self.queues[next];
        let started = queue.waiting.pop_front()?;
        queue.seats_wanted -= seats;
        queue.seats_used += seats;
        self.virtual_now = self.virtual_now.max(queue.start);
        queue.start += i64::from(seats) * ESTIMATE_NS;
        self.seats_wanted -= seats;
        self.seats_used += seats;
        Some(started.waker)
    }

    /// A request has ended after so long; `queue` is where it waited, if it did.
    pub(super) fn finish(&mut self, queue: Option<usize>, seats: u32, took_ns: i64) {
        self.seats_used = self.seats_used.saturating_sub(seats);
        if let Some(queue) = queue.and_then(|queue| self.queues.get_mut(queue)) {
            queue.seats_used = queue.seats_used.saturating_sub(seats);
            queue.start += i64::from(seats) * (took_ns - ESTIMATE_NS);
        }
    }

    /// A request waits no longer. False: it has been started.
    pub(super) fn give_up(&mut self, place: Place) -> bool {
        let queue = &mut self.queues[place.queue];
        let Some(at) = queue.waiting.iter().position(|one| one.id == place.id) else {
            return false;
        };
        if let Some(gone) = queue.waiting.remove(at) {
            queue.seats_wanted -= gone.seats;
            self.seats_wanted -= gone.seats;
        }
        true
    }

    /// From now on there are so many seats. Those that are taken stay taken.
    pub(super) fn resize(&mut self, seats_max: u32) {
        self.seats_max = seats_max;
    }

    /// Seats there are and seats in use.
    pub(super) fn seats(&self) -> (u32, u32) {
        (self.seats_max, self.seats_used)
    }

    /// Most seats wanted at once since the last time this was asked.
    pub(super) fn take_demand(&mut self) -> u32 {
        let now = self.seats_used + self.seats_wanted;
        std::mem::replace(&mut self.demand_high, now)
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn set_length_max(&mut self, length_max: usize) {
        self.shape.length_max = length_max;
    }

    fn note_demand(&mut self) {
        self.demand_high = self.demand_high.max(self.seats_used + self.seats_wanted);
    }

    /// One that is wider than the level runs alone.
    fn fits(&self, seats: u32) -> bool {
        self.seats_used + seats <= self.seats_max || (self.seats_used == 0 && self.seats_max > 0)
    }
}

#[cfg(test)]
mod tests;
