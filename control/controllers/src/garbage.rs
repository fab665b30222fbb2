//! The garbage collector: objects whose owners are gone go, too.
//!
//! In: identity, owners and finalizers of every object. Out: deletions, stripped owner references, removed finalizers. Pure.
//!
//! ```text
//! all owners absent                  ──> delete in the background
//! owner waits (foregroundDeletion)   ──> delete dependents; when none blocks it, remove its finalizer
//! owner orphans (orphan)             ──> strip its reference from dependents; when none is left, remove its finalizer
//! ```

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use beeline_api::{KindInfo, Kinds};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;

use crate::write::{ObjectId, Part, Removal, Write};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// What the collector knows of an object.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its kind.
    pub kind: &'static KindInfo,
    /// Which one.
    pub object: ObjectId,
    /// Its version, so that lists are replaced only where they were read.
    pub resource_version: String,
    /// Its end was asked for.
    pub deleting: bool,
    /// What has to happen before it goes.
    pub finalizers: Vec<String>,
    /// Who owns it.
    pub owners: Vec<OwnerReference>,
}

/// All that garbage is decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every object that has owners, or is one that waits for its dependents.
    pub nodes: Vec<Arc<Node>>,
    /// The unique ids of those owners that are there, looked up after `nodes` were read: another is gone.
    pub present: HashSet<String>,
    /// The kinds that are served.
    pub kinds: Arc<Kinds>,
}

/// What has to be written now.
pub fn plan(state: &State) -> Vec<Write> {
    let graph = Graph::new(state);
    let mut writes = Vec::new();
    for node in &state.nodes {
        if node.deleting && node.has(ORPHAN) {
            writes.extend(graph.orphan(node));
        } else if node.deleting && node.has(FOREGROUND) {
            writes.extend(graph.foreground(node));
        } else if !node.deleting {
            writes.extend(graph.collect(node));
        }
    }
    writes
}

struct Graph<'a> {
    state: &'a State,
    by_uid: HashMap<&'a str, &'a Node>,
    dependents: HashMap<&'a str, Vec<&'a Node>>,
}

impl Node {
    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|f| f == finalizer)
    }

    fn waits(&self) -> bool {
        self.deleting && self.has(FOREGROUND)
    }

    fn patch(&self, field: &str, value: &serde_json::Value) -> Write {
        let patch =
            json!({ "metadata": { "resourceVersion": self.resource_version, field: value } });
        Write::Patch {
            kind: self.kind,
            object: self.object.clone(),
            part: Part::Main,
            patch: Box::new(patch),
        }
    }

    fn without_finalizer(&self, finalizer: &str) -> Write {
        let rest: Vec<&String> = self.finalizers.iter().filter(|f| *f != finalizer).collect();
        self.patch("finalizers", &json!(rest))
    }

    fn without_owners(&self, uids: &BTreeSet<&str>) -> Write {
        let rest: Vec<&OwnerReference> =
            self.owners.iter().filter(|o| !uids.contains(o.uid.as_str())).collect();
        self.patch("ownerReferences", &json!(rest))
    }
}

impl<'a> Graph<'a> {
    fn new(state: &'a State) -> Self {
        let mut dependents: HashMap<&str, Vec<&Node>> = HashMap::new();
        for node in &state.nodes {
            for owner in &node.owners {
                dependents.entry(owner.uid.as_str()).or_default().push(node);
            }
        }
        let by_uid = state.nodes.iter().map(|n| (n.object.uid.as_str(), &**n)).collect();
        Self { state, by_uid, dependents }
    }

    /// An object goes when all its owners are gone, or when those that are left wait for it.
    fn collect(&self, node: &Node) -> Option<Write> {
        if node.owners.is_empty() {
            return None;
        }
        let (mut solid, mut waiting, mut absent) = (0, 0, BTreeSet::new());
        for owner in &node.owners {
            if !self.state.present.contains(&owner.uid) && self.is_served(owner) {
                absent.insert(owner.uid.as_str());
            } else if self.by_uid.get(owner.uid.as_str()).is_some_and(|o| o.waits()) {
                waiting += 1;
            } else {
                solid += 1;
            }
        }
        if solid > 0 {
            return (!absent.is_empty()).then(|| node.without_owners(&absent));
        }
        let how = if waiting > 0 && self.has_dependents(node) {
            Removal::Foreground
        } else {
            Removal::Graceful
        };
        Some(Write::delete(node.kind, node.object.clone(), how))
    }

    /// An owner of a kind that is not served here cannot be judged.
    fn is_served(&self, owner: &OwnerReference) -> bool {
        let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
        self.state.kinds.iter().any(|kind| kind.group == group && kind.kind == owner.kind)
    }

    fn has_dependents(&self, node: &Node) -> bool {
        self.dependents.contains_key(node.object.uid.as_str())
    }

    fn dependents_of(&self, node: &Node) -> impl Iterator<Item = &&'a Node> {
        self.dependents.get(node.object.uid.as_str()).into_iter().flatten()
    }

    fn orphan(&self, owner: &Node) -> Vec<Write> {
        let uids = BTreeSet::from([owner.object.uid.as_str()]);
        let strip: Vec<Write> =
            self.dependents_of(owner).map(|d| d.without_owners(&uids)).collect();
        if strip.is_empty() { vec![owner.without_finalizer(ORPHAN)] } else { strip }
    }

    fn foreground(&self, owner: &Node) -> Option<Write> {
        let blocked = self.dependents_of(owner).any(|dependent| {
            dependent
                .owners
                .iter()
                .any(|o| o.uid == owner.object.uid && o.block_owner_deletion == Some(true))
                && !(dependent.waits() && self.reaches(owner, &dependent.object.uid))
        });
        (!blocked).then(|| owner.without_finalizer(FOREGROUND))
    }

    /// Whether the object with this uid owns `node`, directly or not: then the two would wait for each other.
    fn reaches(&self, node: &Node, uid: &str) -> bool {
        let mut seen = BTreeMap::new();
        let mut open: Vec<&str> = node.owners.iter().map(|o| o.uid.as_str()).collect();
        while let Some(next) = open.pop() {
            if next == uid {
                return true;
            }
            if seen.insert(next, ()).is_none() {
                let owners = self.by_uid.get(next).into_iter().flat_map(|n| n.owners.iter());
                open.extend(owners.map(|o| o.uid.as_str()));
            }
        }
        false
    }
}
