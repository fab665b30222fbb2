//! Which ReplicaSet belongs to which template, and the revisions that `kubectl rollout history` and `undo` read.

use std::collections::BTreeMap;

use beeline_api::kinds;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::json;

use super::{Rollout, Set};
use crate::objects::{self, Labels};
use crate::write::{ObjectId, Part, Write};

const HASH: &str = "pod-template-hash";
const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
const MAX: &str = "deployment.kubernetes.io/max-replicas";
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// What the Deployment's annotations give its current ReplicaSet: all but what each has for itself. That is how
/// `kubernetes.io/change-cause` gets into `kubectl rollout history`.
fn inherited(deployment: &Deployment) -> BTreeMap<String, String> {
    let mut annotations = deployment.metadata.annotations.clone().unwrap_or_default();
    let own = [LAST_APPLIED, REVISION, HISTORY, DESIRED, MAX];
    annotations.retain(|key, _| !own.contains(&key.as_str()));
    annotations
}

/// The hash of the template, different after each collision.
pub(super) fn template_hash(deployment: &Deployment) -> String {
    let template = deployment.spec.as_ref().map(|spec| &spec.template);
    let text = serde_json::to_vec(&template).unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|s| s.collision_count).unwrap_or(0);
    objects::suffix(objects::fnv(&[&text, &collisions.to_le_bytes()]), 10)
}

/// The name of the ReplicaSet with this hash.
pub(super) fn set_name(deployment: &Deployment, hash: &str) -> String {
    format!("{}-{hash}", objects::name(&deployment.metadata))
}

/// The ReplicaSet of the current template: by its hash, or by the template itself after a collision or an upgrade.
pub(super) fn find_new(deployment: &Deployment, hash: &str, sets: &[Set]) -> Option<usize> {
    let by_hash = sets.iter().position(|set| {
        set.object.metadata.labels.as_ref().and_then(|l| l.get(HASH)).is_some_and(|h| h == hash)
    });
    by_hash.or_else(|| {
        let wanted = deployment.spec.as_ref().map(|spec| plain(spec.template.clone()))?;
        sets.iter().position(|set| {
            let template = set.object.spec.as_ref().and_then(|s| s.template.clone());
            template.is_some_and(|template| plain(template) == wanted)
        })
    })
}

/// A template without the label that we add.
fn plain(mut template: PodTemplateSpec) -> PodTemplateSpec {
    if let Some(meta) = &mut template.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH);
        }
        meta.creation_timestamp = None;
    }
    template
}

