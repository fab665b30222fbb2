//! Deployments: one ReplicaSet per template, moved from the old to the new within the limits of the strategy.
//!
//! In: all Deployments and ReplicaSets, Pods where the strategy is Recreate, and `now`. Out: writes to
//! ReplicaSets and to the Deployments' status. Pure; never looks at Pods for counting: the ReplicaSets' status does that.
//!
//! ```text
//! paused or scaled ──> spread the wanted replicas over what exists
//! RollingUpdate    ──> new up within maxSurge ──> old down within maxUnavailable, unhealthy ones first
//! Recreate         ──> old to zero ──> wait for their Pods to be gone ──> new up
//! complete         ──> old ReplicaSets beyond revisionHistoryLimit go
//! ```

mod revision;
mod rolling;
mod status;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use beeline_api::kinds;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use crate::events;
use crate::objects::{self, Timestamp};
use crate::write::{ObjectId, Part, Removal, Write};

/// All that Deployments are decided from.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Every Deployment.
    pub deployments: Vec<Arc<Deployment>>,
    /// Every ReplicaSet.
    pub replica_sets: Vec<Arc<ReplicaSet>>,
    /// Every Pod.
    pub pods: Vec<Arc<Pod>>,
}

/// What has to be written now.
pub fn plan(state: &State, now: Timestamp) -> Vec<Write> {
    state
        .deployments
        .iter()
        .flat_map(|deployment| {
            let mut rollout = Rollout::read(deployment, state, now);
            rollout.adopt(state);
            rollout.decide(state);
            rollout.writes
        })
        .collect()
}

/// A ReplicaSet with the number of replicas that it is to have.
#[derive(Clone, Debug)]
struct Set {
    object: Arc<ReplicaSet>,
    replicas: i32,
}

/// One Deployment while it is being decided.
struct Rollout<'a> {
    deployment: &'a Deployment,
    /// The ReplicaSet of the current template.
    new: Option<Set>,
    /// All others, oldest first.
    old: Vec<Set>,
    /// Hash of the current template.
    hash: String,
    /// The name that the current template's ReplicaSet would get is this one's.
    taken: Option<&'a Arc<ReplicaSet>>,
    /// The ReplicaSet that this plan creates.
    created: Option<String>,
    now: Timestamp,
    writes: Vec<Write>,
}

impl Set {
    fn new(object: &Arc<ReplicaSet>) -> Self {
        let replicas = object.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
        Self { object: Arc::clone(object), replicas }
    }

    fn name(&self) -> &str {
        objects::name(&self.object.metadata)
    }

    /// Replicas before this plan.
    fn before(&self) -> i32 {
        self.object.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    fn available(&self) -> i32 {
        self.object.status.as_ref().and_then(|s| s.available_replicas).unwrap_or(0)
    }

    fn existing(&self) -> i32 {
        self.object.status.as_ref().map_or(0, |s| s.replicas)
    }
}

impl<'a> Rollout<'a> {
    fn read(deployment: &'a Deployment, state: &'a State, now: Timestamp) -> Self {
        let uid = objects::uid(&deployment.metadata);
        let mut sets: Vec<Set> = state
            .replica_sets
            .iter()
            .filter(|set| objects::is_controlled_by(&set.metadata, uid))
            .map(Set::new)
            .collect();
        sets.sort_by_key(|set| (objects::created(&set.object.metadata), set.name().to_owned()));
        let hash = revision::template_hash(deployment);
        let index = revision::find_new(deployment, &hash, &sets);
        let new = index.map(|index| sets.remove(index));
        let name = new.is_none().then(|| revision::set_name(deployment, &hash));
        let taken = name.and_then(|name| {
            state.replica_sets.iter().find(|set| {
                set.metadata.namespace == deployment.metadata.namespace
                    && objects::name(&set.metadata) == name
            })
        });
        Self { deployment, new, old: sets, hash, taken, created: None, now, writes: Vec::new() }
    }

    /// Take ReplicaSets that the selector matches and nobody controls; the next plan counts them.
    fn adopt(&mut self, state: &State) {
        let Some(spec) = &self.deployment.spec else { return };
        if objects::is_deleting(&self.deployment.metadata) {
            return;
        }
        for set in &state.replica_sets {
            let orphan = set.metadata.namespace == self.deployment.metadata.namespace
                && objects::controller_of(&set.metadata).is_none()
                && !objects::is_deleting(&set.metadata)
                && objects::selects(&spec.selector, set.metadata.labels.as_ref());
            if !orphan {
                continue;
            }
            let mut owners = set.metadata.owner_references.clone().unwrap_or_default();
            owners.push(objects::controller_reference(
                "apps/v1",
                "Deployment",
                &self.deployment.metadata,
            ));
            let patch = json!({ "metadata": {
                "resourceVersion": set.metadata.resource_version, "ownerReferences": owners,
            }});
            self.writes.push(Write::Patch {
                kind: &kinds::REPLICA_SET,
                object: ObjectId::of(&set.metadata),
                part: Part::Main,
                patch: Box::new(patch),
            });
        }
    }

