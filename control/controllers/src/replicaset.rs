//! ReplicaSets: as many active Pods as wanted, no more.
//!
//! In: all ReplicaSets and Pods, and `now`. Out: Pods to create, delete, adopt and release, and status. Pure.
//! Whoever runs it must not plan from a state older than its own last writes: a Pod that it has
//! made but does not see would be made twice.

mod ranking;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use beeline_api::kinds;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use crate::events;
use crate::objects::{self, Timestamp};
use crate::write::{ObjectId, Part, Removal, Write};

/// Pods made or deleted for one ReplicaSet by one plan: what is missing then is made by the next.
const BURST_MAX: usize = 500;

/// All that ReplicaSets are decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every ReplicaSet.
    pub replica_sets: Vec<Arc<ReplicaSet>>,
    /// Every Pod.
    pub pods: Vec<Arc<Pod>>,
}

/// What has to be written now.
pub fn plan(state: &State, now: Timestamp) -> Vec<Write> {
    let index = Index::new(&state.pods);
    state.replica_sets.iter().flat_map(|set| plan_one(set, &index, now)).collect()
}

/// Pods by controller and the rest by namespace, so that a plan costs what it touches.
struct Index<'a> {
    owned: HashMap<&'a str, Vec<&'a Arc<Pod>>>,
    orphans: HashMap<&'a str, Vec<&'a Arc<Pod>>>,
}

impl<'a> Index<'a> {
    fn new(pods: &'a [Arc<Pod>]) -> Self {
        let mut index = Self { owned: HashMap::new(), orphans: HashMap::new() };
        for pod in pods {
            match objects::controller_of(&pod.metadata) {
                Some(owner) => index.owned.entry(owner.uid.as_str()).or_default().push(pod),
                None => {
                    index.orphans.entry(objects::namespace(&pod.metadata)).or_default().push(pod);
                }
            }
        }
        index
    }
}

fn plan_one(set: &ReplicaSet, index: &Index<'_>, now: Timestamp) -> Vec<Write> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let meta = &set.metadata;
    let deleting = objects::is_deleting(meta);
    let mut writes = Vec::new();
    let mut pods = Vec::new();
    for &pod in index.owned.get(objects::uid(meta)).into_iter().flatten() {
        if objects::selects(&spec.selector, pod.metadata.labels.as_ref()) {
            pods.push(pod);
        } else if !deleting && !objects::is_deleting(&pod.metadata) {
            writes.push(release(set, pod));
        }
    }
    for &pod in index.orphans.get(objects::namespace(meta)).into_iter().flatten() {
        let wanted = objects::is_active(pod)
            && objects::selects(&spec.selector, pod.metadata.labels.as_ref());
        if !deleting && wanted {
            writes.push(adopt(set, pod));
            pods.push(pod);
        }
    }
    pods.retain(|pod| objects::is_active(pod));
    if !deleting {
        writes.extend(resize(set, &pods, now));
    }
    writes.extend(status(set, &pods, now));
    writes
}

/// Create what is missing or delete what is too much.
fn resize(set: &ReplicaSet, pods: &[&Arc<Pod>], now: Timestamp) -> Vec<Write> {
    let wanted = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let wanted = usize::try_from(wanted).unwrap_or(0);
    if pods.len() < wanted {
        let missing = (wanted - pods.len()).min(BURST_MAX);
        return (0..missing).flat_map(|n| create(set, n, now)).collect();
    }
    let mut per_node: HashMap<&str, usize> = HashMap::new();
    for node in pods.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref()) {
        *per_node.entry(node).or_default() += 1;
    }
    let mut excess: Vec<&Arc<Pod>> = pods.to_vec();
    excess.sort_by_cached_key(|pod| ranking::rank(pod, &per_node, now));
    excess
        .into_iter()
        .take((pods.len() - wanted).min(BURST_MAX))
        .flat_map(|pod| {
            let text = format!("Deleted pod: {}", objects::name(&pod.metadata));
            [
                Write::delete(&kinds::POD, ObjectId::of(&pod.metadata), Removal::Graceful),
                event(set, "SuccessfulDelete", &text, now),
            ]
        })
        .collect()
}

fn create(set: &ReplicaSet, index: usize, now: Timestamp) -> [Write; 2] {
    let template = set.spec.as_ref().and_then(|s| s.template.clone()).unwrap_or_default();
    let from = template.metadata.unwrap_or_default();
    let meta = &set.metadata;
    let nanos = now.as_nanosecond().to_le_bytes();
    let hash = objects::fnv(&[objects::uid(meta).as_bytes(), &nanos, &index.to_le_bytes()]);
    // The name is at most 63 characters, since it becomes a host name.
    let base: String = objects::name(meta).chars().take(57).collect();
    let name = format!("{base}-{}", objects::suffix(hash, 5));
    let pod = Pod {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            generate_name: Some(format!("{}-", objects::name(meta))),
            namespace: meta.namespace.clone(),
            labels: from.labels,
            annotations: from.annotations,
            finalizers: from.finalizers,
            owner_references: Some(vec![objects::controller_reference(
                "apps/v1",
                "ReplicaSet",
                meta,
            )]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    };
    let text = format!("Created pod: {name}");
    [Write::create(&kinds::POD, &pod), event(set, "SuccessfulCreate", &text, now)]
}

fn event(set: &ReplicaSet, reason: &str, text: &str, now: Timestamp) -> Write {
    let about = events::about("apps/v1", "ReplicaSet", &set.metadata);
    events::write(&events::event(about, "Normal", reason, text, "replicaset-controller", now))
}

fn adopt(set: &ReplicaSet, pod: &Pod) -> Write {
    let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
    owners.push(objects::controller_reference("apps/v1", "ReplicaSet", &set.metadata));
    own(pod, &json!(owners))
}

fn release(set: &ReplicaSet, pod: &Pod) -> Write {
    let mut owners = pod.metadata.owner_references.clone().unwrap_or_default();
    owners.retain(|owner| owner.uid != objects::uid(&set.metadata));
    own(pod, &json!(owners))
}

fn own(pod: &Pod, owners: &serde_json::Value) -> Write {
    let patch = json!({ "metadata": {
        "resourceVersion": pod.metadata.resource_version, "ownerReferences": owners,
    }});
    Write::Patch {
        kind: &kinds::POD,
        object: ObjectId::of(&pod.metadata),
        part: Part::Main,
        patch: Box::new(patch),
    }
}

fn status(set: &ReplicaSet, pods: &[&Arc<Pod>], now: Timestamp) -> Option<Write> {
    let spec = set.spec.as_ref()?;
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let labels = spec.template.as_ref().and_then(|t| t.metadata.as_ref()?.labels.clone());
    let labels = labels.unwrap_or_default();
    let count = |wanted: &dyn Fn(&Pod) -> bool| {
        i32::try_from(pods.iter().filter(|pod| wanted(pod)).count()).unwrap_or(i32::MAX)
    };
    let some = |n: i32| (n > 0).then_some(n);
    let old = set.status.clone().unwrap_or_default();
    let new = ReplicaSetStatus {
        replicas: count(&|_| true),
        ready_replicas: some(count(&objects::is_ready)),
        available_replicas: some(count(&|pod| objects::is_available(pod, min_ready, now))),
        fully_labeled_replicas: some(count(&|pod| {
            pod.metadata.labels.as_ref().is_some_and(|l| objects::contains_all(l, &labels))
        })),
        observed_generation: set.metadata.generation,
        ..old.clone()
    };
    Write::status(&kinds::REPLICA_SET, ObjectId::of(&set.metadata), &old, &new)
}
