//! All objects of one kind: the current ones, recent history, and those who watch.
//!
//! In: changes in revision order, from one writer. Out: cheap snapshots, the past as far as it is kept, events.

use std::collections::VecDeque;
use std::sync::{
    Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak,
};
use std::time::{Duration, Instant};

use beeline_api::KindInfo;
use beeline_store::{Key, Revision};
use imbl::OrdMap;
use tokio::sync::{Notify, mpsc};

use crate::object::{Object, WatchEvent};
use crate::watch::Filter;

/// History that is older than this may go, ...
const HISTORY_AGE: Duration = Duration::from_secs(300);
/// ... as far as there is more of it than this. Heartbeats alone would else fill it with nodes and leases.
const HISTORY_BYTES: usize = 128 * 1024;

/// Objects by store key.
pub(crate) type Objects = OrdMap<Key, Arc<Object>>;

/// Those from `start` on whose keys begin with `scope`.
pub(crate) fn under<'a>(
    objects: &'a Objects,
    start: &str,
    scope: &'a str,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Object>)> {
    objects.range(Key::from(start)..).take_while(move |(key, _)| key.starts_with(scope))
}

/// One kind's share of the cache.
pub(crate) struct Bucket {
    pub(crate) kind: &'static KindInfo,
    pub(crate) prefix: String,
    state: RwLock<State>,
    nudges: Mutex<Vec<Weak<Notify>>>,
}

/// What a bucket's lock protects.
pub(crate) struct State {
    pub(crate) objects: Objects,
    history: VecDeque<Arc<Step>>,
    history_max: usize,
    /// Encoded size of all objects in history.
    history_bytes: usize,
    /// History is complete for changes after this revision.
    pub(crate) oldest: Revision,
    /// Revision of the newest change here.
    pub(crate) newest: Revision,
    watchers: Vec<Watcher>,
}

/// One change of one object.
pub(crate) struct Step {
    pub(crate) key: Key,
    pub(crate) revision: Revision,
    pub(crate) new: Option<Arc<Object>>,
    pub(crate) previous: Option<Arc<Object>>,
    at: Instant,
    gone: OnceLock<Option<Arc<Object>>>,
}

pub(crate) struct Watcher {
    pub(crate) filter: Arc<Filter>,
    pub(crate) events: mpsc::Sender<WatchEvent>,
}

impl Step {
    pub(crate) fn new(
        key: Key,
        revision: Revision,
        new: Option<Arc<Object>>,
        previous: Option<Arc<Object>>,
    ) -> Self {
        Self { key, revision, new, previous, at: Instant::now(), gone: OnceLock::new() }
    }

    /// Encoded size of the version that only history may still hold.
    fn bytes(&self) -> usize {
        self.previous.as_ref().map_or(0, |o| o.json_len())
    }

    /// The last state with this step's revision, as `DELETED` shows it; made at most once for all watchers.
    pub(crate) fn last_state(&self) -> Option<Arc<Object>> {
        let make = || self.previous.as_ref().map(|p| Arc::new(p.at(self.revision)));
        self.gone.get_or_init(make).clone()
    }
}

impl Bucket {
    pub(crate) fn new(
        kind: &'static KindInfo,
        objects: Objects,
        at: Revision,
        history_max: usize,
    ) -> Self {
        let state = State {
            objects,
            history: VecDeque::new(),
            history_max,
            history_bytes: 0,
            oldest: at,
            newest: Revision(0),
            watchers: Vec::new(),
        };
        Self {
            kind,
            prefix: kind.key_prefix(),
            state: RwLock::new(state),
            nudges: Mutex::new(Vec::new()),
        }
    }

    /// Whether it is the bucket of a kind, whatever version of that is stored now.
    pub(crate) fn is_of(&self, kind: &KindInfo) -> bool {
        self.kind.plural == kind.plural && self.kind.group == kind.group
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Store key of an object.
    pub(crate) fn key(&self, namespace: Option<&str>, name: &str) -> String {
        match namespace {
            Some(namespace) if self.kind.namespaced => format!("{}{namespace}/{name}", self.prefix),
            _ => format!("{}{name}", self.prefix),
        }
    }

    /// Prefix of all keys of a namespace, or of the kind.
    pub(crate) fn scope(&self, namespace: Option<&str>) -> String {
        match namespace {
            Some(namespace) if self.kind.namespaced => format!("{}{namespace}/", self.prefix),
            _ => self.prefix.clone(),
        }
    }

    /// Applies one change; gives the step that went into history.
    pub(crate) fn apply(
        &self,
        key: Key,
        revision: Revision,
        new: Option<Arc<Object>>,
    ) -> Arc<Step> {
        let mut state = self.write();
        let previous = match &new {
            Some(object) => state.objects.insert(key.clone(), Arc::clone(object)),
            None => state.objects.remove(&key),
        };
        let step = Arc::new(Step::new(key, revision, new, previous));
        state.newest = revision;
        state.remember(Arc::clone(&step));
        state.watchers.retain(|w| deliver(w, &step));
        drop(state);
        self.nudge();
        step
    }

    pub(crate) fn on_change(&self, nudge: &Arc<Notify>) {
        let mut nudges = self.nudges.lock().unwrap_or_else(PoisonError::into_inner);
        nudges.retain(|n| n.strong_count() > 0);
        nudges.push(Arc::downgrade(nudge));
    }

    fn nudge(&self) {
        let nudges = self.nudges.lock().unwrap_or_else(PoisonError::into_inner);
        for nudge in nudges.iter().filter_map(Weak::upgrade) {
            nudge.notify_one();
        }
    }
}

/// Sends what the watcher cares for. False: it is gone or too slow, and is cut off.
fn deliver(watcher: &Watcher, step: &Step) -> bool {
    match watcher.filter.event(step) {
        None => !watcher.events.is_closed(),
        Some(event) => watcher.events.try_send(event).is_ok(),
    }
}

impl State {
    fn remember(&mut self, step: Arc<Step>) {
        let now = step.at;
        self.history_bytes += step.bytes();
        self.history.push_back(step);
        while let Some(first) = self.history.front() {
            let stale =
                now.duration_since(first.at) > HISTORY_AGE && self.history_bytes > HISTORY_BYTES;
            if self.history.len() <= self.history_max && !stale {
                break;
            }
            self.history_bytes -= first.bytes();
            self.oldest = first.revision;
            self.history.pop_front();
        }
    }

    /// Steps after `revision`; None when history no longer covers them.
    pub(crate) fn since(&self, revision: Revision) -> Option<impl Iterator<Item = &Arc<Step>>> {
        if revision < self.oldest {
            return None;
        }
        let from = self.history.partition_point(|s| s.revision <= revision);
        Some(self.history.range(from..))
    }

    /// The objects as they were at `revision`; None when history no longer covers it.
    pub(crate) fn at(&self, revision: Revision) -> Option<Objects> {
        let later: Vec<&Arc<Step>> = self.since(revision)?.collect();
        let mut objects = self.objects.clone();
        for step in later.into_iter().rev() {
            match &step.previous {
                Some(previous) => drop(objects.insert(step.key.clone(), Arc::clone(previous))),
                None => drop(objects.remove(&step.key)),
            }
        }
        Some(objects)
    }

    pub(crate) fn add(&mut self, watcher: Watcher) {
        self.watchers.retain(|w| !w.events.is_closed());
        self.watchers.push(watcher);
    }

    /// History has a hole: nobody may continue across it.
    pub(crate) fn forget(&mut self, at: Revision) {
        self.history.clear();
        self.history_bytes = 0;
        self.oldest = at;
        self.watchers.clear();
    }
}
