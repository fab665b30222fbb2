//! What nodes may have and write: the index of references that `beeline_auth::nodes` decides by, and what a write may change.
//!
//! In: every change of Pods, volumes, attachments and slices. Out: references that are as new as the cache.

mod references;
pub(crate) mod restriction;

use beeline_api::KindInfo;
use beeline_api::kinds::{PERSISTENT_VOLUME, POD, RESOURCE_SLICE, VOLUME_ATTACHMENT};
use beeline_api::meta::{self, text};
use beeline_auth::nodes::{Named, Nodes, Referred};
use serde_json::Value;

use crate::bucket::Step;
use crate::object::Object;
use crate::roles;

/// Where the kinds are that references come from.
pub(crate) const GROUPS: [&str; 3] = ["", "storage.k8s.io", "resource.k8s.io"];

/// An index without references.
pub(crate) fn authorizer() -> Nodes {
    Nodes::new(roles::rules(&roles::policy::node_rules()))
}

/// Follows one change.
pub(crate) fn observe(nodes: &Nodes, kind: &KindInfo, step: &Step) {
    let Some(object) = step.new.as_ref().or(step.previous.as_ref()) else { return };
    let Some(source) = Source::of(kind) else { return };
    if source == Source::Pod
        && let (Some(new), Some(old)) = (&step.new, &step.previous)
        && says_the_same(&new.value, &old.value)
    {
        return;
    }
    // Decoded for good: the scheduler and the feed look at these kinds next.
    let at = &object.value;
    source.set(nodes, at, step.new.as_ref().map(|_| &**at));
}

/// One that was stored before this process began.
pub(crate) fn load(nodes: &Nodes, kind: &KindInfo, object: &Object) {
    if let Some(source) = Source::of(kind) {
        let value = object.glance();
        source.set(nodes, &value, Some(&value));
    }
}

/// Most changes of Pods are of their status.
fn says_the_same(new: &Value, old: &Value) -> bool {
    new["metadata"]["uid"] == old["metadata"]["uid"]
        && new["spec"] == old["spec"]
        && new["status"]["resourceClaimStatuses"] == old["status"]["resourceClaimStatuses"]
}

/// Kinds that references come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Pod,
    Volume,
    Attachment,
    Slice,
}

impl Source {
    fn of(kind: &KindInfo) -> Option<Self> {
        let all = [
            (&POD, Self::Pod),
            (&PERSISTENT_VOLUME, Self::Volume),
            (&VOLUME_ATTACHMENT, Self::Attachment),
            (&RESOURCE_SLICE, Self::Slice),
        ];
        all.into_iter().find(|(one, _)| *one == kind).map(|(_, source)| source)
    }

    /// What an object refers to now; `at` is a version of it that tells its name.
    fn set(self, nodes: &Nodes, at: &Value, now: Option<&Value>) {
        let (namespace, name) = (meta::namespace(at), meta::name(at));
        let node = now.map(|now| text(&now["spec"], "nodeName")).filter(|node| !node.is_empty());
        let kind = match self {
            Self::Volume => {
                return nodes.write().set_volume(name, now.map(references::of_volume));
            }
            Self::Pod => Referred::Pod,
            Self::Attachment => Referred::Attachment,
            Self::Slice => Referred::Slice,
        };
        let objects = now.filter(|_| self == Self::Pod).map(references::of_pod).unwrap_or_default();
        nodes.write().set(Named::new(kind, namespace, name), node.map(|node| (node, objects)));
    }
}
