//! All objects of a kind at one moment, and what differs between two moments.
//!
//! In: the cache. Out: views that cost nothing to take, and differences at the cost of what changed. For reconcilers
//! that look at states and still must not look at everything.

use std::sync::Arc;

use imbl::ordmap::DiffItem;

use crate::bucket::Objects;
use crate::object::Object;

/// The objects of one kind.
#[derive(Clone, Default)]
pub struct View {
    objects: Objects,
}

/// One object that differs: as it was and as it is. It was or is there, or both.
pub type Difference = (Option<Arc<Object>>, Option<Arc<Object>>);

impl View {
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects }
    }

    /// What is different here from an earlier view. Shared parts are skipped unread.
    pub fn since(&self, earlier: &View) -> Vec<Difference> {
        let changes = earlier.objects.diff(&self.objects).map(|item| match item {
            DiffItem::Add(_, new) => (None, Some(Arc::clone(new))),
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                (Some(Arc::clone(old)), Some(Arc::clone(new)))
            }
            DiffItem::Remove(_, old) => (Some(Arc::clone(old)), None),
        });
        changes.collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("len", &self.len()).finish_non_exhaustive()
    }
}
