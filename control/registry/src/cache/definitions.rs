//! Kinds that come and go with stored definitions, each with its bucket.

use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use beeline_api::custom::Defined;
use beeline_api::{KindInfo, Kinds};
use beeline_store::{Key, Revision};

use super::Cache;
use crate::bucket::{Bucket, Objects, Step};

impl Cache {
    pub(super) fn defined(&self) -> MutexGuard<'_, BTreeMap<Key, Defined>> {
        self.defined.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows one change of a definition. Only this one is read, and most changes are of what makes no difference here.
    pub(super) fn redefine(&self, step: &Step) {
        let made = step.new.as_ref().and_then(|object| Defined::of(&object.value));
        let mut all = self.defined();
        match (made, all.get(&step.key)) {
            (None, None) => return,
            (Some(made), Some(known)) if made.is_same(known) => return,
            (Some(made), _) => drop(all.insert(step.key.clone(), made)),
            (None, Some(_)) => drop(all.remove(&step.key)),
        }
        self.define(&all, step.revision);
    }

    /// Makes kinds and buckets what the definitions say. Only the task that follows the store calls this.
    pub(super) fn define(&self, all: &BTreeMap<Key, Defined>, at: Revision) {
        let kinds = Kinds::with_definitions(all.values());
        let mut buckets: Vec<Arc<Bucket>> = self.buckets.load_full().to_vec();
        let defined: Vec<&'static KindInfo> = kinds.defined().collect();
        // One that still holds something is kept, out of sight: its definition may come back.
        buckets.retain(|bucket| {
            let wanted = defined.iter().any(|kind| bucket.is_of(kind));
            bucket.kind.custom.is_none() || wanted || !bucket.read().objects.is_empty()
        });
        for kind in defined {
            match buckets.iter_mut().find(|bucket| bucket.is_of(kind)) {
                Some(bucket) if bucket.kind.namespaced == kind.namespaced => {}
                Some(bucket) => {
                    let objects = bucket.read().objects.clone();
                    *bucket = self.new_bucket(kind, objects, at);
                }
                None => buckets.push(self.new_bucket(kind, Objects::new(), at)),
            }
        }
        // A kind must have its bucket before anybody can ask for it.
        self.buckets.store(Arc::new(buckets));
        self.kinds.store(Arc::new(kinds));
    }

    fn new_bucket(&self, kind: &'static KindInfo, objects: Objects, at: Revision) -> Arc<Bucket> {
        let bucket = Bucket::new(kind, objects, at, self.history_max);
        let mut waiting = self.of_all.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|nudge| nudge.strong_count() > 0);
        waiting.iter().filter_map(Weak::upgrade).for_each(|nudge| bucket.on_change(&nudge));
        Arc::new(bucket)
    }
}
