//! Watches of etcd: one stream each, taken up again where it was broken off.
//!
//! In: etcd's events. Out: batches of changes, as from the other backends. A watch that etcd cannot continue, since it has
//! forgotten what comes next, ends as one that fell behind: who resumes by revision is then told to list.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use beeline_kit::Backoff;
use bytes::Bytes;
use etcd_client::{Client, Event, EventType, GetOptions, WatchOptions, WatchResponse, WatchStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::convert::{self, outcome_unknown, sort};
use super::{ANSWER_LIMIT, Etcd, MESSAGE_BYTES_MAX, ROOT, load};
use crate::{Change, Entry, Revision, StoreError, Watch};

/// How long etcd takes at most to say that it has forgotten: it looks every 100 ms.
const VERDICT_LIMIT: Duration = Duration::from_secs(1);

/// A watch and whom it feeds.
struct Pump {
    client: Client,
    prefix: String,
    offset: u64,
    /// Up to here everything was handed on.
    after: Revision,
    batches: mpsc::Sender<Vec<Change>>,
    lagged: Arc<AtomicBool>,
    seen: Arc<AtomicU64>,
}

/// Why a stream is not read on.
enum Broken {
    /// Nobody listens, or nothing can follow.
    Over,
    /// It can be taken up again.
    Off(String),
}

/// Begins a watch, or says that its history is forgotten.
pub(super) async fn begin(
    store: &Etcd,
    prefix: &str,
    after: Revision,
) -> Result<Watch, StoreError> {
    // What was before the contents came here, no etcd knows.
    if after.0 < store.offset {
        return Err(StoreError::Compacted { at: Revision(store.offset) });
    }
    let prefix = if prefix.is_empty() { ROOT } else { prefix };
    let (batches, receiver) = mpsc::channel(store.options.watch_queue.max(1));
    let lagged = Arc::new(AtomicBool::new(false));
    let pump = Pump {
        client: store.client.clone(),
        prefix: prefix.to_owned(),
        offset: store.offset,
        after,
        batches,
        lagged: Arc::clone(&lagged),
        seen: Arc::clone(&store.seen),
    };
    let stream = pump.open().await?;
    if is_forgotten(store, after).await? {
        return Err(StoreError::Compacted { at: verdict(store, stream, after).await });
    }
    store.tasks.spawn("etcd-watch", pump.run(stream, store.tasks.token()));
    Ok(Watch::new(receiver, lagged))
}

/// Whether changes after `after` are not all known any more: then etcd refuses to read as of that revision.
async fn is_forgotten(store: &Etcd, after: Revision) -> Result<bool, StoreError> {
    let theirs = store.theirs(after).max(1);
    let options = GetOptions::new().with_revision(theirs).with_keys_only();
    let mut kv = store.kv();
    let answer = tokio::time::timeout(ANSWER_LIMIT, kv.get(load::OFFSET_KEY, Some(options))).await;
    match answer.map_err(|_| outcome_unknown("no answer in time"))? {
        Err(error) if convert::is_compacted(&error) => Ok(true),
        Err(error) if !convert::is_future(&error) => Err(sort(&error)),
        _ => Ok(false),
    }
}

/// Up to which revision etcd has forgotten, as it says when it ends a watch; it says so only there. A watch that it does not
/// end begins with the last forgotten one, which it still has.
async fn verdict(store: &Etcd, mut stream: WatchStream, after: Revision) -> Revision {
    let heard = tokio::time::timeout(VERDICT_LIMIT, async {
        while let Ok(Some(answer)) = stream.message().await {
            if answer.compact_revision() > 0 {
                return store.ours(answer.compact_revision());
            }
        }
        Revision(0)
    });
    let known = Revision(store.compacted.load(Ordering::Acquire));
    let at = heard.await.unwrap_or_default().max(known).max(after.next());
    store.compacted.fetch_max(at.0, Ordering::AcqRel);
    at
}

// === impl Pump ===

impl Pump {
    /// A stream of all that comes after what was handed on.
    async fn open(&self) -> Result<WatchStream, StoreError> {
        let next = (self.after.0 + 1).saturating_sub(self.offset).max(1);
        let options = WatchOptions::new()
            .with_range(load::end_of(&self.prefix))
            .with_prev_key()
            .with_start_revision(i64::try_from(next).unwrap_or(i64::MAX));
        let mut client = self.client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
        let stream = client.watch(self.prefix.as_str(), Some(options));
        let stream = tokio::time::timeout(ANSWER_LIMIT, stream).await;
        stream.map_err(|_| outcome_unknown("no answer in time"))?.map_err(|error| sort(&error))
    }

    async fn run(mut self, mut stream: WatchStream, stop: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        let listener = self.batches.clone();
        loop {
            let broken = tokio::select! {
                () = stop.cancelled() => Broken::Over,
                () = listener.closed() => Broken::Over,
                broken = self.follow(&mut stream, &mut backoff) => broken,
            };
            let Broken::Off(reason) = broken else { return };
            tracing::debug!(reason, after = %self.after, "a watch of etcd is taken up again");
            stream = loop {
                let pause = tokio::time::timeout(backoff.next(), stop.cancelled()).await;
                if pause.is_ok() || self.batches.is_closed() {
                    return;
                }
                match self.open().await {
                    Ok(stream) => break stream,
                    Err(error) => tracing::debug!(%error, "etcd cannot be watched yet"),
                }
            };
        }
    }

    async fn follow(&mut self, stream: &mut WatchStream, backoff: &mut Backoff) -> Broken {
        loop {
            let answer = match stream.message().await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Broken::Off("the stream has ended".into()),
                Err(error) => return Broken::Off(sort(&error).to_string()),
            };
            if answer.canceled() {
                return match answer.compact_revision() {
                    0 => Broken::Off(answer.cancel_reason().to_owned()),
                    _ => self.cut_off(),
                };
            }
            backoff.reset();
            if let Some(broken) = self.hand_on(&answer) {
                return broken;
            }
        }
    }

    fn hand_on(&mut self, answer: &WatchResponse) -> Option<Broken> {
        let changes: Vec<Change> = answer
            .events()
            .iter()
            .filter_map(|event| self.change(event))
            .filter(|change| change.revision() > self.after)
            .collect();
        let last = changes.last()?.revision();
        self.seen.fetch_max(last.0, Ordering::AcqRel);
        match self.batches.try_send(changes) {
            Ok(()) => self.after = last,
            Err(mpsc::error::TrySendError::Full(_)) => return Some(self.cut_off()),
            Err(mpsc::error::TrySendError::Closed(_)) => return Some(Broken::Over),
        }
        None
    }

    fn cut_off(&self) -> Broken {
        self.lagged.store(true, Ordering::Release);
        Broken::Over
    }

    fn change(&self, event: &Event) -> Option<Change> {
        let kv = event.kv()?;
        // The store takes text alone, and etcd is its alone.
        let key = kv.key_str().ok()?;
        let ours = |revision: i64| Revision(u64::try_from(revision).unwrap_or(0) + self.offset);
        let entry = |kv: &etcd_client::KeyValue| Entry {
            key: key.into(),
            value: Bytes::copy_from_slice(kv.value()),
            create_revision: ours(kv.create_revision()),
            mod_revision: ours(kv.mod_revision()),
        };
        Some(match event.event_type() {
            EventType::Put => Change::Put(entry(kv)),
            EventType::Delete => Change::Delete {
                key: key.into(),
                revision: ours(kv.mod_revision()),
                previous: entry(event.prev_kv().unwrap_or(kv)),
            },
        })
    }
}
