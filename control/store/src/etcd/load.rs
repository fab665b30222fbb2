//! Reading much: in pages, all as of one revision.

use etcd_client::{Client, GetOptions, KeyValue, Txn, TxnOp, TxnOpResponse};

use super::convert::{self, entry, outcome_unknown, sort};
use super::{ANSWER_LIMIT, Etcd, PAGE_KEYS, ROOT};
use crate::{Entry, Revision, StoreError};

/// Where the offset is kept: outside of all that the store's keys can be.
pub(crate) const OFFSET_KEY: &str = "beeline/revision-offset";
/// There while a restore is under way, or was given up.
pub(crate) const RESTORING_KEY: &str = "beeline/restoring";
/// How often reading starts over when history is forgotten under it.
const ATTEMPTS: u32 = 3;

/// What is added to etcd's revisions, and etcd's revision now.
pub(super) async fn offset(client: &Client) -> Result<(u64, u64), StoreError> {
    let mut kv = client.kv_client();
    let both = Txn::new().and_then([TxnOp::get(OFFSET_KEY, None), TxnOp::get(RESTORING_KEY, None)]);
    let answer = tokio::time::timeout(ANSWER_LIMIT, kv.txn(both)).await;
    let answer = answer.map_err(|_| outcome_unknown("no answer in time"))?;
    let answer = answer.map_err(|error| sort(&error))?;
    let at = answer.header().map_or(0, |header| u64::try_from(header.revision()).unwrap_or(0));
    let found = answer.op_responses().into_iter().filter_map(|response| match response {
        TxnOpResponse::Get(mut found) => Some(found.take_kvs().into_iter().next()),
        _ => None,
    });
    let found: Vec<Option<KeyValue>> = found.collect();
    if let [_, Some(_)] = &found[..] {
        return Err(outcome_unknown(
            "a restore into it has not come to its end: empty it and restore again (`etcdctl del \"\" --from-key`)",
        ));
    }
    let Some(kv) = found.into_iter().next().flatten() else { return Ok((0, at)) };
    let text = std::str::from_utf8(kv.value()).ok();
    let offset = text.and_then(|text| text.parse().ok());
    let offset =
        offset.ok_or_else(|| outcome_unknown("its key beeline/revision-offset holds no number"))?;
    Ok((offset, at))
}

/// All keys with this prefix, and the revision at which these were all.
pub(super) async fn range(
    store: &Etcd,
    prefix: &str,
) -> Result<(Vec<Entry>, Revision), StoreError> {
    let prefix = if prefix.is_empty() { ROOT } else { prefix };
    let mut attempts = 1;
    loop {
        match pages(store, prefix).await {
            Err(Interrupted::Compacted) if attempts < ATTEMPTS => attempts += 1,
            Err(Interrupted::Compacted) => {
                return Err(outcome_unknown("history is forgotten faster than it can be read"));
            }
            Err(Interrupted::Error(error)) => return Err(error),
            Ok(found) => return Ok(found),
        }
    }
}

/// Why not all pages could be read.
enum Interrupted {
    Compacted,
    Error(StoreError),
}

async fn pages(store: &Etcd, prefix: &str) -> Result<(Vec<Entry>, Revision), Interrupted> {
    let mut kv = store.kv();
    let (mut entries, mut at, mut from) = (Vec::new(), 0, prefix.as_bytes().to_vec());
    loop {
        let options =
            GetOptions::new().with_range(end_of(prefix)).with_limit(PAGE_KEYS).with_revision(at);
        let answer = tokio::time::timeout(ANSWER_LIMIT, kv.get(from.clone(), Some(options))).await;
        let mut answer = match answer {
            Err(_) => return Err(Interrupted::Error(outcome_unknown("no answer in time"))),
            Ok(Err(error)) if convert::is_compacted(&error) => return Err(Interrupted::Compacted),
            Ok(Err(error)) => return Err(Interrupted::Error(sort(&error))),
            Ok(Ok(answer)) => answer,
        };
        if at == 0 {
            at = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
        }
        let more = answer.more();
        for kv in answer.take_kvs() {
            entries.push(entry(store, kv).map_err(Interrupted::Error)?);
        }
        let Some(last) = entries.last().filter(|_| more) else {
            return Ok((entries, store.ours(at)));
        };
        from = last.key.as_bytes().to_vec();
        from.push(0);
    }
}

/// The first key behind all with this prefix. No prefix of ours ends in the last of all bytes, which is not text.
pub(super) fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}
