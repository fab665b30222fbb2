//! Plans as text, and a rolling update simulated with random readiness.

use std::collections::BTreeMap;

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::*;
use crate::write::Write;

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn deployment(replicas: i32, image: &str, extra: &Value) -> Value {
    let mut it = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "d", "generation": 1 },
        "spec": {
            "replicas": replicas, "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "c", "image": image }] },
            },
        },
        "status": {},
    });
    json_patch(&mut it, extra);
    it
}

/// RFC 7386, for building cases and for playing the registry.
fn json_patch(into: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *into = patch.clone();
        return;
    };
    if !into.is_object() {
        *into = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(key);
        } else {
            json_patch(&mut into[key.as_str()], value);
        }
    }
}

/// A registry of two kinds, and a ReplicaSet controller that is as slow as the dice say.
struct Cluster {
    deployment: Value,
    sets: BTreeMap<String, Value>,
    /// Per set: each Pod's readiness.
    pods: BTreeMap<String, Vec<bool>>,
    created: i64,
    now: Timestamp,
}

impl Cluster {
    fn new(deployment: Value) -> Self {
        Self { deployment, sets: BTreeMap::new(), pods: BTreeMap::new(), created: 0, now: now() }
    }

    fn state(&self) -> State {
        let parse = |v: &Value| Arc::new(serde_json::from_value(v.clone()).unwrap());
        State {
            deployments: vec![
                serde_json::from_value(self.deployment.clone()).map(Arc::new).unwrap(),
            ],
            replica_sets: self.sets.values().map(parse).collect(),
            pods: Vec::new(),
        }
    }

    fn step(&mut self) -> usize {
        let writes = plan(&self.state(), self.now);
        let count = writes.len();
        for write in writes {
            self.apply(write);
        }
        count
    }

    fn apply(&mut self, write: Write) {
        match write {
            Write::Create { kind, .. } if kind.kind == "Event" => {}
            Write::Create { name, object, .. } => {
                let mut set = *object;
                self.created += 1;
                set["metadata"]["uid"] = json!(format!("uid-{name}"));
                set["metadata"]["generation"] = json!(1);
                let at = self.now.as_second() + self.created;
                set["metadata"]["creationTimestamp"] = json!(Timestamp::from_second(at).unwrap());
                set["status"] = json!({ "replicas": 0 });
                assert!(self.sets.insert(name.clone(), set).is_none(), "{name} created twice");
                self.pods.insert(name, Vec::new());
            }
            Write::Patch { kind, object, patch, .. } if kind.kind == "ReplicaSet" => {
                let set = self.sets.get_mut(&object.name).unwrap();
                json_patch(set, &patch);
            }
            Write::Patch { patch, .. } => json_patch(&mut self.deployment, &patch),
            Write::Delete { object, .. } => {
                self.sets.remove(&object.name);
                self.pods.remove(&object.name);
            }
        }
    }

    /// The ReplicaSet controller and the nodes do some of what they have to.
    fn live(&mut self, dice: &mut StdRng) {
        for (name, set) in &mut self.sets {
            let pods = self.pods.get_mut(name).unwrap();
            let wanted = usize::try_from(set["spec"]["replicas"].as_i64().unwrap()).unwrap();
            if dice.random_bool(0.7) {
                // Not ready ones go first, as the ranking has it.
                pods.sort_by_key(|ready| !ready);
                pods.resize(wanted.max(pods.len().min(wanted)), false);
            }
            for ready in pods.iter_mut() {
                *ready |= dice.random_bool(0.3);
            }
            if dice.random_bool(0.7) {
                let ready = pods.iter().filter(|ready| **ready).count();
                set["status"] = json!({
                    "replicas": pods.len(), "readyReplicas": ready, "availableReplicas": ready,
                    "observedGeneration": set["metadata"]["generation"],
                });
            }
        }
    }

    fn available(&self) -> usize {
        self.pods.values().flatten().filter(|ready| **ready).count()
    }

    fn total(&self) -> usize {
        self.pods.values().map(Vec::len).sum()
    }

