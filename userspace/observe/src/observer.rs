//! The history and those who follow it.

use std::sync::{Arc, Mutex, PoisonError};

use beeline_abi::FlowEvent;
use beeline_tables::Reader;
use tokio::sync::broadcast;

use crate::{
    flow::{Event, Flow},
    history::{FLOWS_MAX, History},
    join::Joiner,
    query::Query,
};

/// Records that a follower may lag behind before some are skipped, and counted.
const FOLLOW_LAG_MAX: usize = 4096;

/// Keeps the newest flows of this node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Observer {
    state: Arc<Mutex<State>>,
    sender: broadcast::Sender<Arc<Flow>>,
}

struct State {
    reader: Reader,
    joiner: Joiner,
    history: History,
}

impl Observer {
    /// Nothing seen yet. The tables name what events only number.
    pub fn new(reader: Reader, node: &str) -> Self {
        let state = State { reader, joiner: Joiner::new(node), history: History::default() };
        let (sender, _) = broadcast::channel(FOLLOW_LAG_MAX);
        Self { state: Arc::new(Mutex::new(state)), sender }
    }

    /// Take a batch of events. The offset turns the kernel's monotonic stamps into time since 1970.
    pub fn record(&self, clock_offset_ns: u64, events: &[FlowEvent]) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        state.joiner.update(&state.reader.snapshot());
        for event in events {
            let Some(flow) = state.joiner.flow(event, clock_offset_ns) else { continue };
            let socket = matches!(flow.hook.as_str(), "connect" | "sendmsg");
            let flow = state.history.add(flow);
            // A translated socket's packets follow at once and say more; a refused one has none.
            if !socket || flow.event == Event::Drop {
                let _ = self.sender.send(flow);
            }
        }
    }

    /// The flows that match, the newest last.
    pub fn query(&self, query: &Query) -> Vec<Arc<Flow>> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = query.last.unwrap_or(FLOWS_MAX);
        let mut found: Vec<_> =
            state.history.newest().filter(|flow| query.wants(flow)).take(limit).cloned().collect();
        found.reverse();
        found
    }

    /// From now on, every event's record that matches.
    pub fn follow(&self, query: Query) -> Follow {
        Follow { query, receiver: self.sender.subscribe(), skipped: 0 }
    }
}

/// Records as they come.
pub struct Follow {
    query: Query,
    receiver: broadcast::Receiver<Arc<Flow>>,
    skipped: u64,
}

impl Follow {
    /// The next one that matches; `None` when the observer is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Arc<Flow>> {
        loop {
            match self.receiver.recv().await {
                Ok(flow) if self.query.wants(&flow) => return Some(flow),
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(count)) => self.skipped += count,
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }

    /// How many were skipped so far because this follower was too slow.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }
}

#[cfg(test)]
mod tests;
