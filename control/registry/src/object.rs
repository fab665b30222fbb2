//! Stored objects as everyone shares them, and what lists and watches are made of.

mod text;

use std::any::Any;
use std::borrow::Cow;
use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use beeline_api::ApiError;
use beeline_store::Revision;
use bytes::{Bytes, BytesMut};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use text::{encode, from_store};

/// One version of one object. Immutable and shared by all.
///
/// It is the bytes that the store holds, which most objects stay for all their life: they are answered, listed and watched
/// without being decoded. Who looks inside has them decoded once.
#[derive(Debug)]
pub struct Object {
    /// The object, resourceVersion, apiVersion and kind included.
    pub value: Decoded,
    /// Revision of the write that made this version.
    pub revision: Revision,
    typed: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// A value that is decoded when first looked at.
#[derive(Debug)]
pub struct Decoded {
    text: OnceLock<Bytes>,
    /// What the text lacks: the revision of a stored object.
    revision: Option<Revision>,
    value: OnceLock<Value>,
}

/// A version is told by its revision; views compare versions of one key only.
impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.revision == other.revision
    }
}

// === impl Decoded ===

impl Decoded {
    fn text(&self) -> &Bytes {
        self.text.get_or_init(|| match self.value.get() {
            Some(value) => Bytes::from(serde_json::to_vec(value).unwrap_or_default()),
            None => Bytes::new(),
        })
    }

    fn decode(&self) -> Value {
        text::decode(self.text(), self.revision).unwrap_or_else(|why| {
            tracing::error!("a stored object does not decode and is taken for an empty one: {why}");
            Value::Null
        })
    }
}

impl Deref for Decoded {
    type Target = Value;

    fn deref(&self) -> &Value {
        self.value.get_or_init(|| self.decode())
    }
}

// === impl Object ===

impl Object {
    /// Of bytes that [`from_store`] or [`encode`] gave.
    pub(crate) fn stored(text: Bytes, revision: Revision) -> Self {
        let value = Decoded {
            text: OnceLock::from(text),
            revision: Some(revision),
            value: OnceLock::new(),
        };
        Self { value, revision, typed: OnceLock::new() }
    }

    /// The same, of a value that its writer has at hand.
    pub(crate) fn written(text: Bytes, mut value: Value, revision: Revision) -> Self {
        value["metadata"]["resourceVersion"] = Value::from(revision.0.to_string());
        let object = Self::stored(text, revision);
        let _ = object.value.value.set(value);
        object
    }

    /// An object that is no stored version: dry-run results, `Scale`, `Status`.
    pub(crate) fn transient(value: Value, revision: Revision) -> Self {
        let value = Decoded { text: OnceLock::new(), revision: None, value: OnceLock::from(value) };
        Self { value, revision, typed: OnceLock::new() }
    }

    /// The same object with another revision: that of its end.
    pub(crate) fn at(&self, revision: Revision) -> Self {
        match self.value.revision {
            Some(_) => Self::stored(self.value.text().clone(), revision),
            None => {
                let mut value = self.value.clone();
                value["metadata"]["resourceVersion"] = Value::from(revision.0.to_string());
                Self::transient(value, revision)
            }
        }
    }

    /// Appends the object, encoded.
    pub fn append_json(&self, out: &mut BytesMut) {
        text::append(self.value.text(), self.value.revision, out);
    }

    /// The object, encoded.
    pub fn json(&self) -> Bytes {
        if self.value.revision.is_none() {
            return self.value.text().clone();
        }
        let mut out = BytesMut::with_capacity(self.json_len());
        self.append_json(&mut out);
        out.freeze()
    }

    /// How long that is, to within a few bytes.
    pub fn json_len(&self) -> usize {
        self.value.text().len() + text::REVISION_LEN_MAX
    }

    /// The object for one look: decoded and forgotten again, unless somebody has decoded it for good. For those who go
    /// through many objects.
    pub fn glance(&self) -> Cow<'_, Value> {
        match self.value.value.get() {
            Some(value) => Cow::Borrowed(value),
            None => Cow::Owned(self.value.decode()),
        }
    }

    /// Whether `"field"` occurs anywhere in it: told without decoding. A no is certain.
    pub fn may_have(&self, field: &str) -> bool {
        memchr::memmem::find(self.value.text(), field.as_bytes()).is_some()
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
        let decoded = match self.value.value.get() {
            Some(value) => K::deserialize(value),
            None => serde_json::from_slice(&self.json()),
        };
        let decoded = decoded.map_err(|e| {
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
