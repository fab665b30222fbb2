//! The nouns of the store. Values are opaque bytes, shared and never copied.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;

/// A point in the history of the whole store; zero is the empty store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Revision(pub u64);

/// The name of a value: a path such as `/registry/pods/default/web`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<str>);

/// A live key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub key: Key,
    /// What was stored last.
    pub value: Bytes,
    /// When it came to be.
    pub create_revision: Revision,
    /// When it was written last.
    pub mod_revision: Revision,
}

/// One step of history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The key was created or replaced. It is new when both of its revisions are the same.
    Put(Entry),
    /// The key was removed.
    Delete {
        /// Which.
        key: Key,
        /// When.
        revision: Revision,
        /// What it was until then.
        previous: Entry,
    },
}

// === impl Revision ===

impl Revision {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Key ===

impl Key {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Key {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

impl Deref for Key {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Key {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

// === impl Entry ===

impl Entry {
    /// A number that differs when anything in the entry differs. Finds accidents, not forgeries.
    pub(crate) fn fingerprint(&self) -> u64 {
        let lengths = ((self.key.len() as u64) << 32) ^ self.value.len() as u64;
        let mut hash = mix(0x9e37_79b9_7f4a_7c15, lengths);
        hash = mix(hash, self.create_revision.0);
        hash = mix(hash, self.mod_revision.0);
        absorb(absorb(hash, self.key.as_bytes()), &self.value)
    }

    /// What keeping it costs, roughly.
    pub(crate) fn weight(&self) -> usize {
        self.key.len() + self.value.len() + 128
    }
}

/// Folds one word in: a 64 x 64 to 128 bit product, its halves combined.
fn mix(hash: u64, word: u64) -> u64 {
    let product =
        u128::from(hash ^ word ^ 0xa076_1d64_78bd_642f) * u128::from(hash.rotate_left(29) | 1);
    let [low, high] = [product, product >> 64].map(|half| half & u128::from(u64::MAX));
    u64::try_from(low ^ high).unwrap_or_default()
}

fn absorb(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        hash = mix(hash, u64::from_le_bytes(word.try_into().unwrap_or_default()));
    }
    let mut last = [0; 8];
    last[..words.remainder().len()].copy_from_slice(words.remainder());
    mix(hash, u64::from_le_bytes(last))
}

// === impl Change ===

impl Change {
    /// The key it is about.
    #[must_use]
    pub fn key(&self) -> &Key {
        match self {
            Self::Put(entry) => &entry.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// When it happened.
    #[must_use]
    pub fn revision(&self) -> Revision {
        match self {
            Self::Put(entry) => entry.mod_revision,
            Self::Delete { revision, .. } => *revision,
        }
    }

    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Put(entry) => entry.weight(),
            Self::Delete { previous, .. } => previous.weight(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_an_entry_counts() {
        let entry = |key: &str, value: &'static str, create, modified| Entry {
            key: key.into(),
            value: value.into(),
            create_revision: Revision(create),
            mod_revision: Revision(modified),
        };
        let all = [
            entry("a", "bc", 1, 2),
            entry("ab", "c", 1, 2),
            entry("a", "bc", 2, 2),
            entry("a", "bc", 1, 3),
            entry("a", "bd", 1, 2),
            entry("a", "bc\0", 1, 2),
            entry("a", "", 1, 2),
            entry("a", "0123456789", 1, 2),
            entry("a", "0123456780", 1, 2),
        ];
        let seen: std::collections::BTreeSet<u64> = all.iter().map(Entry::fingerprint).collect();
        assert_eq!(seen.len(), all.len());
    }
}
