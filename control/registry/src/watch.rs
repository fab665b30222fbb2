//! Watches: events of the objects a caller selected, in revision order, without gaps.
//!
//! In: a revision to start from and selectors. Out: a stream of events, ended by its timeout, by the server's end, or by
//! the watcher being too slow; the client then goes on from the last revision it saw.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use beeline_api::selectors::{FieldSelector, LabelSelector};
use beeline_api::{ApiError, KindInfo};
use beeline_store::Revision;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::bucket::{State, Step, Watcher, under};
use crate::list;
use crate::object::{EventKind, Object, WatchEvent};
use crate::options::{Target, VersionMatch, WatchOptions};
use crate::registry::Registry;
use crate::views;

/// How long before its end a stream sends a last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// What a watcher selects.
pub(crate) struct Filter {
    kind: &'static KindInfo,
    scope: String,
    /// The one object, where the watch is of one.
    name: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Filter {
    fn matches(&self, object: &Object) -> bool {
        self.name.as_deref().is_none_or(|name| name == object.name())
            && (self.labels.is_empty() || self.labels.matches(object.labels()))
            && (self.fields.is_empty() || self.fields.matches(self.kind, &object.value))
    }

    /// What this watcher sees of a step.
    pub(crate) fn event(&self, step: &Step) -> Option<WatchEvent> {
        if !step.key.starts_with(&self.scope) {
            return None;
        }
        let was = step.previous.as_ref().filter(|o| self.matches(o));
        let is = step.new.as_ref().filter(|o| self.matches(o));
        let (kind, object) = match (was, is) {
            (None, None) => return None,
            (None, Some(new)) => (EventKind::Added, Arc::clone(new)),
            (Some(_), Some(new)) => (EventKind::Modified, Arc::clone(new)),
            (Some(_), None) => (EventKind::Deleted, step.last_state()?),
        };
        Some(WatchEvent { kind, object, revision: step.revision })
    }
}

/// A running watch.
pub struct ObjectWatch {
    registry: Registry,
    kind: &'static KindInfo,
    initial: VecDeque<WatchEvent>,
    events: mpsc::Receiver<WatchEvent>,
    /// The next one, on its way into the caller's version.
    held: Option<WatchEvent>,
    /// Revision of the last event or bookmark handed out.
    seen: Revision,
    bookmark: Option<(Duration, Instant)>,
    end: Option<Instant>,
}

/// Starts a watch.
pub(crate) async fn watch(
    registry: &Registry,
    target: &Target,
    o: &WatchOptions,
) -> Result<ObjectWatch, ApiError> {
    let start = start(registry, o).await?;
    let bucket = registry.inner.cache.bucket(target.kind);
    let filter = Arc::new(Filter {
        kind: target.kind.stored(),
        scope: bucket.scope(target.namespace.as_deref()),
        name: target.name.clone(),
        labels: o.labels.clone(),
        fields: o.fields.clone(),
    });
    let (events, receiver) = mpsc::channel(registry.inner.options.watch_buffer.max(1));
    let mut state = bucket.write();
    let now = registry.inner.cache.applied().max(state.newest);
    let (initial, seen) = match start {
        Start::Current { mark_end } => {
            let mark_end = mark_end.then_some(target.kind);
            (current(&state, &filter, now, mark_end), now)
        }
        Start::Now => (VecDeque::new(), now),
        Start::After(revision) => (since(&state, &filter, revision)?, revision),
    };
    state.add(Watcher { filter, events });
    drop(state);
    let at = Instant::now();
    let every = registry.inner.options.bookmark_interval;
    Ok(ObjectWatch {
        registry: registry.clone(),
        kind: target.kind,
        initial,
        events: receiver,
        held: None,
        seen,
        bookmark: o.bookmarks.then_some((every, at + every)),
        end: o.timeout.map(|t| at + t),
    })
}

enum Start {
    /// All current objects first.
    Current { mark_end: bool },
    /// Only what happens from now on.
    Now,
    /// All changes after a revision.
    After(Revision),
}

async fn start(registry: &Registry, o: &WatchOptions) -> Result<Start, ApiError> {
    let asked = o.resource_version.as_deref().unwrap_or_default();
    if o.send_initial_events.is_none() && o.version_match.is_some() {
        return Err(invalid(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ));
    }
    if o.send_initial_events.is_some() && o.version_match != Some(VersionMatch::NotOlderThan) {
        return Err(invalid(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    let revision = if asked.is_empty() { Revision(0) } else { list::version(asked)? };
    let cache = &registry.inner.cache;
    if asked.is_empty() {
        cache.reach(registry.inner.store.revision()).await?;
    } else {
        cache.reach(revision).await?;
    }
    Ok(match o.send_initial_events {
        Some(true) => Start::Current { mark_end: o.bookmarks },
        Some(false) if revision.0 == 0 => Start::Now,
        None if revision.0 == 0 => Start::Current { mark_end: false },
        _ => Start::After(revision),
    })
}

fn invalid(field: &str, why: &str) -> ApiError {
    let cause = beeline_api::validate::forbidden(field, why);
    let message =
        format!("ListOptions.meta.k8s.io \"\" is invalid: {}: {}", cause.field, cause.message);
    ApiError::new(422, "Invalid", message).with_causes(vec![cause])
}

fn current(
    state: &State,
    filter: &Filter,
    now: Revision,
    mark_end: Option<&KindInfo>,
) -> VecDeque<WatchEvent> {
    let range = under(&state.objects, &filter.scope, &filter.scope);
    let mut events: VecDeque<WatchEvent> = range
        .filter(|(_, o)| filter.matches(o))
        .map(|(_, o)| WatchEvent {
            kind: EventKind::Added,
            object: Arc::clone(o),
            revision: o.revision,
        })
        .collect();
    if let Some(kind) = mark_end {
        events.push_back(bookmark(kind, now, true));
    }
    events
}

fn since(
    state: &State,
    filter: &Filter,
    revision: Revision,
) -> Result<VecDeque<WatchEvent>, ApiError> {
    match state.since(revision) {
        Some(steps) => Ok(steps.filter_map(|s| filter.event(s)).collect()),
        None => Err(ApiError::too_old(revision.0, state.oldest.0)),
    }
}

fn bookmark(kind: &KindInfo, revision: Revision, initial_end: bool) -> WatchEvent {
    let mut value: Value = json!({
        "kind": kind.kind, "apiVersion": kind.api_version(),
        "metadata": { "resourceVersion": revision.0.to_string(), "creationTimestamp": null },
    });
    if initial_end {
        value["metadata"]["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
    }
    WatchEvent {
        kind: EventKind::Bookmark,
        object: Arc::new(Object::transient(value, revision)),
        revision,
    }
}

impl ObjectWatch {
    /// The next event. None: the watch is over, start a new one from [`Self::seen`]. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<WatchEvent> {
        if self.held.is_none()
            && let Some(event) = self.initial.pop_front()
        {
            self.seen = self.seen.max(event.revision);
            self.held = Some(event);
        }
        loop {
            if self.held.is_some() {
                return self.shown().await;
            }
            let wake = self.wake();
            tokio::select! {
                biased;
                event = self.events.recv() => {
                    let event = event?;
                    self.seen = self.seen.max(event.revision);
                    self.held = Some(event);
                    continue;
                }
                () = sleep_until(wake) => {}
            }
            if self.end.is_some_and(|end| Instant::now() >= end) {
                return None;
            }
            if let Some(event) = self.due_bookmark() {
                return Some(event);
            }
        }
    }

    /// The held event in the caller's version. It stays held until it is that, so that cancelling loses nothing.
    async fn shown(&mut self) -> Option<WatchEvent> {
        let event = self.held.clone()?;
        let shown = views::event(&self.registry, self.kind, event).await;
        self.held = None;
        shown.inspect_err(|why| tracing::warn!(kind = self.kind.kind, "a watch ends: {why}")).ok()
    }

    /// Revision up to which everything has been handed out.
    pub fn seen(&self) -> Revision {
        self.seen
    }

    /// When to look at the clock again.
    fn wake(&self) -> Option<Instant> {
        let bookmark = self.bookmark.map(|(_, at)| at);
        match (bookmark, self.end) {
            (Some(b), Some(e)) => Some(b.min(e)),
            (b, e) => b.or(e),
        }
    }

    /// A bookmark, if one is due and nothing waits to be handed out before it.
    fn due_bookmark(&mut self) -> Option<WatchEvent> {
        let (every, at) = self.bookmark?;
        let now = Instant::now();
        if now < at {
            return None;
        }
        // Read first: all events up to it are in the queue by then. So an empty queue means all were handed out.
        let applied = self.registry.revision();
        if !self.events.is_empty() {
            return None;
        }
        let last_chance = self.end.and_then(|e| e.checked_sub(LAST_BOOKMARK)).filter(|l| *l > now);
        self.bookmark = Some((every, last_chance.map_or(now + every, |l| l.min(now + every))));
        self.seen = self.seen.max(applied);
        Some(bookmark(self.kind, self.seen, false))
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
