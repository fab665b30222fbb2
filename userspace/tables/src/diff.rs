//! What differs between two states, at the cost of the difference.

use std::{fmt::Debug, sync::Arc};

use imbl::{OrdMap, ordmap::DiffItem};

/// One key that differs.
#[derive(Clone, Debug, PartialEq)]
pub enum Difference<K, V> {
    /// Only in the new state.
    Added(K, Arc<V>),
    /// In both, with another value: old, then new.
    Changed(K, Arc<V>, Arc<V>),
    /// Only in the old state.
    Removed(K, Arc<V>),
}

/// Tables that can be compared.
pub trait Diff<K, V> {
    /// The keys in which `self`, the old state, differs from `new`. Shared parts are skipped unread.
    fn differences(&self, new: &Self) -> Vec<Difference<K, V>>;
}

impl<K, V> Diff<K, V> for OrdMap<K, Arc<V>>
where
    K: Ord + Clone + Debug,
    V: PartialEq,
{
    fn differences(&self, new: &Self) -> Vec<Difference<K, V>> {
        self.diff(new)
            .map(|item| match item {
                DiffItem::Add(key, value) => Difference::Added(key.clone(), Arc::clone(value)),
                DiffItem::Update { old: (key, old), new: (_, new) } => {
                    Difference::Changed(key.clone(), Arc::clone(old), Arc::clone(new))
                }
                DiffItem::Remove(key, value) => Difference::Removed(key.clone(), Arc::clone(value)),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{IpAddr, Ipv4Addr},
        sync::Arc,
    };

    use super::{Diff, Difference};
    use crate::{Change, EndpointIdentity, Epoch, Identity, NodeName, ObjectName, Slice, Tables};

    fn endpoint(name: &str, last: u8) -> EndpointIdentity {
        EndpointIdentity {
            pod: ObjectName::new("default", name),
            uid: "u".into(),
            addresses: vec![Ipv4Addr::new(10, 42, 0, last).into()],
            identity: Identity(300),
            node: NodeName("n1".into()),
        }
    }

    #[test]
    fn differences_name_what_changed_and_nothing_else() {
        let (mut writer, reader) = Tables::new();
        let many = (0..200).map(|n| Change::Endpoint(endpoint(&format!("p{n:03}"), n))).collect();
        writer.apply(Epoch(1), many);
        let before = reader.snapshot();
        writer.apply(
            Epoch(2),
            vec![
                Change::Endpoint(endpoint("p007", 207)),
                Change::EndpointGone(ObjectName::new("default", "p008")),
                Change::Endpoint(endpoint("new", 208)),
            ],
        );
        let mut found = before.endpoints.differences(&reader.snapshot().endpoints);
        found.sort_by_key(|difference| match difference {
            Difference::Added(key, _)
            | Difference::Changed(key, ..)
            | Difference::Removed(key, _) => key.clone(),
        });
        assert_eq!(
            found,
            vec![
                Difference::Added(
                    ObjectName::new("default", "new"),
                    Arc::new(endpoint("new", 208))
                ),
                Difference::Changed(
                    ObjectName::new("default", "p007"),
                    Arc::new(endpoint("p007", 7)),
                    Arc::new(endpoint("p007", 207)),
                ),
                Difference::Removed(
                    ObjectName::new("default", "p008"),
                    Arc::new(endpoint("p008", 8)),
                ),
            ]
        );
        assert_eq!(before.endpoints.len(), 200);
    }

    #[test]
    fn an_address_that_moved_keeps_its_new_owner() {
        let (mut writer, reader) = Tables::new();
        writer.apply(Epoch(1), vec![Change::Endpoint(endpoint("old", 5))]);
        writer.apply(Epoch(2), vec![Change::Endpoint(endpoint("new", 5))]);
        writer.apply(Epoch(3), vec![Change::EndpointGone(ObjectName::new("default", "old"))]);
        let snapshot = reader.snapshot();
        let owner = snapshot.endpoints_at.get(&IpAddr::from([10, 42, 0, 5])).unwrap();
        assert_eq!(owner.pod, ObjectName::new("default", "new"));
    }

    #[test]
    fn slices_are_found_by_their_service_and_follow_it() {
        let slice = |name: &str, service: &str| {
            Change::Slice(Slice {
                name: ObjectName::new("default", name),
                service: ObjectName::new("default", service),
                ports: Vec::new(),
                backends: Vec::new(),
            })
        };
        let (mut writer, reader) = Tables::new();
        writer.apply(Epoch(1), vec![slice("b", "web"), slice("a", "web"), slice("c", "db")]);
        let of = |service: &str| -> Vec<String> {
            let snapshot = reader.snapshot();
            let slices = snapshot.slices_for(&ObjectName::new("default", service));
            slices.iter().map(|slice| slice.name.name.to_string()).collect()
        };
        assert_eq!((of("web"), of("db")), (vec!["a".into(), "b".into()], vec!["c".into()]));
        writer.apply(Epoch(2), vec![slice("a", "db"), slice("b", "web")]);
        assert_eq!((of("web"), of("db")), (vec!["b".into()], vec!["a".into(), "c".into()]));
        writer.apply(Epoch(3), vec![Change::SliceGone(ObjectName::new("default", "b"))]);
        assert_eq!(of("web"), Vec::<String>::new());
        assert_eq!((reader.snapshot().slices.len(), reader.snapshot().slices_of.len()), (2, 1));
    }

    #[test]
    fn half_a_full_state_is_not_published() {
        let (mut writer, reader) = Tables::new();
        writer.apply_snapshot(Epoch(4), vec![Change::Endpoint(endpoint("a", 1))], false);
        assert!(!reader.snapshot().complete);
        writer.abandon_snapshot();
        writer.apply_snapshot(Epoch(5), vec![Change::Endpoint(endpoint("b", 2))], true);
        let snapshot = reader.snapshot();
        assert!(snapshot.complete);
        assert_eq!(snapshot.endpoints.len(), 1);
    }
}
