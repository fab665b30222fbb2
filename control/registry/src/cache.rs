//! Everything the store holds, by kind; kept up to date by one task that follows the store.
//! Definitions among it make further kinds, each with a bucket from the moment it is established.
//!
//! In: the store's changes. Out: buckets, and the revision up to which they are complete.

mod definitions;
mod follow;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use beeline_api::custom::Defined;
use beeline_api::kinds::CUSTOM_RESOURCE_DEFINITION;
use beeline_api::{ApiError, KindInfo, Kinds};
use beeline_store::{Change, Entry, Key, Revision, Store};
use tokio::sync::{Notify, watch};

use crate::bucket::{Bucket, Objects, under};
use crate::encryption::{self, Encryption};
use crate::nodes;
use crate::object::{self, Object};
use crate::options::Options;
use crate::registry::{OpenError, Registry};
use crate::roles;
use crate::view::View;

pub(crate) use follow::follow;

/// Where all objects live in the store.
const ROOT: &str = "/registry/";
/// How long a read waits for the cache to catch up.
const CATCH_UP_MAX: Duration = Duration::from_secs(3);

/// The cache.
pub(crate) struct Cache {
    kinds: ArcSwap<Kinds>,
    /// What each stored definition makes.
    defined: Mutex<BTreeMap<Key, Defined>>,
    /// Built-in kinds first; those that definitions make come and go.
    buckets: ArcSwap<Vec<Arc<Bucket>>>,
    history_max: usize,
    /// Told of changes of kinds that are yet to come, too.
    of_all: Mutex<Vec<Weak<Notify>>>,
    applied: watch::Sender<u64>,
    encryption: Option<Arc<Encryption>>,
}

impl Cache {
    /// Reads everything.
    pub(crate) async fn load(
        store: &Arc<dyn Store>,
        options: &Options,
    ) -> Result<(Self, Revision), OpenError> {
        let (entries, revision) = store.range(ROOT).await.map_err(OpenError::Load)?;
        let bucket =
            |kind| Arc::new(Bucket::new(kind, Objects::new(), revision, options.history_per_kind));
        let cache = Self {
            kinds: ArcSwap::default(),
            defined: Mutex::default(),
            buckets: ArcSwap::from_pointee(Kinds::builtin().iter().map(bucket).collect()),
            history_max: options.history_per_kind,
            of_all: Mutex::default(),
            applied: watch::channel(revision.0).0,
            encryption: options.encryption.clone(),
        };
        // Definitions first: what the rest is depends on them.
        let prefix = CUSTOM_RESOURCE_DEFINITION.key_prefix();
        let (definitions, others): (Vec<Entry>, Vec<Entry>) =
            entries.into_iter().partition(|entry| entry.key.starts_with(&prefix));
        cache.fill(definitions)?;
        let definitions = cache.bucket(&CUSTOM_RESOURCE_DEFINITION).read().objects.clone();
        let made = |(key, d): (&Key, &Arc<Object>)| Some((key.clone(), Defined::of(&d.value)?));
        let defined = definitions.iter().filter_map(made).collect();
        cache.define(&defined, revision);
        *cache.defined() = defined;
        cache.fill(others)?;
        Ok((cache, revision))
    }

    fn fill(&self, entries: Vec<Entry>) -> Result<(), OpenError> {
        for entry in entries {
            let Some(bucket) = self.bucket_of(&entry.key) else {
                tracing::warn!(key = %entry.key, "stored object of an unknown kind is left alone");
                continue;
            };
            let object = self
                .decode(bucket.kind, &entry)
                .map_err(|why| OpenError::Decode { key: entry.key.to_string(), why })?;
            bucket.write().objects.insert(entry.key, Arc::new(object));
        }
        Ok(())
    }

    /// The kinds served now.
    pub(crate) fn kinds(&self) -> Arc<Kinds> {
        self.kinds.load_full()
    }

    /// The bucket of a kind, whatever version of it. Of one whose definition has just gone, an empty one that nobody
    /// else sees.
    pub(crate) fn bucket(&self, kind: &'static KindInfo) -> Arc<Bucket> {
        let kind = kind.stored();
        let buckets = self.buckets.load();
        let found = buckets.iter().find(|b| std::ptr::eq(b.kind, kind) || b.is_of(kind));
        let gone = || Arc::new(Bucket::new(kind, Objects::new(), self.applied(), 1));
        found.map_or_else(gone, Arc::clone)
    }

    /// Every object of the kinds of an API group.
    pub(crate) fn each(&self, group: &str, mut f: impl FnMut(&KindInfo, &Object)) {
        for bucket in self.buckets.load().iter().filter(|bucket| bucket.kind.group == group) {
            bucket.read().objects.values().for_each(|object| f(bucket.kind, object));
        }
    }

