//! The one who keeps the world and tells each node its share.
//!
//! In: changes of all kinds that nodes need, and nodes that subscribe. Out: batches with rising epochs into
//! each node's queue. A node whose queue is full gets nothing until it is empty, and then a snapshot.
//! A Pod that Services name is told to end only when all nodes have its endpoint's end in force, or after [`HOLD_MAX`].

mod held;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use beeline_api::KindInfo;
use beeline_kit::{Backoff, CancellationToken, Tasks};
use beeline_proto::feed::{Batch, Change, Down, change, down};
use beeline_registry::{Client, EventKind, ListOptions, Object, Target, WatchEvent, WatchOptions};
use tokio::sync::mpsc;

use crate::connections::{Connections, Outgoing, QUEUE_MAX};
use crate::convert;
use crate::world::{Addressed, Audience, World};

use held::Held;

/// Changes in one message of a snapshot: a few hundred kilobytes.
const CHANGES_PER_BATCH_MAX: usize = 500;
/// Events taken together into one batch; more wait for the next.
const EVENTS_PER_BATCH_MAX: usize = 1024;
/// How often those that fell behind are looked at.
const BEHIND_INTERVAL: Duration = Duration::from_millis(50);
/// A node that does not acknowledge must not keep Pods alive.
const HOLD_MAX: Duration = Duration::from_millis(500);