    fn decide(&mut self, state: &State) {
        if !objects::is_deleting(&self.deployment.metadata) {
            if self.paused() || self.was_scaled() {
                self.rescale();
            } else if self.strategy() == "Recreate" {
                self.recreate(state);
            } else {
                self.revise();
                self.roll();
            }
            self.write_replicas();
            if self.is_complete() && !self.paused() {
                self.clean_up();
            }
        }
        self.write_status();
    }

    /// Old to zero, wait for their Pods to be gone, then the new.
    fn recreate(&mut self, state: &State) {
        for set in &mut self.old {
            set.replicas = 0;
        }
        let old: Vec<&str> =
            self.old.iter().map(|set| objects::uid(&set.object.metadata)).collect();
        let running = state.pods.iter().any(|pod| {
            !objects::is_terminal(pod)
                && objects::controller_of(&pod.metadata)
                    .is_some_and(|owner| old.contains(&owner.uid.as_str()))
        });
        if self.old.iter().any(|set| set.before() > 0) || running {
            return;
        }
        self.revise();
        let wanted = self.wanted();
        if let Some(new) = &mut self.new {
            new.replicas = wanted;
        }
    }

    /// Write what changed in the ReplicaSets that exist.
    fn write_replicas(&mut self) {
        let annotations = revision::size_annotations(self);
        let mut writes = Vec::new();
        for set in self.old.iter().chain(&self.new) {
            let stale = set.replicas > 0
                && annotations.iter().any(|(key, value)| {
                    objects::annotation(&set.object.metadata, key) != Some(value)
                });
            if set.replicas == set.before() && !stale {
                continue;
            }
            let mut patch = json!({ "metadata": { "annotations": annotations } });
            if set.replicas != set.before() {
                writes.push(self.scaled(set.name(), set.before(), set.replicas));
                patch["spec"] = json!({ "replicas": set.replicas });
            }
            writes.push(Write::Patch {
                kind: &kinds::REPLICA_SET,
                object: ObjectId::of(&set.object.metadata),
                part: Part::Main,
                patch: Box::new(patch),
            });
        }
        self.writes.extend(writes);
    }

    /// The Event that `kubectl describe` shows for a change of size.
    fn scaled(&self, set: &str, from: i32, to: i32) -> Write {
        let direction = if to > from { "up" } else { "down" };
        let text = format!("Scaled {direction} replica set {set} from {from} to {to}");
        let about = events::about("apps/v1", "Deployment", &self.deployment.metadata);
        let by = "deployment-controller";
        events::write(&events::event(about, "Normal", "ScalingReplicaSet", &text, by, self.now))
    }

    /// Old, empty ReplicaSets beyond the history limit go, oldest revision first.
    fn clean_up(&mut self) {
        let limit = self.deployment.spec.as_ref().and_then(|s| s.revision_history_limit);
        let limit = usize::try_from(limit.unwrap_or(10)).unwrap_or(0);
        let excess = self.old.len().saturating_sub(limit);
        let mut writes = Vec::new();
        let mut by_age: Vec<&Set> = self.old.iter().collect();
        by_age.sort_by_key(|set| revision::of(&set.object.metadata));
        for set in by_age.into_iter().take(excess) {
            let generation = set.object.metadata.generation.unwrap_or(0);
            let observed = set.object.status.as_ref().and_then(|s| s.observed_generation);
            let idle = set.before() == 0
                && set.existing() == 0
                && observed.unwrap_or(0) >= generation
                && !objects::is_deleting(&set.object.metadata);
            if idle {
                writes.push(Write::delete(
                    &kinds::REPLICA_SET,
                    ObjectId::of(&set.object.metadata),
                    Removal::Graceful,
                ));
            }
        }
        self.writes.extend(writes);
    }

    fn paused(&self) -> bool {
        self.deployment.spec.as_ref().and_then(|s| s.paused).unwrap_or(false)
    }

    fn strategy(&self) -> &str {
        let spec = self.deployment.spec.as_ref();
        let strategy = spec.and_then(|s| s.strategy.as_ref());
        strategy.and_then(|s| s.type_.as_deref()).unwrap_or("RollingUpdate")
    }

    /// Replicas that the Deployment asks for.
    fn wanted(&self) -> i32 {
        self.deployment.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
    }

    fn all(&self) -> impl Iterator<Item = &Set> {
        self.old.iter().chain(&self.new)
    }
}