    fn bucket_of(&self, key: &str) -> Option<Arc<Bucket>> {
        self.buckets.load().iter().find(|b| key.starts_with(&b.prefix)).map(Arc::clone)
    }

    /// Revision up to which everything is here.
    pub(crate) fn applied(&self) -> Revision {
        Revision(*self.applied.borrow())
    }

    /// Waits until everything up to `revision` is here.
    pub(crate) async fn reach(&self, revision: Revision) -> Result<(), ApiError> {
        if self.applied() >= revision {
            return Ok(());
        }
        let mut applied = self.applied.subscribe();
        let waited =
            tokio::time::timeout(CATCH_UP_MAX, applied.wait_for(|r| *r >= revision.0)).await;
        match waited {
            Ok(Ok(_)) => Ok(()),
            _ => Err(ApiError::too_large(revision.0, self.applied().0)),
        }
    }

    /// One object.
    pub(crate) fn get(
        &self,
        kind: &'static KindInfo,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Arc<Object>> {
        let bucket = self.bucket(kind);
        let key = bucket.key(namespace, name);
        bucket.read().objects.get(key.as_str()).cloned()
    }

    /// All objects of a kind, or of one namespace.
    pub(crate) fn snapshot(
        &self,
        kind: &'static KindInfo,
        namespace: Option<&str>,
    ) -> Vec<Arc<Object>> {
        let bucket = self.bucket(kind);
        let scope = bucket.scope(namespace);
        let objects = bucket.read().objects.clone();
        under(&objects, &scope, &scope).map(|(_, o)| Arc::clone(o)).collect()
    }

    /// All objects of a kind as they are now.
    pub(crate) fn view(&self, kind: &'static KindInfo) -> View {
        View::new(self.bucket(kind).read().objects.clone())
    }

    /// A nudge after changes of these kinds.
    pub(crate) fn changed(&self, kinds: &[&'static KindInfo]) -> Arc<Notify> {
        let nudge = Arc::new(Notify::new());
        for kind in kinds {
            self.bucket(kind).on_change(&nudge);
        }
        nudge
    }

    /// The same, and after changes of kinds that definitions make, also of later ones.
    pub(crate) fn changed_or_defined(&self, kinds: &[&'static KindInfo]) -> Arc<Notify> {
        let nudge = self.changed(kinds);
        self.of_all.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::downgrade(&nudge));
        self.kinds().defined().for_each(|kind| self.bucket(kind).on_change(&nudge));
        nudge
    }

    /// The object of an entry as the store has it.
    fn decode(&self, kind: &KindInfo, entry: &Entry) -> Result<Object, String> {
        let encryption = self.encryption.as_deref();
        let plain = encryption::unseal(encryption, kind, &entry.key, &entry.value)?;
        let text = object::from_store(plain).map_err(|e| e.to_string())?;
        if let Some(encryption) = encryption {
            encryption.note(kind, &entry.key, Some(&entry.value));
        }
        Ok(Object::stored(text, entry.mod_revision))
    }

    /// Applies changes in order. The second of each pair of objects is the one before.
    fn apply(&self, registry: &Registry, changes: Vec<Change>) {
        let Some(last) = changes.last().map(Change::revision) else { return };
        for change in changes {
            let revision = change.revision();
            let Some(bucket) = self.bucket_of(change.key()) else { continue };
            let (key, new) = match change {
                Change::Put(entry) => match self.decode(bucket.kind, &entry) {
                    Ok(object) => (entry.key, Some(Arc::new(object))),
                    Err(e) => {
                        tracing::error!(key = %entry.key, "stored object does not decode and is ignored: {e}");
                        continue;
                    }
                },
                Change::Delete { key, .. } => {
                    if let Some(encryption) = &self.encryption {
                        encryption.note(bucket.kind, &key, None);
                    }
                    (key, None)
                }
            };
            let step = bucket.apply(key, revision, new);
            registry.inner.allocations.observe(bucket.kind, &step);
            roles::observe(&registry.inner.access.rbac, bucket.kind, &step);
            nodes::observe(&registry.inner.access.nodes, bucket.kind, &step);
            if std::ptr::eq(bucket.kind, &raw const CUSTOM_RESOURCE_DEFINITION) {
                self.redefine(&step);
            }
            registry.inner.outside.observe(self, bucket.kind);
            registry.inner.quotas.observe(self, bucket.kind, &step);
        }
        self.applied.send_replace(last.0);
    }
}
