//! The backend for clusters with several servers: etcd v3, which is theirs alone.
//!
//! In: the trait's operations. Out: etcd's answers, in our words. A key is etcd's key and a revision etcd's revision, plus an
//! offset that is zero unless the contents came from elsewhere (see `backup`): so revisions never go back, not even then.
//! Refuses: saying that a write was not done when it is not known (`Unavailable`), and keys that do not begin with `/`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use beeline_kit::Tasks;
use bytes::Bytes;
use etcd_client::{Client, Compare, CompareOp, GetOptions, KvClient, Txn, TxnOp, TxnOpResponse};
use tokio::sync::watch;

use crate::etcd::convert::{entry, outcome_unknown, sort};
use crate::{Entry, OpenError, Revision, Store, StoreError, Watch};

mod connect;
mod convert;
mod history;
mod hold;
mod load;
mod restore;
mod watching;

pub use connect::{EtcdOptions, EtcdTls};
pub use restore::restore_etcd;

/// How long etcd may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// A page of a range, and of what is loaded.
const PAGE_KEYS: i64 = 500;
/// A page may be as large as so many of the largest values.
const MESSAGE_BYTES_MAX: usize = 1 << 30;
/// All keys begin with this.
const ROOT: &str = "/";

/// The store of a cluster with several servers.
pub struct Etcd {
    client: Client,
    options: EtcdOptions,
    /// What is added to etcd's revisions.
    offset: u64,
    /// The newest revision that etcd has told us of, and the newest that we know to be forgotten.
    seen: Arc<AtomicU64>,
    compacted: AtomicU64,
    /// Whether it answered the last time it was asked.
    answers: AtomicBool,
    /// etcd's revision at which this server took hold of it, zero before; and whether it has lost it.
    held: AtomicI64,
    lost: watch::Sender<bool>,
    tasks: Tasks,
}

/// What a write found where it should not have.
struct Found(Option<Revision>);

// === impl Etcd ===

impl Etcd {
    /// Connects. Watches and the forgetting of old history end when `tasks` stop.
    pub async fn connect(options: EtcdOptions, tasks: &Tasks) -> Result<Arc<Self>, OpenError> {
        let failed = |error: StoreError| OpenError::Etcd {
            endpoints: options.endpoints.join(", "),
            reason: error.to_string(),
        };
        let client = connect::client(&options).await.map_err(failed)?;
        let (offset, at) = load::offset(&client).await.map_err(failed)?;
        let store = Arc::new(Self {
            client,
            options,
            offset,
            seen: Arc::new(AtomicU64::new(at + offset)),
            compacted: AtomicU64::new(0),
            answers: AtomicBool::new(true),
            held: AtomicI64::new(0),
            lost: watch::Sender::new(false),
            tasks: tasks.child(),
        });
        store.tasks.spawn("etcd-history", history::keep_short(Arc::clone(&store)));
        Ok(store)
    }

    /// Forgets all but the newest `keep` changes.
    pub async fn trim(&self, keep: u64) -> Result<(), StoreError> {
        self.compact(Revision(self.revision().0.saturating_sub(keep))).await
    }

