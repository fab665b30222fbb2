//! etcd's words in ours.

use etcd_client::{Error, KeyValue};

use super::{Etcd, ROOT};
use crate::{Entry, KEY_BYTES_MAX, StoreError, VALUE_BYTES_MAX};

pub(super) fn entry(store: &Etcd, kv: KeyValue) -> Result<Entry, StoreError> {
    let (create, modified) = (kv.create_revision(), kv.mod_revision());
    let (key, value) = kv.into_key_value();
    let key = std::str::from_utf8(&key).map_err(|_| StoreError::Unavailable {
        reason: format!("etcd holds a key that is not text: {key:?}"),
    })?;
    Ok(Entry {
        key: key.into(),
        value: value.into(),
        create_revision: store.ours(create),
        mod_revision: store.ours(modified),
    })
}

/// The same limits as everywhere, and keys that a watch of all keys sees.
pub(super) fn check(key: &str, value_bytes: usize) -> Result<(), StoreError> {
    for (what, size, limit) in
        [("the key", key.len(), KEY_BYTES_MAX), ("the value", value_bytes, VALUE_BYTES_MAX)]
    {
        if size > limit {
            return Err(StoreError::TooLarge { key: key.to_owned(), what, size, limit });
        }
    }
    if key.starts_with(ROOT) {
        return Ok(());
    }
    Err(StoreError::Unavailable { reason: format!("key {key} does not begin with {ROOT}") })
}

pub(super) fn outcome_unknown(reason: &str) -> StoreError {
    StoreError::Unavailable { reason: format!("etcd: {reason}") }
}

/// The same as an error of etcd's.
pub(super) fn late() -> Error {
    Error::Internal("no answer in time".into())
}

/// What an error of etcd's means to the caller.
pub(super) fn sort(error: &Error) -> StoreError {
    let text = message(error);
    if text.contains("database space exceeded") {
        return StoreError::Full;
    }
    StoreError::Unavailable { reason: format!("etcd: {text}") }
}

/// Whether a revision was asked for that etcd has forgotten.
pub(super) fn is_compacted(error: &Error) -> bool {
    message(error).contains("required revision has been compacted")
}

/// Whether a revision was asked for that is yet to come.
pub(super) fn is_future(error: &Error) -> bool {
    message(error).contains("required revision is a future revision")
}

/// etcd's own words, without those of the layers in between.
fn message(error: &Error) -> String {
    match error {
        Error::GRpcStatus(status) => status.message().to_owned(),
        // The cause says more than the layer.
        Error::TransportError(error) => beeline_kit::chain(error),
        other => other.to_string(),
    }
}