    fn reason(&self) -> String {
        let conditions =
            self.deployment["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let progressing = conditions.iter().find(|c| c["type"] == "Progressing");
        progressing.map(|c| c["reason"].as_str().unwrap().to_owned()).unwrap_or_default()
    }

    fn settle(&mut self, dice: &mut StdRng) {
        for _ in 0..150 {
            self.step();
            self.live(dice);
        }
        assert_eq!(self.reason(), "NewReplicaSetAvailable", "{:#}", self.deployment["status"]);
        assert_eq!(self.step(), 0, "a settled Deployment needs no writes");
    }
}

#[test]
fn a_rolling_update_stays_within_its_limits() {
    for seed in 0..40_u64 {
        let mut dice = StdRng::seed_from_u64(seed);
        let replicas = dice.random_range(1..12);
        let surge = dice.random_range(0..4);
        let unavailable = dice.random_range(0..4);
        let rolling = json!({ "spec": { "strategy": { "rollingUpdate": {
            "maxSurge": surge, "maxUnavailable": unavailable } } } });
        let mut cluster = Cluster::new(deployment(replicas, "a", &rolling));
        cluster.settle(&mut dice);
        cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("b");
        cluster.deployment["metadata"]["generation"] = json!(2);
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        let minimum = usize::try_from((replicas - unavailable).max(0)).unwrap();
        let maximum = usize::try_from(replicas + surge).unwrap();
        for _ in 0..150 {
            cluster.step();
            let specs: i64 =
                cluster.sets.values().map(|s| s["spec"]["replicas"].as_i64().unwrap()).sum();
            assert!(
                usize::try_from(specs).unwrap() <= maximum,
                "seed {seed}: {specs} wanted, {maximum} allowed"
            );
            cluster.live(&mut dice);
            let (available, total) = (cluster.available(), cluster.total());
            assert!(available >= minimum, "seed {seed}: {available} available, {minimum} needed");
            // A set that has not yet ended its Pods may still hold them while the other grows.
            assert!(
                total <= maximum + usize::try_from(replicas).unwrap(),
                "seed {seed}: {total} Pods"
            );
        }
        cluster.settle(&mut dice);
        assert_eq!(
            cluster.deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
            "2"
        );
        assert_eq!(cluster.deployment["status"]["updatedReplicas"], replicas);
    }
}

#[test]
fn the_cause_of_a_change_reaches_the_set_that_made_it() {
    let mut cluster = Cluster::new(deployment(1, "web:1", &json!({})));
    cluster.step();
    let cause = json!({ "metadata": { "annotations": {
        "kubernetes.io/change-cause": "why", "kubectl.kubernetes.io/last-applied-configuration": "{}",
    } } });
    json_patch(&mut cluster.deployment, &cause);
    cluster.step();
    let set = cluster.sets.values().next().unwrap()["metadata"]["annotations"].clone();
    assert_eq!(set["kubernetes.io/change-cause"], "why");
    assert!(set.get("kubectl.kubernetes.io/last-applied-configuration").is_none());
    let before = cluster.sets.clone();
    cluster.step();
    assert_eq!(cluster.sets, before, "nothing is left to write");
}

#[test]
fn undo_gives_the_old_set_the_newest_revision() {
    let mut dice = StdRng::seed_from_u64(1);
    let mut cluster = Cluster::new(deployment(2, "a", &json!({})));
    cluster.settle(&mut dice);
    let first = cluster.sets.keys().next().unwrap().clone();
    for image in ["b", "a"] {
        cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        cluster.settle(&mut dice);
    }
    let annotations = &cluster.sets[&first]["metadata"]["annotations"];
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
    assert_eq!(cluster.sets.len(), 2);
    for image in ["c", "d", "e"] {
        cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image);
        cluster.settle(&mut dice);
    }
    assert_eq!(cluster.sets.len(), 3, "two old ones and the current");
}

#[test]
fn paused_scales_but_does_not_roll() {
    let mut dice = StdRng::seed_from_u64(2);
    let mut cluster = Cluster::new(deployment(4, "a", &json!({})));
    cluster.settle(&mut dice);
    json_patch(&mut cluster.deployment, &json!({ "spec": { "paused": true, "replicas": 6 } }));
    cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("b");
    for _ in 0..20 {
        cluster.step();
        cluster.live(&mut dice);
    }
    assert_eq!((cluster.sets.len(), cluster.total()), (1, 6));
    assert_eq!(cluster.reason(), "DeploymentPaused");
    json_patch(&mut cluster.deployment, &json!({ "spec": { "paused": null } }));
    cluster.settle(&mut dice);
    assert_eq!(cluster.deployment["status"]["updatedReplicas"], 6);
}

#[test]
fn scaling_in_the_middle_is_shared() {
    let mut dice = StdRng::seed_from_u64(3);
    let mut cluster = Cluster::new(deployment(10, "a", &json!({})));
    cluster.settle(&mut dice);
    cluster.deployment["spec"]["template"]["spec"]["containers"][0]["image"] = json!("b");
    for _ in 0..3 {
        cluster.step();
    }
    cluster.deployment["spec"]["replicas"] = json!(20);
    cluster.step();
    let sizes: Vec<i64> =
        cluster.sets.values().map(|s| s["spec"]["replicas"].as_i64().unwrap()).collect();
    assert!(sizes.iter().sum::<i64>() <= 25 && sizes.iter().all(|size| *size >= 5), "{sizes:?}");
    cluster.settle(&mut dice);
    cluster.deployment["spec"]["replicas"] = json!(0);
    cluster.settle(&mut dice);
    assert_eq!(cluster.total(), 0);
}

#[test]
fn a_rollout_that_stands_still_misses_its_deadline() {
    let mut cluster = Cluster::new(deployment(1, "a", &json!({})));
    cluster.step();
    assert_eq!(cluster.reason(), "NewReplicaSetCreated");
    cluster.now = "2026-01-01T00:09:59Z".parse().unwrap();
    cluster.step();
    assert_ne!(cluster.reason(), "ProgressDeadlineExceeded");
    cluster.now = "2026-01-01T00:20:01Z".parse().unwrap();
    cluster.step();
    assert_eq!(cluster.reason(), "ProgressDeadlineExceeded");
    let before = cluster.deployment.clone();
    cluster.step();
    assert_eq!(cluster.deployment, before);
}

#[test]
fn a_taken_name_leads_to_another_hash() {
    let mut cluster = Cluster::new(deployment(1, "a", &json!({})));
    let first = plan(&cluster.state(), now());
    let Some(Write::Create { name, .. }) = first.first() else { panic!("{first:?}") };
    let foreign = json!({
        "metadata": { "name": name, "namespace": "default", "uid": "x",
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "o", "uid": "o", "controller": true }] },
        "spec": { "replicas": 0, "selector": { "matchLabels": { "app": "other" } } },
    });
    cluster.sets.insert(name.clone(), foreign);
    cluster.step();
    assert_eq!(cluster.deployment["status"]["collisionCount"], 1);
    cluster.step();
    assert_eq!(cluster.sets.len(), 2);
}