/// The revision in these annotations.
pub(super) fn of(meta: &ObjectMeta) -> u64 {
    objects::annotation(meta, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// What ReplicaSets are told about the Deployment's size, so that scaling can be told from rolling.
pub(super) fn size_annotations(rollout: &Rollout<'_>) -> BTreeMap<&'static str, String> {
    let wanted = rollout.wanted();
    BTreeMap::from([
        (DESIRED, wanted.to_string()),
        (MAX, (wanted + rollout.limits().0).to_string()),
    ])
}

impl Rollout<'_> {
    /// Someone changed the number of replicas since the ReplicaSets were last written.
    pub(super) fn was_scaled(&self) -> bool {
        self.all().filter(|set| set.before() > 0).any(|set| {
            objects::annotation(&set.object.metadata, DESIRED)
                .and_then(|text| text.parse::<i32>().ok())
                .is_some_and(|desired| desired != self.wanted())
        })
    }

    /// See that the current template has a ReplicaSet with the highest revision.
    pub(super) fn revise(&mut self) {
        let highest = self.old.iter().map(|set| of(&set.object.metadata)).max().unwrap_or(0);
        let revision = match &self.new {
            Some(new) if of(&new.object.metadata) > highest => of(&new.object.metadata),
            _ => highest + 1,
        };
        match self.new.clone() {
            Some(new) => self.raise(&new, revision),
            None => self.create(revision),
        }
        if objects::annotation(&self.deployment.metadata, REVISION) != Some(&revision.to_string()) {
            let patch =
                json!({ "metadata": { "annotations": { REVISION: revision.to_string() } } });
            self.writes.push(Write::Patch {
                kind: &kinds::DEPLOYMENT,
                object: ObjectId::of(&self.deployment.metadata),
                part: Part::Main,
                patch: Box::new(patch),
            });
        }
    }

    /// The ReplicaSet of the current template has the newest revision, also if it is an old template that is wanted
    /// again, and the Deployment's annotations as they are now.
    fn raise(&mut self, new: &Set, revision: u64) {
        let meta = &new.object.metadata;
        let mut patch = json!({});
        let mut annotations = inherited(self.deployment);
        annotations.retain(|key, value| objects::annotation(meta, key) != Some(value.as_str()));
        if of(meta) != revision {
            annotations.insert(REVISION.to_owned(), revision.to_string());
            if of(meta) > 0 {
                let past = objects::annotation(meta, HISTORY).map(|h| format!("{h},"));
                let history = format!("{}{}", past.unwrap_or_default(), of(meta));
                annotations.insert(HISTORY.to_owned(), history);
            }
        }
        if !annotations.is_empty() {
            patch["metadata"] = json!({ "annotations": annotations });
        }
        let wanted = self.deployment.spec.as_ref().and_then(|s| s.min_ready_seconds);
        let there = new.object.spec.as_ref().and_then(|s| s.min_ready_seconds);
        if wanted.unwrap_or(0) != there.unwrap_or(0) {
            patch["spec"] = json!({ "minReadySeconds": wanted.unwrap_or(0) });
        }
        if patch.as_object().is_some_and(|p| !p.is_empty()) {
            self.writes.push(Write::Patch {
                kind: &kinds::REPLICA_SET,
                object: ObjectId::of(meta),
                part: Part::Main,
                patch: Box::new(patch),
            });
        }
    }

    /// A template without a ReplicaSet.
    fn create(&mut self, revision: u64) {
        // Another hash comes with the collision count in the status; an orphan is adopted first.
        if self.taken.is_some() {
            return;
        }
        let Some(spec) = &self.deployment.spec else { return };
        let meta = &self.deployment.metadata;
        let name = set_name(self.deployment, &self.hash);
        let hash = Labels::from([(HASH.to_owned(), self.hash.clone())]);
        let with_hash = |labels: Option<&Labels>| {
            let mut labels = labels.cloned().unwrap_or_default();
            labels.extend(hash.clone());
            Some(labels)
        };
        let mut template = spec.template.clone();
        let template_meta = template.metadata.get_or_insert_default();
        template_meta.labels = with_hash(template_meta.labels.as_ref());
        let labels = template_meta.labels.clone();
        let mut selector = spec.selector.clone();
        selector.match_labels = with_hash(selector.match_labels.as_ref());
        let mut annotations = inherited(self.deployment);
        annotations.insert(REVISION.to_owned(), revision.to_string());
        annotations.extend(size_annotations(self).into_iter().map(|(k, v)| (k.to_owned(), v)));
        let set = ReplicaSet {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                namespace: meta.namespace.clone(),
                labels,
                annotations: Some(annotations),
                owner_references: Some(vec![objects::controller_reference(
                    "apps/v1",
                    "Deployment",
                    meta,
                )]),
                ..ObjectMeta::default()
            },
            spec: Some(ReplicaSetSpec {
                min_ready_seconds: spec.min_ready_seconds.filter(|s| *s > 0),
                replicas: Some(self.replicas_of_new()),
                selector,
                template: Some(template),
            }),
            status: None,
        };
        self.writes.push(Write::create(&kinds::REPLICA_SET, &set));
        self.writes.push(self.scaled(&name, 0, self.replicas_of_new()));
        self.created = Some(name);
    }
}
