//! One server at a time: what a server keeps in memory, such as which addresses are free, no other may change meanwhile.
//!
//! A key of etcd's that goes with its lease says who it is. Others wait for it to be free, and take over when its holder
//! ends or is gone for as long as the lease lasts. Each write asks that the key is still the writer's own: one that was
//! taken over without knowing it writes nothing any more.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp, TxnOpResponse};
use tokio::time::Instant;

use super::Etcd;
use super::convert::outcome_unknown;
use crate::StoreError;

/// Who uses the etcd.
pub(super) const HOLDER_KEY: &str = "beeline/server";
/// How often a server that waits looks again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

impl Etcd {
    /// Waits until no other server uses this etcd, then holds it as `who` until the tasks stop.
    /// When it is lost, every write fails and `fatal` resolves.
    pub async fn hold(self: &Arc<Self>, who: &str) -> Result<(), StoreError> {
        let mut waited_for = String::new();
        loop {
            match self.try_hold(who).await? {
                None => return Ok(()),
                Some(other) if other != waited_for => {
                    tracing::info!(
                        server = other,
                        "another server uses this etcd, waiting for its end"
                    );
                    waited_for = other;
                }
                Some(_) => {}
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Says who else holds it, if somebody does.
    async fn try_hold(self: &Arc<Self>, who: &str) -> Result<Option<String>, StoreError> {
        let ttl = i64::try_from(self.options.hold.as_secs().max(1)).unwrap_or(i64::MAX);
        let mut leases = self.client.lease_client();
        let granted = Instant::now();
        let lease = self.answer(leases.grant(ttl, None)).await?.id();
        let free = Compare::create_revision(HOLDER_KEY, CompareOp::Equal, 0);
        let take = TxnOp::put(HOLDER_KEY, who, Some(PutOptions::new().with_lease(lease)));
        let look = TxnOp::get(HOLDER_KEY, None);
        let mut kv = self.kv();
        let answer =
            self.answer(kv.txn(Txn::new().when([free]).and_then([take]).or_else([look]))).await?;
        let at = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        self.saw(self.ours(at));
        if answer.succeeded() {
            self.held.store(at, Ordering::Release);
            self.tasks.spawn("etcd-hold", Arc::clone(self).keep(lease, granted));
            return Ok(None);
        }
        let _ = self.answer(leases.revoke(lease)).await;
        let holder = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(found) => {
                found.kvs().first().map(|kv| String::from_utf8_lossy(kv.value()).into_owned())
            }
            _ => None,
        });
        Ok(Some(holder.unwrap_or_else(|| "one that has just ended".to_owned())))
    }

    /// Keeps the lease alive; gives it up at the end, so that the next need not wait.
    async fn keep(self: Arc<Self>, lease: i64, mut renewed: Instant) {
        let (token, limit) = (self.tasks.token(), self.options.hold);
        while renewed.elapsed() < limit {
            if tokio::time::timeout(limit / 5, token.cancelled()).await.is_ok() {
                let _ = self.answer(self.client.lease_client().revoke(lease)).await;
                return;
            }
            let asked = Instant::now();
            match tokio::time::timeout(limit / 3, self.renew(lease)).await {
                Ok(Ok(true)) => renewed = asked,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the hold on etcd could not be renewed yet");
                }
                Err(_) => {
                    tracing::warn!("the hold on etcd could not be renewed yet: no answer in time");
                }
            }
        }
        self.lost.send_replace(true);
    }

    /// Whether the lease still lives.
    async fn renew(&self, lease: i64) -> Result<bool, StoreError> {
        let mut leases = self.client.lease_client();
        let (mut keeper, mut answers) = self.answer(leases.keep_alive(lease)).await?;
        self.answer(keeper.keep_alive()).await?;
        let answer = self.answer(answers.message()).await?;
        Ok(answer.is_some_and(|answer| answer.ttl() > 0))
    }

    /// Returns only if another server may use this etcd now: the process must end.
    pub async fn fatal(&self) -> StoreError {
        let mut lost = self.lost.subscribe();
        // The sender lives as long as `self`.
        let _ = lost.wait_for(|lost| *lost).await;
        taken_over()
    }

    /// What a write asks besides, once this server holds the etcd.
    pub(super) fn still_held(&self) -> Option<Compare> {
        match self.held.load(Ordering::Acquire) {
            0 => None,
            at => Some(Compare::create_revision(HOLDER_KEY, CompareOp::Equal, at)),
        }
    }

    /// Whether `response` is of a write that was refused since another server holds the etcd.
    pub(super) fn check_held(&self, responses: &[TxnOpResponse]) -> Result<(), StoreError> {
        let held = self.held.load(Ordering::Acquire);
        let Some(TxnOpResponse::Get(found)) = responses.get(1) else {
            return Err(outcome_unknown("an answer that was not asked for"));
        };
        let at = found.kvs().first().map_or(0, etcd_client::KeyValue::create_revision);
        if held == 0 || at == held {
            return Ok(());
        }
        self.lost.send_replace(true);
        Err(taken_over())
    }
}

fn taken_over() -> StoreError {
    StoreError::Failed { reason: "another server may use this etcd now".to_owned() }
}
