//! Stored objects as everyone shares them, and what lists and watches are made of.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use beeline_api::ApiError;
use beeline_store::Revision;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One version of one object. Immutable, encoded once, shared by all.
#[derive(Debug)]
pub struct Object {
    /// The object, resourceVersion, apiVersion and kind included.
    pub value: Value,
    /// The same, encoded.
    pub json: Bytes,
    /// Revision of the write that made this version.
    pub revision: Revision,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// A version is told by its revision; views compare versions of one key only.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

impl Object {
    /// Puts the revision into the object and encodes it.
    pub(crate) fn new(mut value: Value, revision: Revision) -> Self {
        value["metadata"]["resourceVersion"] = Value::from(revision.0.to_string());
        let json = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        Self { value, json, revision, typed: OnceLock::new() }
    }

    /// An object that is no stored version: dry-run results, `Scale`, `Status`.
    pub(crate) fn transient(value: Value, revision: Revision) -> Self {
        let json = Bytes::from(serde_json::to_vec(&value).unwrap_or_default());
        Self { value, json, revision, typed: OnceLock::new() }
    }

    fn meta(&self, field: &str) -> &str {
        self.value["metadata"][field].as_str().unwrap_or_default()
    }

    /// `metadata.name`
    pub fn name(&self) -> &str {
        self.meta("name")
    }

    /// `metadata.namespace`, empty for cluster-scoped kinds.
    pub fn namespace(&self) -> &str {
        self.meta("namespace")
    }

    /// `metadata.uid`
    pub fn uid(&self) -> &str {
        self.meta("uid")
    }

    /// `metadata.labels`
    pub fn labels(&self) -> Option<&serde_json::Map<String, Value>> {
        self.value["metadata"]["labels"].as_object()
    }

    /// Whether deletion has begun.
    pub fn deleting(&self) -> bool {
        !self.meta("deletionTimestamp").is_empty()
    }

    /// The typed form, decoded at most once per version.
    pub fn typed<K: DeserializeOwned + Send + Sync + 'static>(&self) -> Result<Arc<K>, ApiError> {
        if let Some(known) = self.typed.get().and_then(|any| Arc::clone(any).downcast::<K>().ok()) {
            return Ok(known);
        }
        let decoded = K::deserialize(&self.value).map_err(|e| {
            ApiError::internal(format!(
                "decode {} {}/{}: {e}",
                self.value["kind"],
                self.namespace(),
                self.name()
            ))
        })?;
        let decoded = Arc::new(decoded);
        let _ = self.typed.set(Arc::clone(&decoded) as Arc<dyn Any + Send + Sync>);
        Ok(decoded)
    }
}

/// What a deletion left.
#[derive(Debug, Clone)]
pub enum Deleted {
    /// Gone; its last state, with the revision of the deletion.
    Gone(Arc<Object>),
    /// Marked: finalizers or grace hold it.
    Pending(Arc<Object>),
}

impl Deleted {
    /// The object, in either case.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Self::Gone(object) | Self::Pending(object) => object,
        }
    }
}

/// One page of one snapshot.
#[derive(Debug, Clone)]
pub struct List {
    /// In key order.
    pub items: Vec<Arc<Object>>,
    /// The snapshot's revision, the same on all pages.
    pub revision: Revision,
    /// Where to go on.
    pub continue_token: Option<String>,
    /// How many are left, where that is known.
    pub remaining: Option<u64>,
}

/// Kind of a watch event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// New, or new to the selector.
    Added,
    /// Changed.
    Modified,
    /// Gone, or gone from the selector.
    Deleted,
    /// Nothing but a revision.
    Bookmark,
}

impl EventKind {
    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "ADDED",
            Self::Modified => "MODIFIED",
            Self::Deleted => "DELETED",
            Self::Bookmark => "BOOKMARK",
        }
    }
}

/// One event of a watch.
#[derive(Debug, Clone)]
pub struct WatchEvent {
    /// What happened.
    pub kind: EventKind,
    /// To which object: its state after, or its last one.
    pub object: Arc<Object>,
    /// When.
    pub revision: Revision,
}
