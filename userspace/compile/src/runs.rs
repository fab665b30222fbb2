//! Free runs of places in the array of backend lists.
//!
//! Best fit: the smallest free run that is long enough, the first of several; neighbours join when they are given back.
//! A list has usually the length of the one it replaces, so that runs fit again.

use std::collections::{BTreeMap, BTreeSet};

/// What is free.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    /// First place to length.
    free: BTreeMap<u32, u32>,
    /// Length and first place.
    by_length: BTreeSet<(u32, u32)>,
    limit: u32,
    used: u32,
}

impl Runs {
    /// All places are free.
    pub(crate) fn new(limit: u32) -> Self {
        let mut runs = Self { free: BTreeMap::new(), by_length: BTreeSet::new(), limit, used: 0 };
        runs.insert(0, limit);
        runs
    }

    /// How many there are.
    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// How many are taken.
    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// Take a run; `None` when no free one is long enough.
    pub(crate) fn take(&mut self, count: u32) -> Option<u32> {
        if count == 0 {
            return Some(0);
        }
        let (length, first) = *self.by_length.range((count, 0)..).next()?;
        self.remove(first, length);
        self.insert(first + count, length - count);
        self.used += count;
        Some(first)
    }

    /// Take the places that adopted maps use. `false` when some of them are taken already, or beyond the end.
    pub(crate) fn claim(&mut self, first: u32, count: u32) -> bool {
        let Some((start, length)) = self.free.range(..=first).next_back() else {
            return count == 0;
        };
        let (start, length) = (*start, *length);
        let end = u64::from(start) + u64::from(length);
        if u64::from(first) + u64::from(count) > end {
            return count == 0;
        }
        self.remove(start, length);
        self.insert(start, first - start);
        self.insert(first + count, start + length - first - count);
        self.used += count;
        true
    }

    /// Give a run back.
    pub(crate) fn give(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        self.used = self.used.saturating_sub(count);
        let (mut start, mut length) = (first, count);
        if let Some((before, size)) = self.free.range(..first).next_back().map(|(a, b)| (*a, *b))
            && before + size == first
        {
            self.remove(before, size);
            (start, length) = (before, size + length);
        }
        if let Some(size) = self.free.get(&(first + count)).copied() {
            self.remove(first + count, size);
            length += size;
        }
        self.insert(start, length);
    }

    fn insert(&mut self, first: u32, length: u32) {
        if length > 0 {
            self.free.insert(first, length);
            self.by_length.insert((length, first));
        }
    }

    fn remove(&mut self, first: u32, length: u32) {
        self.free.remove(&first);
        self.by_length.remove(&(length, first));
    }
}

#[cfg(test)]
mod tests {
    use super::Runs;

    #[test]
    fn neighbours_join_and_the_smallest_run_that_fits_is_taken() {
        let mut runs = Runs::new(10);
        assert_eq!([runs.take(3), runs.take(2), runs.take(5)], [Some(0), Some(3), Some(5)]);
        assert_eq!(runs.take(1), None);
        runs.give(0, 3);
        runs.give(5, 5);
        assert_eq!(runs.take(2), Some(0), "the run of three, not the run of five");
        assert_eq!(runs.used(), 4);
        runs.give(0, 2);
        runs.give(3, 2);
        assert_eq!((runs.take(10), runs.used()), (Some(0), 10));
    }

    #[test]
    fn what_is_claimed_is_not_given_away() {
        let mut runs = Runs::new(8);
        assert!(runs.claim(2, 3));
        assert!(!runs.claim(4, 1), "taken already");
        assert!(!runs.claim(6, 3), "beyond the end");
        assert_eq!([runs.take(3), runs.take(2), runs.take(1)], [Some(5), Some(0), None]);
    }
}
