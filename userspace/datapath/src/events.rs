//! From the event ring to a bounded channel.
//!
//! The kernel wakes us for the first event after we have read all. We let more gather before we read, because a wake-up
//! costs a connection more than its record does, and the kernel wakes us again only when there is much
//! (`CONFIG_LAZY_EVENTS`). Nothing runs while nothing happens. When the receiver is slow the ring fills, and the kernel
//! counts what it could not write: there is one place where events are lost, and it is counted.
#![expect(unsafe_code, reason = "waiting on a descriptor is a promise that it stays the same")]

use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use beeline_abi::FlowEvent;
use beeline_kit::{CancellationToken, Tasks};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
};

use crate::{DatapathError, clock};

/// How long events gather: what a live view lags behind at most.
const GATHER: Duration = Duration::from_millis(50);
/// Events in one batch: what fits in two pages of the receiver's cache.
const BATCH_MAX: usize = 512;
/// Batches that may wait for the receiver: 32,768 events, 3.7 MB.
const BATCHES_MAX: usize = 64;

/// Events that were read together.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// Add it to a stamp of an event to have nanoseconds since 1970.
    pub clock_offset_ns: u64,
    /// In the order in which the kernel wrote them.
    pub events: Vec<FlowEvent>,
}

/// Starts reading.
pub(crate) fn read(
    ring: RingBuf<MapData>,
    tasks: &Tasks,
) -> Result<mpsc::Receiver<EventBatch>, DatapathError> {
    // SAFETY: a ring owns the descriptor of its map and names the same one for as long as it lives.
    let ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) };
    let ring = ring.map_err(|error| DatapathError::Map {
        attempt: "wait for",
        map: beeline_abi::maps::EVENTS,
        source: error.into(),
    })?;
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    tasks.spawn("datapath-events", run(ring, sender, tasks.token()));
    Ok(receiver)
}

async fn run(
    mut ring: AsyncFd<RingBuf<MapData>>,
    sender: mpsc::Sender<EventBatch>,
    token: CancellationToken,
) {
    let work = async {
        // What an earlier process left unread wakes nobody any more.
        while read_all(ring.get_mut(), &sender).await {
            if !woken(&mut ring).await {
                return;
            }
            if let Ok(false) = tokio::time::timeout(GATHER, woken(&mut ring)).await {
                return;
            }
        }
    };
    tokio::select! {
        () = token.cancelled() => {}
        () = sender.closed() => {}
        () = work => {}
    }
}

/// Waits for the kernel's next word; `false` when there will be none.
async fn woken(ring: &mut AsyncFd<RingBuf<MapData>>) -> bool {
    match ring.readable_mut().await {
        Ok(mut guard) => {
            guard.clear_ready();
            true
        }
        Err(error) => {
            tracing::error!(%error, "the event ring cannot be waited for");
            false
        }
    }
}

/// Passes on what is there; `false` when nobody takes it.
async fn read_all(ring: &mut RingBuf<MapData>, sender: &mpsc::Sender<EventBatch>) -> bool {
    loop {
        let events = take(ring);
        let last = events.len() < BATCH_MAX;
        if !events.is_empty() {
            let batch = EventBatch { clock_offset_ns: clock::offset_ns(), events };
            if sender.send(batch).await.is_err() {
                return false;
            }
        }
        if last {
            return true;
        }
    }
}

fn take(ring: &mut RingBuf<MapData>) -> Vec<FlowEvent> {
    let mut events = Vec::new();
    while events.len() < BATCH_MAX
        && let Some(record) = ring.next()
    {
        match FlowEvent::from_bytes(&record) {
            Some(event) => events.push(event),
            None => tracing::warn!(bytes = record.len(), "an event of another layout was skipped"),
        }
    }
    events
}
