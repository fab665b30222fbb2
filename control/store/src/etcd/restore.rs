//! What a file holds, into an etcd that holds nothing.
//!
//! A mark is there from before the first key to after the last: no server uses an etcd that is half restored.

use std::path::Path;

use etcd_client::{Client, GetOptions, Txn, TxnOp};

use super::convert::{outcome_unknown, sort};
use super::load::{self, OFFSET_KEY, RESTORING_KEY};
use super::{ANSWER_LIMIT, EtcdOptions, ROOT, connect};
use crate::backup::{Contents, Progress};
use crate::snapshot::Reader;
use crate::{Entry, OpenError, Revision, StoreError};

/// etcd's default limits: 128 operations in a transaction, 1.5 MiB in a request.
const TXN_OPS_MAX: usize = 120;
const TXN_BYTES_MAX: usize = 1 << 20;

/// Puts what a file holds into an etcd without keys. Revisions go on from those of the file, and `bump` beyond.
pub async fn restore_etcd(
    file: &Path,
    options: &EtcdOptions,
    bump: u64,
    progress: Progress<'_>,
) -> Result<Contents, OpenError> {
    let failed = |error: StoreError| OpenError::Etcd {
        endpoints: options.endpoints.join(", "),
        reason: error.to_string(),
    };
    let contents = crate::backup::verify(file)?;
    let client = connect::client(options).await.map_err(failed)?;
    refuse_occupied(&client).await.map_err(failed)?;
    txn(&client, vec![TxnOp::put(RESTORING_KEY, "yes", None)]).await.map_err(failed)?;
    let mut entries = Vec::new();
    Reader::open(file)?.entries(|entry| entries.push(entry))?;
    put_all(&client, entries, progress).await.map_err(failed)?;
    let offset = contents.revision.0.saturating_add(bump);
    let end =
        vec![TxnOp::put(OFFSET_KEY, offset.to_string(), None), TxnOp::delete(RESTORING_KEY, None)];
    let at = txn(&client, end).await.map_err(failed)?;
    Ok(Contents { revision: Revision(at + offset), ..contents })
}

async fn refuse_occupied(client: &Client) -> Result<(), StoreError> {
    let options = GetOptions::new().with_range(load::end_of(ROOT)).with_limit(1).with_keys_only();
    let mut kv = client.kv_client();
    let answer = tokio::time::timeout(ANSWER_LIMIT, kv.get(ROOT, Some(options))).await;
    let answer = answer.map_err(|_| outcome_unknown("no answer in time"))?;
    match answer.map_err(|error| sort(&error))?.kvs().first() {
        None => Ok(()),
        Some(_) => Err(outcome_unknown(
            "it holds keys already, and nothing is restored over them: remove them (`etcdctl del / --prefix`), or use another",
        )),
    }
}

async fn put_all(
    client: &Client,
    entries: Vec<Entry>,
    progress: Progress<'_>,
) -> Result<(), StoreError> {
    let (mut ops, mut bytes, mut done) = (Vec::new(), 0, 0);
    for entry in entries {
        let size = entry.key.len() + entry.value.len();
        if ops.len() == TXN_OPS_MAX || (bytes + size > TXN_BYTES_MAX && !ops.is_empty()) {
            done += ops.len() as u64;
            txn(client, std::mem::take(&mut ops)).await?;
            progress(done);
            bytes = 0;
        }
        bytes += size;
        ops.push(TxnOp::put(entry.key.as_str(), entry.value, None));
    }
    if !ops.is_empty() {
        done += ops.len() as u64;
        txn(client, ops).await?;
        progress(done);
    }
    Ok(())
}

async fn txn(client: &Client, ops: Vec<TxnOp>) -> Result<u64, StoreError> {
    let mut kv = client.kv_client();
    let answer = tokio::time::timeout(ANSWER_LIMIT, kv.txn(Txn::new().and_then(ops))).await;
    let answer = answer.map_err(|_| outcome_unknown("no answer in time"))?;
    let answer = answer.map_err(|error| sort(&error))?;
    let at = answer.header().map_or(0, etcd_client::ResponseHeader::revision);
    Ok(u64::try_from(at).unwrap_or(0))
}
