//! Identities: a small number for each distinct set of labels, for policy in the kernel.
//!
//! In: label sets as pods come and go. Out: a number of at least 256 per set in use; below that are the reserved ones.
//! The number follows from the labels by a fixed hash, so a rebuild gives the same ones but for rare collisions,
//! which take the next free number. Refuses: reading the labels' meaning; which labels count is the caller's choice.

use std::collections::{BTreeMap, HashMap};

/// The first number that labels can get; smaller ones are fixed (world, host, ...).
pub const FIRST_IDENTITY: u32 = 256;
/// Numbers fit into 24 bits, so that a packet mark or a VXLAN network identifier can carry one.
const IDENTITY_COUNT: u32 = (1 << 24) - FIRST_IDENTITY;

/// Numbers in use, with how many users each has.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    by_labels: HashMap<String, u32>,
    by_number: BTreeMap<u32, (String, usize)>,
}

/// Why there is no number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// All numbers are taken.
    #[error("all {IDENTITY_COUNT} identities are in use")]
    Full,
    /// The number another server gave this set is taken by another set here, or out of range.
    #[error("identity {number} cannot stand for {labels}")]
    Unusable {
        /// Which.
        number: u32,
        /// For what.
        labels: String,
    },
}

/// One text for one set of labels, whatever their order: `a=1,b=2`.
#[must_use]
pub fn canonical_labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let sorted: BTreeMap<_, _> = labels.into_iter().collect();
    let parts: Vec<_> = sorted.iter().map(|(key, value)| format!("{key}={value}")).collect();
    parts.join(",")
}

impl Identities {
    /// None in use.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of this set, one more user counted. `labels` is canonical text.
    pub fn acquire(&mut self, labels: &str) -> Result<u32, IdentityError> {
        if let Some(number) = self.by_labels.get(labels).copied() {
            self.count(number);
            return Ok(number);
        }
        let start = preferred(labels);
        let numbers = (start..FIRST_IDENTITY + IDENTITY_COUNT).chain(FIRST_IDENTITY..start);
        let mut free = numbers.filter(|number| !self.by_number.contains_key(number));
        let number = free.next().ok_or(IdentityError::Full)?;
        self.insert(labels, number);
        Ok(number)
    }

    /// Notes a number that is in use already, one more user counted.
    pub fn adopt(&mut self, labels: &str, number: u32) -> Result<(), IdentityError> {
        let known = self.by_labels.get(labels).copied();
        if known == Some(number) {
            self.count(number);
            return Ok(());
        }
        let in_range = (FIRST_IDENTITY..FIRST_IDENTITY + IDENTITY_COUNT).contains(&number);
        if known.is_some() || !in_range || self.by_number.contains_key(&number) {
            return Err(IdentityError::Unusable { number, labels: labels.to_owned() });
        }
        self.insert(labels, number);
        Ok(())
    }

    /// One user less. Whether it was the last: the number may now come to stand for another set.
    pub fn release(&mut self, labels: &str) -> bool {
        let Some(number) = self.by_labels.get(labels).copied() else { return false };
        let Some((_, users)) = self.by_number.get_mut(&number) else { return false };
        *users -= 1;
        if *users > 0 {
            return false;
        }
        self.by_number.remove(&number);
        self.by_labels.remove(labels);
        true
    }

    /// The number of a set in use.
    #[must_use]
    pub fn number_of(&self, labels: &str) -> Option<u32> {
        self.by_labels.get(labels).copied()
    }

    /// The set a number stands for.
    #[must_use]
    pub fn labels_of(&self, number: u32) -> Option<&str> {
        self.by_number.get(&number).map(|(labels, _)| labels.as_str())
    }

    /// All in use, by number.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &str)> {
        self.by_number.iter().map(|(number, (labels, _))| (*number, labels.as_str()))
    }

    fn insert(&mut self, labels: &str, number: u32) {
        self.by_labels.insert(labels.to_owned(), number);
        self.by_number.insert(number, (labels.to_owned(), 1));
    }

    fn count(&mut self, number: u32) {
        if let Some((_, users)) = self.by_number.get_mut(&number) {
            *users += 1;
        }
    }
}

/// FNV-1a, spelled out because the numbers must be the same in every version and on every server.
fn preferred(labels: &str) -> u32 {
    let mut hash = 0x811c_9dc5_u32;
    for byte in labels.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    FIRST_IDENTITY + hash % IDENTITY_COUNT
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn order_of_labels_does_not_matter() {
        assert_eq!(canonical_labels([("b", "2"), ("a", "1")]), "a=1,b=2");
        assert_eq!(canonical_labels([]), "");
    }

    #[test]
    fn numbers_are_the_same_in_every_version() {
        let mut identities = Identities::new();
        assert_eq!(identities.acquire("app=web").unwrap(), preferred("app=web"));
        assert_eq!(preferred(""), FIRST_IDENTITY + 0x811c_9dc5 % IDENTITY_COUNT);
    }

    #[test]
    fn a_collision_takes_the_next_number() {
        let mut identities = Identities::new();
        identities.adopt("other=1", preferred("app=web")).unwrap();
        assert_eq!(identities.acquire("app=web").unwrap(), preferred("app=web") + 1);
        let refused = identities.adopt("third=1", preferred("app=web"));
        assert!(matches!(refused, Err(IdentityError::Unusable { .. })));
        assert!(matches!(identities.adopt("third=1", 7), Err(IdentityError::Unusable { .. })));
    }

    #[test]
    fn the_last_user_frees_the_number() {
        let mut identities = Identities::new();
        let number = identities.acquire("app=web").unwrap();
        assert_eq!(identities.acquire("app=web").unwrap(), number);
        assert!(!identities.release("app=web"));
        assert_eq!(identities.labels_of(number), Some("app=web"));
        assert!(identities.release("app=web") && !identities.release("app=web"));
        assert_eq!((identities.labels_of(number), identities.number_of("app=web")), (None, None));
    }

    proptest! {
        #[test]
        fn one_number_per_set_and_one_set_per_number(sets in proptest::collection::vec("[a-c]=[0-9]{1,2}", 1..60)) {
            let mut identities = Identities::new();
            for labels in &sets {
                let number = identities.acquire(labels).unwrap();
                prop_assert!(number >= FIRST_IDENTITY);
                prop_assert_eq!(identities.labels_of(number), Some(labels.as_str()));
            }
            for labels in &sets {
                identities.release(labels);
            }
            prop_assert_eq!(identities.iter().count(), 0);
        }
    }
}