/// What arrives at the projector.
enum Input {
    /// All there is of a kind.
    All { kind: &'static KindInfo, objects: Vec<Arc<Object>>, revision: u64 },
    /// One change.
    Event { kind: &'static KindInfo, event: WatchEvent },
    /// A node wants its share.
    Subscribe { node: String, line: u64, queue: mpsc::Sender<Outgoing> },
}

/// The handle.
#[derive(Clone, Debug)]
pub(crate) struct Projector {
    inputs: mpsc::Sender<Input>,
}

impl Projector {
    /// Start following the registry.
    pub(crate) fn start(client: &Client, connections: Connections, tasks: &Tasks) -> Self {
        let (inputs, receiver) = mpsc::channel(EVENTS_PER_BATCH_MAX);
        for kind in World::kinds() {
            let follow = follow(client.clone(), kind, inputs.clone());
            let token = tasks.token();
            tasks.spawn("feed-follow", async move {
                let _ = token.run_until_cancelled(follow).await;
            });
        }
        let state = State { connections, ..State::default() };
        tasks.spawn("feed-projector", state.run(receiver, tasks.token()));
        Self { inputs }
    }

    /// A node's line is up: send it a snapshot and then what changes. It ends when its queue closes.
    pub(crate) async fn subscribe(&self, node: &str, line: u64, queue: mpsc::Sender<Outgoing>) {
        let input = Input::Subscribe { node: node.to_owned(), line, queue };
        // Fails only when everything stops.
        let _ = self.inputs.send(input).await;
    }
}

/// One kind: list, then watch from there; list again when the watch is cut off.
async fn follow(client: Client, kind: &'static KindInfo, inputs: mpsc::Sender<Input>) {
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(5));
    loop {
        match follow_once(&client, kind, &inputs, &mut backoff).await {
            Ok(()) => tracing::debug!(kind = kind.kind, "watch ended, listing again"),
            Err(error) => tracing::warn!(kind = kind.kind, %error, "follow for the feed"),
        }
        if inputs.is_closed() {
            return;
        }
        tokio::time::sleep(backoff.next()).await;
    }
}

async fn follow_once(
    client: &Client,
    kind: &'static KindInfo,
    inputs: &mpsc::Sender<Input>,
    backoff: &mut Backoff,
) -> Result<(), beeline_api::ApiError> {
    let (registry, caller) = (client.registry(), client.caller());
    let target = Target::collection(kind, None);
    let list = registry.list(caller, &target, &ListOptions::default()).await?;
    let revision = list.revision.0;
    let options =
        WatchOptions { resource_version: Some(revision.to_string()), ..WatchOptions::default() };
    let all = Input::All { kind, objects: list.items, revision };
    if inputs.send(all).await.is_err() {
        return Ok(());
    }
    let mut watch = registry.watch(caller, &target, &options).await?;
    while let Some(event) = watch.next().await {
        backoff.reset();
        if inputs.send(Input::Event { kind, event }).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

#[derive(Default)]
struct State {
    world: World,
    connections: Connections,
    loaded: HashSet<&'static str>,
    subscribers: HashMap<String, Subscriber>,
    /// Rises with every batch; at least the store's revision, so that it rises over restarts.
    epoch: u64,
    revision: u64,
    held: Held,
}

struct Subscriber {
    line: u64,
    queue: mpsc::Sender<Outgoing>,
    /// Waits for a snapshot.
    behind: bool,
}

impl State {
    async fn run(mut self, mut inputs: mpsc::Receiver<Input>, token: CancellationToken) {
        let mut some = Vec::new();
        loop {
            let behind = self.subscribers.values().any(|s| s.behind) || !self.held.is_empty();
            tokio::select! {
                () = token.cancelled() => return,
                count = inputs.recv_many(&mut some, EVENTS_PER_BATCH_MAX) => {
                    if count == 0 {
                        return;
                    }
                }
                () = self.connections.progress(), if !self.held.is_empty() => {}
                () = tokio::time::sleep(BEHIND_INTERVAL), if behind => {}
            }
            let mut changes = Vec::new();
            for input in some.drain(..) {
                self.take(input, &mut changes);
            }
            self.publish(&changes);
            let due = self.held.take_due(Instant::now(), |epoch| self.connections.all_hold(epoch));
            self.publish(&due);
            self.catch_up();
        }
    }

    fn take(&mut self, input: Input, changes: &mut Vec<Addressed>) {
        match input {
            Input::All { kind, objects, revision } => {
                let mut gone: HashSet<convert::Key> = self.world.keys(kind).into_iter().collect();
                for object in &objects {
                    gone.remove(&convert::key(object));
                    changes.extend(self.world.put(kind, object));
                }
                for key in gone {
                    changes.extend(self.world.remove(kind, &key));
                }
                self.loaded.insert(kind.kind);
                self.revision = self.revision.max(revision);
            }
            Input::Event { kind, event } => {
                self.revision = self.revision.max(event.revision.0);
                match event.kind {
                    EventKind::Added | EventKind::Modified => {
                        changes.extend(self.world.put(kind, &event.object));
                    }
                    EventKind::Deleted => {
                        changes.extend(self.world.remove(kind, &convert::key(&event.object)));
                    }
                    EventKind::Bookmark => {}
                }
            }
            Input::Subscribe { node, line, queue } => {
                let newer = self.subscribers.get(&node).is_none_or(|known| known.line < line);
                if newer {
                    self.subscribers.insert(node, Subscriber { line, queue, behind: true });
                }
            }
        }
    }

    fn next_epoch(&mut self) -> u64 {
        self.epoch = (self.epoch + 1).max(self.revision);
        self.epoch
    }

    /// Send each node what it has to hear, all under one epoch.
    fn publish(&mut self, changes: &[Addressed]) {
        self.subscribers.retain(|_, subscriber| !subscriber.queue.is_closed());
        if changes.is_empty() || self.subscribers.is_empty() {
            return;
        }
        let epoch = self.next_epoch();
        let mut mine: BTreeMap<&str, Vec<change::Kind>> = BTreeMap::new();
        for (audience, kind) in changes {
            if self.held.supersede(kind) {
                continue;
            }
            match audience {
                Audience::NodeThen(node) => {
                    self.held.hold(node, kind, epoch, Instant::now() + HOLD_MAX);
                }
                Audience::All => {
                    for node in self.subscribers.keys() {
                        mine.entry(node).or_default().push(kind.clone());
                    }
                }
                Audience::Node(node) => mine.entry(node).or_default().push(kind.clone()),
            }
        }
        let mut behind = Vec::new();
        for (node, changes) in mine {
            let Some(subscriber) = self.subscribers.get(node).filter(|s| !s.behind) else {
                continue;
            };
            self.connections.sent(node, epoch);
            if subscriber.queue.try_send(vec![batch(epoch, false, true, changes)]).is_err() {
                behind.push(node.to_owned());
            }
        }
        for node in behind {
            tracing::debug!(node, epoch, "fell behind, gets a snapshot");
            self.subscribers.entry(node).and_modify(|s| s.behind = true);
        }
    }

    /// Send a snapshot to those that wait for one and have read everything else.
    fn catch_up(&mut self) {
        // Half a world would tell nodes to end what they run.
        if self.loaded.len() < World::kinds().len() {
            return;
        }
        let waiting = |s: &Subscriber| s.behind && s.queue.capacity() == QUEUE_MAX;
        let nodes: Vec<String> = self
            .subscribers
            .iter()
            .filter(|(_, s)| waiting(s))
            .map(|(node, _)| node.clone())
            .collect();
        for node in nodes {
            let epoch = self.next_epoch();
            let batches = snapshot(epoch, self.world.share(&node));
            self.connections.sent(&node, epoch);
            if let Some(subscriber) = self.subscribers.get_mut(&node) {
                subscriber.behind = subscriber.queue.try_send(batches).is_err();
            }
        }
    }
}

/// A whole share, in as many messages as it needs.
fn snapshot(epoch: u64, share: Vec<change::Kind>) -> Outgoing {
    let mut batches = Vec::new();
    let mut rest = share.into_iter().peekable();
    loop {
        let some: Vec<change::Kind> = rest.by_ref().take(CHANGES_PER_BATCH_MAX).collect();
        let last = rest.peek().is_none();
        batches.push(batch(epoch, true, last, some));
        if last {
            return batches;
        }
    }
}

fn batch(epoch: u64, snapshot: bool, last: bool, changes: Vec<change::Kind>) -> Down {
    let changes = changes.into_iter().map(|kind| Change { kind: Some(kind) }).collect();
    Down { kind: Some(down::Kind::Batch(Batch { epoch, snapshot, last, changes })) }
}
