//! What a Deployment reports of itself: counts and the conditions that `kubectl rollout status` waits for.

use beeline_api::kinds;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSet};

use super::{Rollout, Set};
use crate::objects;
use crate::write::{ObjectId, Write};

impl Rollout<'_> {
    /// All replicas run the current template and are available.
    pub(super) fn is_complete(&self) -> bool {
        self.counts_are_complete(&self.counts())
    }

    fn counts_are_complete(&self, status: &DeploymentStatus) -> bool {
        let wanted = self.wanted();
        self.created.is_none()
            && self.new.is_some()
            && status.updated_replicas.unwrap_or(0) == wanted
            && status.replicas.unwrap_or(0) == wanted
            && status.available_replicas.unwrap_or(0) == wanted
    }

    pub(super) fn write_status(&mut self) {
        let old = self.deployment.status.clone().unwrap_or_default();
        let mut status = self.counts();
        status.conditions = Some(self.conditions(&old, &status));
        let foreign = |set: &ReplicaSet| objects::controller_of(&set.metadata).is_some();
        if self.taken.is_some_and(|set| foreign(set)) && !self.paused() {
            status.collision_count = Some(old.collision_count.unwrap_or(0) + 1);
        }
        let object = ObjectId::of(&self.deployment.metadata);
        self.writes.extend(Write::status(&kinds::DEPLOYMENT, object, &old, &status));
    }

    fn counts(&self) -> DeploymentStatus {
        let sum = |count: fn(&Set) -> i32| self.all().map(count).sum::<i32>();
        let available = sum(Set::available);
        let some = |count: i32| (count > 0).then_some(count);
        DeploymentStatus {
            observed_generation: self.deployment.metadata.generation,
            replicas: some(sum(Set::existing)),
            updated_replicas: some(self.new.as_ref().map_or(0, Set::existing)),
            ready_replicas: some(sum(|set| {
                set.object.status.as_ref().and_then(|s| s.ready_replicas).unwrap_or(0)
            })),
            available_replicas: some(available),
            unavailable_replicas: some(sum(|set| set.replicas) - available),
            collision_count: self.deployment.status.as_ref().and_then(|s| s.collision_count),
            ..DeploymentStatus::default()
        }
    }

    fn conditions(
        &self,
        old: &DeploymentStatus,
        status: &DeploymentStatus,
    ) -> Vec<DeploymentCondition> {
        let known = old.conditions.clone().unwrap_or_default();
        let find = |kind: &str| known.iter().find(|c| c.type_ == kind).cloned();
        let mut next: Vec<DeploymentCondition> = known
            .iter()
            .filter(|c| !["Available", "Progressing"].contains(&c.type_.as_str()))
            .cloned()
            .collect();
        next.extend(self.progressing(find("Progressing"), old, status));
        let enough = status.available_replicas.unwrap_or(0) >= self.wanted() - self.limits().1;
        let available = if enough {
            self.condition(
                "Available",
                "True",
                "MinimumReplicasAvailable",
                "Deployment has minimum availability.",
            )
        } else {
            let text = "Deployment does not have minimum availability.";
            self.condition("Available", "False", "MinimumReplicasUnavailable", text)
        };
        next.push(keep_times(find("Available"), available));
        next.sort_by(|a, b| a.type_.cmp(&b.type_));
        next
    }

    fn progressing(
        &self,
        known: Option<DeploymentCondition>,
        old: &DeploymentStatus,
        status: &DeploymentStatus,
    ) -> Option<DeploymentCondition> {
        let deadline = self.deployment.spec.as_ref().and_then(|s| s.progress_deadline_seconds)?;
        let reason = known.as_ref().and_then(|c| c.reason.clone()).unwrap_or_default();
        if objects::is_deleting(&self.deployment.metadata) {
            return known;
        }
        if self.paused() {
            let paused = self.condition(
                "Progressing",
                "Unknown",
                "DeploymentPaused",
                "Deployment is paused",
            );
            return Some(keep_times(known, paused));
        }
        if let Some(name) = &self.created {
            let text = format!("Created new replica set \"{name}\"");
            return Some(self.condition("Progressing", "True", "NewReplicaSetCreated", &text));
        }
        if reason == "DeploymentPaused" {
            let text = "Deployment is resumed";
            return Some(self.condition("Progressing", "Unknown", "DeploymentResumed", text));
        }
        let name =
            self.new.as_ref().map_or_else(|| objects::name(&self.deployment.metadata), Set::name);
        if self.counts_are_complete(status) {
            let text = format!("ReplicaSet \"{name}\" has successfully progressed.");
            return Some(keep_times(
                known,
                self.condition("Progressing", "True", "NewReplicaSetAvailable", &text),
            ));
        }
        let settled = reason == "NewReplicaSetAvailable"
            && status.replicas.unwrap_or(0) == status.updated_replicas.unwrap_or(0);
        if settled {
            return known;
        }
        let updated = self.condition(
            "Progressing",
            "True",
            "ReplicaSetUpdated",
            &format!("ReplicaSet \"{name}\" is progressing."),
        );
        if has_progressed(old, status) || known.is_none() {
            // Progress starts the deadline again; the transition keeps its time if there is none.
            return Some(keep_transition(known, updated));
        }
        let known = known?;
        let since = known.last_update_time.as_ref().map(|t| t.0);
        let overdue =
            since.is_some_and(|since| objects::age(since, self.now) >= objects::seconds(deadline));
        if reason == "ProgressDeadlineExceeded" || !overdue || reason == "NewReplicaSetAvailable" {
            return Some(known);
        }
        let text = format!("ReplicaSet \"{name}\" has timed out progressing.");
        Some(self.condition("Progressing", "False", "ProgressDeadlineExceeded", &text))
    }

    fn condition(
        &self,
        kind: &str,
        status: &str,
        reason: &str,
        message: &str,
    ) -> DeploymentCondition {
        DeploymentCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_transition_time: Some(objects::stamp(self.now)),
            last_update_time: Some(objects::stamp(self.now)),
        }
    }
}

/// More new ones, fewer old ones, or more that are ready or available.
fn has_progressed(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let n = |count: Option<i32>| count.unwrap_or(0);
    let outdated = |s: &DeploymentStatus| n(s.replicas) - n(s.updated_replicas);
    n(new.updated_replicas) > n(old.updated_replicas)
        || outdated(new) < outdated(old)
        || n(new.ready_replicas) > n(old.ready_replicas)
        || n(new.available_replicas) > n(old.available_replicas)
}

/// The same condition stays as it is; a new reason keeps the time of the transition if the status is the same.
fn keep_times(
    known: Option<DeploymentCondition>,
    next: DeploymentCondition,
) -> DeploymentCondition {
    match known {
        Some(known)
            if known.status == next.status
                && known.reason == next.reason
                && known.message == next.message =>
        {
            known
        }
        known => keep_transition(known, next),
    }
}

fn keep_transition(
    known: Option<DeploymentCondition>,
    next: DeploymentCondition,
) -> DeploymentCondition {
    match known {
        Some(known) if known.status == next.status => {
            DeploymentCondition { last_transition_time: known.last_transition_time, ..next }
        }
        _ => next,
    }
}