    /// Whether etcd answered the last time it was asked.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Waits for an answer, within the limit.
    async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, etcd_client::Error>>,
    ) -> Result<T, StoreError> {
        let answer = tokio::time::timeout(ANSWER_LIMIT, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(convert::late())).map_err(|error| sort(&error));
        self.answers
            .store(!matches!(answer, Err(StoreError::Unavailable { .. })), Ordering::Relaxed);
        answer
    }

    fn kv(&self) -> KvClient {
        self.client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Ours from etcd's.
    fn ours(&self, revision: i64) -> Revision {
        Revision(u64::try_from(revision).unwrap_or(0) + self.offset)
    }

    /// etcd's from ours. What is older than all that etcd has is a revision at which nothing was written.
    fn theirs(&self, revision: Revision) -> i64 {
        i64::try_from(revision.0.saturating_sub(self.offset)).unwrap_or(i64::MAX)
    }

    fn saw(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::AcqRel);
    }

    /// Does `then` if the key is at `expected` (zero: not there), else says where it is.
    async fn write(
        &self,
        key: &str,
        expected: i64,
        then: TxnOp,
    ) -> Result<Result<Revision, Found>, StoreError> {
        let there = Compare::mod_revision(key, CompareOp::Equal, expected);
        let compares: Vec<Compare> = self.still_held().into_iter().chain([there]).collect();
        let look = TxnOp::get(key, Some(GetOptions::new().with_keys_only()));
        let holder = TxnOp::get(hold::HOLDER_KEY, None);
        let txn = Txn::new().when(compares).and_then([then]).or_else([look, holder]);
        let mut kv = self.kv();
        let answer = self.answer(kv.txn(txn)).await?;
        let at = answer.header().map_or(Revision(0), |header| self.ours(header.revision()));
        self.saw(at);
        if answer.succeeded() {
            return Ok(Ok(at));
        }
        let responses = answer.op_responses();
        self.check_held(&responses)?;
        let current = responses.into_iter().next().and_then(|response| match response {
            TxnOpResponse::Get(found) => found.kvs().first().map(|kv| self.ours(kv.mod_revision())),
            _ => None,
        });
        Ok(Err(Found(current)))
    }

    /// An update or a deletion.
    async fn change(
        &self,
        key: &str,
        expected: Revision,
        then: TxnOp,
    ) -> Result<Revision, StoreError> {
        // A key at zero is one that is not there; -1 is never.
        let theirs = match self.theirs(expected) {
            0 => -1,
            theirs => theirs,
        };
        let key_of = || key.to_owned();
        match self.write(key, theirs, then).await? {
            Ok(revision) => Ok(revision),
            Err(Found(None)) => Err(StoreError::NotFound { key: key_of() }),
            Err(Found(current)) => Err(StoreError::Conflict { key: key_of(), expected, current }),
        }
    }
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Etcd").field("endpoints", &self.options.endpoints).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for Etcd {
    async fn create(&self, key: &str, value: Bytes) -> Result<Revision, StoreError> {
        convert::check(key, value.len())?;
        match self.write(key, 0, TxnOp::put(key, value, None)).await? {
            Ok(revision) => Ok(revision),
            Err(Found(_)) => Err(StoreError::Exists { key: key.to_owned() }),
        }
    }

    async fn update(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
    ) -> Result<Revision, StoreError> {
        convert::check(key, value.len())?;
        self.change(key, expected, TxnOp::put(key, value, None)).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<Revision, StoreError> {
        self.change(key, expected, TxnOp::delete(key, None)).await
    }

    async fn compact(&self, to: Revision) -> Result<(), StoreError> {
        let to = to.min(self.revision());
        let theirs = self.theirs(to);
        if theirs == 0 || to.0 <= self.compacted.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut kv = self.kv();
        let answer = tokio::time::timeout(ANSWER_LIMIT, kv.compact(theirs, None)).await;
        match answer.map_err(|_| outcome_unknown("no answer in time"))? {
            Ok(_) => {}
            // Another server was faster.
            Err(error) if convert::is_compacted(&error) => {}
            Err(error) => return Err(sort(&error)),
        }
        self.compacted.fetch_max(to.0, Ordering::AcqRel);
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let mut kv = self.kv();
        let mut answer = self.answer(kv.get(key, None)).await?;
        if let Some(header) = answer.header() {
            self.saw(self.ours(header.revision()));
        }
        Ok(answer.take_kvs().into_iter().next().map(|kv| entry(self, kv)).transpose()?)
    }

    async fn range(&self, prefix: &str) -> Result<(Vec<Entry>, Revision), StoreError> {
        let (entries, revision) = load::range(self, prefix).await?;
        self.saw(revision);
        Ok((entries, revision))
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        watching::begin(self, prefix, after).await
    }

    fn revision(&self) -> Revision {
        Revision(self.seen.load(Ordering::Acquire))
    }
}
