//! Who owns whom, kept at the cost of what changed: most objects have no owner, and are not even decoded to tell so.
//!
//! In: views of every kind. Out: what the garbage collector plans from. Decides nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use beeline_api::{KindInfo, Kinds, kinds};
use beeline_registry::{Client, Object, Registry, View};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{id, parse, text};
use crate::garbage::{Node, State};

/// Namespace and name.
type Name = (String, String);

/// All objects with owners, or with finalizers, as last looked at.
#[derive(Default)]
pub(crate) struct Dependents {
    /// By group and plural.
    kinds: HashMap<(&'static str, &'static str), OfKind>,
}

struct OfKind {
    /// A definition that changes makes another.
    kind: &'static KindInfo,
    seen: View,
    nodes: BTreeMap<Name, Arc<Node>>,
}

impl Dependents {
    /// Objects with owners first, then which of the owners are there: one older than its dependent cannot be missed.
    pub(crate) fn read(&mut self, client: &Client) -> State {
        let registry = client.registry();
        let served = registry.kinds();
        let all = || served.iter().filter(|kind| *kind != &kinds::EVENT);
        let names: HashSet<_> = all().map(|kind| (kind.group, kind.plural)).collect();
        self.kinds.retain(|name, _| names.contains(name));
        let mut nodes = Vec::new();
        for kind in all() {
            let of_kind = self.kinds.entry((kind.group, kind.plural));
            let of_kind = of_kind.or_insert_with(|| OfKind::new(kind));
            of_kind.follow(kind, registry.view(kind));
            nodes.extend(of_kind.nodes.values().cloned());
        }
        let owners = nodes.iter().flat_map(|node: &Arc<Node>| {
            let namespace = node.object.namespace.as_str();
            node.owners.iter().map(move |owner| (namespace, owner))
        });
        let present = owners
            .filter(|(namespace, owner)| is_present(registry, &served, namespace, owner))
            .map(|(_, owner)| owner.uid.clone())
            .collect();
        State { nodes, present, kinds: served }
    }
}

impl OfKind {
    fn new(kind: &'static KindInfo) -> Self {
        Self { kind, seen: View::default(), nodes: BTreeMap::new() }
    }

    fn follow(&mut self, kind: &'static KindInfo, newest: View) {
        if !std::ptr::eq(self.kind, kind) {
            *self = Self::new(kind);
        }
        for (old, new) in newest.since(&self.seen) {
            if let Some(old) = old.filter(|old| may_count(old)) {
                self.nodes.remove(&name(&old));
            }
            if let Some(new) = new.filter(|new| may_count(new))
                && let Some(node) = node(kind, &new)
            {
                self.nodes.insert(name(&new), Arc::new(node));
            }
        }
        self.seen = newest;
    }
}

fn may_count(object: &Object) -> bool {
    object.may_have("\"ownerReferences\"") || object.may_have("\"finalizers\"")
}

fn name(object: &Object) -> Name {
    (object.namespace().to_owned(), object.name().to_owned())
}

fn node(kind: &'static KindInfo, object: &Object) -> Option<Node> {
    let meta = &object.value["metadata"];
    if meta.get("ownerReferences").is_none() && meta.get("finalizers").is_none() {
        return None;
    }
    Some(Node {
        kind,
        object: id(object),
        resource_version: text(&meta["resourceVersion"]),
        deleting: object.deleting(),
        finalizers: parse(&meta["finalizers"]),
        owners: parse::<Vec<OwnerReference>>(&meta["ownerReferences"]),
    })
}

/// An owner is where its reference says, and still the same.
fn is_present(
    registry: &Registry,
    served: &Kinds,
    namespace: &str,
    owner: &OwnerReference,
) -> bool {
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let mut kinds = served.iter().filter(|kind| kind.group == group && kind.kind == owner.kind);
    kinds.any(|kind| {
        let namespace = kind.namespaced.then_some(namespace);
        let found = registry.cached(kind, namespace, &owner.name);
        found.is_some_and(|found| found.uid() == owner.uid)
    })
}

#[cfg(test)]
mod tests {
    use beeline_kit::Tasks;
    use beeline_registry::{Caller, DeleteOptions, Options, Target, WriteOptions};
    use beeline_store::Memory;
    use serde_json::{Value, json};

    use super::*;

    async fn made(registry: &Registry, name: &str, owner: Option<&str>) -> String {
        let owners: Vec<Value> = owner
            .map(|uid| json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": uid }))
            .into_iter()
            .collect();
        let map = json!({ "metadata": { "name": name, "ownerReferences": owners } });
        let target = Target::collection(&kinds::CONFIG_MAP, Some("default"));
        let options = WriteOptions::default();
        let made = registry.create(&Caller::system("test"), &target, map, &options).await;
        made.unwrap().uid().to_owned()
    }

    async fn gone(registry: &Registry, name: &str) {
        let target = Target::object(&kinds::CONFIG_MAP, Some("default"), name);
        let options = DeleteOptions::default();
        registry.delete(&Caller::system("test"), &target, &options).await.unwrap();
    }

    fn told(state: &State) -> Vec<(String, bool)> {
        let of_maps = state.nodes.iter().filter(|node| *node.kind == kinds::CONFIG_MAP);
        let owned = of_maps.filter(|node| !node.owners.is_empty());
        let one = |node: &Arc<Node>| {
            (node.object.name.clone(), state.present.contains(&node.owners[0].uid))
        };
        owned.map(one).collect()
    }

    #[tokio::test]
    async fn what_changed_is_seen_and_owners_count_by_their_uid() {
        let tasks = Tasks::new();
        let store = Arc::new(Memory::new());
        let registry = Registry::open(store, Options::default(), &tasks).await.unwrap();
        let client = registry.client(Caller::system("test"));
        let mut dependents = Dependents::default();
        let uid = made(&registry, "owner", None).await;
        made(&registry, "a", Some(&uid)).await;
        assert_eq!(told(&dependents.read(&client)), [("a".to_owned(), true)]);
        made(&registry, "b", Some("other")).await;
        let both = [("a".to_owned(), true), ("b".to_owned(), false)];
        assert_eq!(told(&dependents.read(&client)), both);
        // Another object of the same name is another owner.
        gone(&registry, "owner").await;
        gone(&registry, "b").await;
        made(&registry, "owner", None).await;
        assert_eq!(told(&dependents.read(&client)), [("a".to_owned(), false)]);
        gone(&registry, "a").await;
        assert_eq!(told(&dependents.read(&client)), []);
    }
}
