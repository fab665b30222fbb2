//! Putting values into the store, and what its refusals mean to a client.

use std::sync::Arc;
use std::time::Instant;

use beeline_api::{ApiError, KindInfo};
use beeline_store::{Revision, StoreError};
use serde_json::Value;

use crate::conversion;
use crate::encryption;
use crate::object::{self, Object};
use crate::registry::Registry;

/// Where a write goes.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) kind: &'static KindInfo,
    pub(crate) key: &'a str,
    pub(crate) name: &'a str,
}

/// Why a write has no result to show.
pub(crate) enum PutError {
    /// The store did not take it: nothing has changed.
    Refused(ApiError),
    /// It is in the store, but the cache has not shown it in time.
    Unseen(ApiError),
}

impl From<PutError> for ApiError {
    fn from(error: PutError) -> Self {
        let (PutError::Refused(error) | PutError::Unseen(error)) = error;
        error
    }
}

/// Creates (`expected` None) or replaces; returns once the cache shows it.
pub(crate) async fn put(
    registry: &Registry,
    place: Place<'_>,
    mut value: Value,
    expected: Option<Revision>,
) -> Result<Arc<Object>, PutError> {
    let inner = &registry.inner;
    if let Some(custom) = place.kind.custom {
        let stored = place.kind.stored();
        if custom.webhook.is_some() {
            let made = conversion::convert(registry, stored, vec![value]).await;
            value = made.map_err(PutError::Refused)?.pop().unwrap_or_default();
        }
        value["apiVersion"] = Value::from(stored.api_version());
    }
    let encoded = object::encode(value);
    let (text, value) = encoded.map_err(|e| PutError::Refused(ApiError::internal(e)))?;
    let encryption = inner.options.encryption.as_deref();
    let sealed = encryption::seal(encryption, place.kind, place.key, &text);
    let sealed = sealed.map_err(PutError::Refused)?;
    let began = Instant::now();
    let (operation, written) = match expected {
        None => ("create", inner.store.create(place.key, sealed).await),
        Some(at) => ("update", inner.store.update(place.key, sealed, at).await),
    };
    observe(registry, operation, place.kind, began);
    let revision = written.map_err(|e| PutError::Refused(refusal(place, e)))?;
    inner.cache.reach(revision).await.map_err(PutError::Unseen)?;
    Ok(Arc::new(Object::written(text, value, revision)))
}

fn observe(registry: &Registry, operation: &'static str, kind: &'static KindInfo, began: Instant) {
    if let Some(observed) = &registry.inner.options.store_observed {
        observed(operation, kind, began.elapsed());
    }
}

/// Removes; gives the last state with the revision of the removal.
pub(crate) async fn remove(
    registry: &Registry,
    place: Place<'_>,
    last: &Object,
) -> Result<Arc<Object>, ApiError> {
    let began = Instant::now();
    let removed = registry.inner.store.delete(place.key, last.revision).await;
    observe(registry, "delete", place.kind, began);
    let revision = removed.map_err(|e| refusal(place, e))?;
    registry.inner.cache.reach(revision).await?;
    Ok(Arc::new(last.at(revision)))
}

/// A store's refusal in upstream's words.
fn refusal(place: Place<'_>, error: StoreError) -> ApiError {
    let Place { kind, name, .. } = place;
    match error {
        StoreError::Exists { .. } => ApiError::already_exists(kind, name),
        StoreError::Conflict { .. } => ApiError::modified(kind, name),
        StoreError::NotFound { .. } => ApiError::not_found(kind, name),
        StoreError::TooLarge { size, limit, .. } => ApiError::new(
            413,
            "RequestEntityTooLarge",
            format!(
                "etcdserver: request is too large: the object has {size} bytes, the limit is {limit}"
            ),
        ),
        StoreError::OverLimit { limit } => ApiError::internal(format!(
            "etcdserver: mvcc: database space exceeded: objects take {limit} bytes, which is the limit; delete some"
        )),
        StoreError::Full => ApiError::internal(
            "etcdserver: mvcc: database space exceeded: free space on the data directory's file system; reads go on, and writes will as soon as there is room",
        ),
        StoreError::Failed { reason } => {
            ApiError::internal(format!("the store has failed: {reason}"))
        }
        StoreError::Unavailable { reason } => ApiError::unavailable(format!(
            "etcdserver: request timed out: {reason}; whether the write was done is not known"
        )),
        StoreError::Closed => ApiError::unavailable("the server is shutting down"),
        StoreError::Compacted { at } => {
            ApiError::expired(format!("history up to {at} has been compacted"))
        }
    }
}
