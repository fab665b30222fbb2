//! From the event ring to a bounded channel.
//!
//! The kernel wakes us only when much has gathered (`CONFIG_LAZY_EVENTS`), because a wake-up costs a connection more than
//! its record does; so we look by ourselves, too. When the receiver is slow the ring fills, and the kernel counts what it
//! could not write: there is one place where events are lost, and it is counted.
#![expect(unsafe_code, reason = "waiting on a descriptor is a promise that it stays the same")]

use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use beeline_abi::FlowEvent;
use beeline_kit::{CancellationToken, Tasks};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc,
    time::MissedTickBehavior,
};

use crate::{DatapathError, clock};

/// The ring is looked at this often: what a live view lags behind at most.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
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
    let mut look = tokio::time::interval(LOOK_INTERVAL);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = token.cancelled() => return,
            () = sender.closed() => return,
            guard = ring.readable_mut() => match guard {
                Ok(mut guard) => guard.clear_ready(),
                Err(error) => {
                    tracing::error!(%error, "the event ring cannot be waited for");
                    return;
                }
            },
            _ = look.tick() => {}
        }
        loop {
            let events = take(ring.get_mut());
            let last = events.len() < BATCH_MAX;
            if !events.is_empty() {
                let batch = EventBatch { clock_offset_ns: clock::offset_ns(), events };
                if sender.send(batch).await.is_err() {
                    return;
                }
            }
            if last {
                break;
            }
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
