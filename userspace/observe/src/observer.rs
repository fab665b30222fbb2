//! The ring of flows, and those who follow it.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use beeline_abi::FlowEvent;
use beeline_kit::Tasks;
use beeline_tables::{NodeName, Reader, Snapshot};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::broadcast;

use crate::{BadQuery, Flow, Names, Query, join::join};

/// Flows kept; about 500 bytes each with their shared words: 4 MB once full, nothing before.
pub const FLOWS_KEPT: usize = 8192;
/// Flows that a follower may lag behind before it misses some.
const FOLLOW_MAX: usize = 4096;

/// Keeps the newest flows of this node. Clones share them.
#[derive(Clone, Debug)]
pub struct Observer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    node: NodeName,
    state: Mutex<State>,
    sender: broadcast::Sender<Arc<Flow>>,
}

#[derive(Debug, Default)]
struct State {
    names: Names,
    flows: VecDeque<Arc<Flow>>,
    recorded: u64,
    drops: BTreeMap<Arc<str>, u64>,
}

impl State {
    fn wanted(&self, query: &Query) -> Vec<Arc<Flow>> {
        let now = now();
        let wanted = self.flows.iter().rev().filter(|flow| query.matches(flow, now));
        let mut found: Vec<_> = wanted.take(query.last.unwrap_or(FLOWS_KEPT)).cloned().collect();
        found.reverse();
        found
    }
}

impl Observer {
    /// An observer of this node that has seen nothing.
    pub fn new(node: NodeName) -> Self {
        let (sender, _) = broadcast::channel(FOLLOW_MAX);
        Self { shared: Arc::new(Shared { node, state: Mutex::default(), sender }) }
    }

    /// Names flows after this state of the tables from now on.
    pub fn names(&self, snapshot: Arc<Snapshot>) {
        self.state().names.update(snapshot);
    }

    /// Keeps the names up with the tables until `tasks` stop.
    pub fn follow_tables(&self, mut reader: Reader, tasks: &Tasks) {
        let (this, token) = (self.clone(), tasks.token());
        tasks.spawn("observe-names", async move {
            this.names(reader.snapshot());
            while let Some(Some(snapshot)) = token.run_until_cancelled(reader.changed()).await {
                this.names(snapshot);
            }
        });
    }

    /// Takes events of the kernel. `clock_offset_ns` turns their stamps into time since 1970. Never waits.
    pub fn record(&self, clock_offset_ns: u64, events: &[FlowEvent]) {
        let mut state = self.state();
        for event in events {
            let flow = Arc::new(join(event, clock_offset_ns, &state.names, &self.shared.node));
            if let Some(reason) = &flow.drop_reason {
                *state.drops.entry(Arc::clone(reason)).or_default() += 1;
            }
            if state.flows.len() == FLOWS_KEPT {
                state.flows.pop_front();
            }
            state.flows.push_back(Arc::clone(&flow));
            state.recorded += 1;
            // Nobody may be following.
            let _ = self.shared.sender.send(flow);
        }
    }

    /// The kept flows that a query wants, oldest first.
    pub fn flows(&self, query: &Query) -> Vec<Arc<Flow>> {
        self.state().wanted(query)
    }

    /// What comes from now on and is wanted. Refuses a query that is misspelt.
    pub fn subscribe(&self, query: Query) -> Result<Subscription, BadQuery> {
        query.check()?;
        Ok(Subscription { receiver: self.shared.sender.subscribe(), query })
    }

    /// Kept and coming flows without a gap or a repetition between them. Refuses a query that is misspelt.
    pub fn follow(&self, query: Query) -> Result<(Vec<Arc<Flow>>, Subscription), BadQuery> {
        query.check()?;
        // Recording holds the same lock while it sends, so nothing comes between.
        let state = self.state();
        let receiver = self.shared.sender.subscribe();
        let found = state.wanted(&query);
        Ok((found, Subscription { receiver, query }))
    }

    /// Events taken since the start.
    pub fn recorded(&self) -> u64 {
        self.state().recorded
    }

    /// Drop events by reason. The kernel tells of a sample of drops only; the datapath has the exact counts.
    pub fn drop_events(&self) -> BTreeMap<Arc<str>, u64> {
        self.state().drops.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = i128::try_from(since_epoch.as_nanos()).unwrap_or(i128::MAX);
    Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Somebody who follows.
#[derive(Debug)]
pub struct Subscription {
    receiver: broadcast::Receiver<Arc<Flow>>,
    query: Query,
}

/// What a follower gets.
#[derive(Clone, Debug, PartialEq)]
pub enum Followed {
    /// A flow that is wanted.
    Flow(Arc<Flow>),
    /// It was too slow: so many flows, wanted or not, passed unseen.
    Missed(u64),
}

impl Subscription {
    /// The next flow that is wanted. `None` once the observer is gone. Cancel safe.
    pub async fn next(&mut self) -> Option<Followed> {
        loop {
            match self.receiver.recv().await {
                Ok(flow) if self.query.matches(&flow, flow.time) => {
                    return Some(Followed::Flow(flow));
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    return Some(Followed::Missed(missed));
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
