//! The loop: reads the cache, decides for all Pods that wait, binds, and says what it did.
//!
//! In: changes of Pods and Nodes. Out: bindings and Events. Pods that fit nowhere are tried again when a Node or
//! another Pod changed, and after a back-off at the latest.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beeline_api::{kinds, time};
use beeline_kit::{Backoff, Clock, Tasks, reconcile_loop};
use beeline_registry::Client;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Event, Pod};
use tokio::sync::Mutex;

use crate::decide::{Decision, decide};
use crate::events;
use crate::snapshot::Snapshot;

const SCHEDULER: &str = "default-scheduler";
/// At the latest then, Pods that fit nowhere are looked at again.
const INTERVAL: Duration = Duration::from_secs(5);
const BIND_AT_ONCE_MAX: usize = 32;
/// How long our own bindings may take to show in the cache before we plan anyway.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);

/// Start the loop; it ends with `tasks`.
pub fn start(client: &Client, clock: Arc<dyn Clock>, tasks: &Tasks) {
    let nudge = client.changed(&[&kinds::POD, &kinds::NODE]);
    let scheduler =
        Arc::new(Scheduler { client: client.clone(), clock, waiting: Mutex::default() });
    let step = move || {
        let scheduler = Arc::clone(&scheduler);
        async move { scheduler.run().await }
    };
    tasks.spawn("scheduler", reconcile_loop("scheduler", tasks.token(), INTERVAL, nudge, step));
}

struct Scheduler {
    client: Client,
    clock: Arc<dyn Clock>,
    /// Pods that fit nowhere, by uid: when to say so again.
    waiting: Mutex<HashMap<String, Waiting>>,
}

struct Waiting {
    backoff: Backoff,
    message: String,
    again: Instant,
}

impl Scheduler {
    async fn run(&self) {
        let pods: Vec<Arc<Pod>> = self.client.cached();
        let mut pending: Vec<&Arc<Pod>> = pods.iter().filter(|pod| waits(pod)).collect();
        self.waiting
            .lock()
            .await
            .retain(|uid, _| pending.iter().any(|pod| pod.metadata.uid.as_ref() == Some(uid)));
        if pending.is_empty() {
            return;
        }
        pending.sort_by_key(|pod| rank(pod));
        let mut snapshot = Snapshot::new(&self.client.cached(), &pods);
        let mut bindings = Vec::new();
        for pod in pending {
            match decide(pod, &snapshot) {
                Decision::Node { name, scores } => {
                    tracing::debug!(pod = pod.metadata.name, node = name, ?scores, "placed");
                    snapshot.place(pod, &name);
                    bindings.push((Arc::clone(pod), name));
                }
                nowhere @ Decision::Nowhere { .. } => self.refuse(pod, &nowhere).await,
            }
        }
        let bound: Vec<Arc<Pod>> = futures::stream::iter(bindings)
            .map(|(pod, node)| async move { self.bind(&pod, &node).await.then_some(pod) })
            .buffer_unordered(BIND_AT_ONCE_MAX)
            .filter_map(std::future::ready)
            .collect()
            .await;
        self.catch_up(&bound).await;
    }

    async fn bind(&self, pod: &Pod, node: &str) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match self.client.api::<Pod>().bind(namespace, name, node).await {
            Ok(()) => {
                let text = format!("Successfully assigned {namespace}/{name} to {node}");
                self.record(pod, "Normal", "Scheduled", &text).await;
                true
            }
            // Deleted, or bound by someone else: the cache will say so.
            Err(error) if error.is_conflict() || error.is_not_found() => false,
            Err(error) => {
                tracing::warn!(namespace, name, node, %error, "bind");
                self.record(pod, "Warning", "FailedScheduling", &error.message).await;
                false
            }
        }
    }

    /// Say why, at once when the reason is new, and with growing pauses while it stays.
    async fn refuse(&self, pod: &Pod, nowhere: &Decision) {
        let message = nowhere.message().unwrap_or_default();
        let now = self.clock.monotonic();
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let mut waiting = self.waiting.lock().await;
        let known = waiting.entry(uid).or_insert_with(|| Waiting {
            backoff: Backoff::new(Duration::from_secs(10), Duration::from_secs(300)),
            message: String::new(),
            again: now,
        });
        if known.message == message && now < known.again {
            return;
        }
        if known.message != message {
            known.backoff.reset();
        }
        known.message.clone_from(&message);
        known.again = now + known.backoff.next();
        drop(waiting);
        self.record(pod, "Warning", "FailedScheduling", &message).await;
        self.mark_unscheduled(pod, &message).await;
    }

    async fn mark_unscheduled(&self, pod: &Pod, message: &str) {
        let mut conditions =
            pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default();
        let same = |c: &k8s_openapi::api::core::v1::PodCondition| {
            c.type_ == "PodScheduled" && c.message.as_deref() == Some(message)
        };
        if conditions.iter().any(same) {
            return;
        }
        conditions.retain(|c| c.type_ != "PodScheduled");
        let now = time::format(time::from_system(self.clock.now()));
        let mut list = serde_json::to_value(&conditions).unwrap_or_default();
        if let Some(list) = list.as_array_mut() {
            list.push(serde_json::json!({
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable",
                "message": message, "lastTransitionTime": now,
            }));
        }
        let patch = serde_json::json!({
            "metadata": { "uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version },
            "status": { "conditions": list },
        });
        let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
        let outcome =
            self.client.api::<Pod>().patch_status(namespace, name.unwrap_or_default(), patch).await;
        if let Err(error) = outcome {
            tracing::debug!(%error, name, "condition of an unscheduled Pod");
        }
    }

    async fn record(&self, pod: &Pod, level: &str, reason: &str, message: &str) {
        let now = time::from_system(self.clock.now());
        let event = events::event(pod, level, reason, message, now);
        let api = self.client.api::<Event>();
        let (namespace, name) =
            (event.metadata.namespace.as_deref(), event.metadata.name.as_deref());
        let outcome = match api.create(&event).await {
            Err(error) if error.is_already_exists() => {
                let name = name.unwrap_or_default();
                match api.get(namespace, name).await {
                    Ok(Some(known)) => {
                        api.patch_merge(namespace, name, events::again(&known, now)).await.map(drop)
                    }
                    other => other.map(drop),
                }
            }
            other => other.map(drop),
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, name, "event");
        }
    }

    /// Decisions made before our own bindings show would place more than fits.
    async fn catch_up(&self, bound: &[Arc<Pod>]) {
        let shows = |pod: &Arc<Pod>| {
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let now = self.client.cached_one::<Pod>(pod.metadata.namespace.as_deref(), name);
            now.is_none_or(|now| now.metadata.uid != pod.metadata.uid || !waits(&now))
        };
        let wait = async {
            while !bound.iter().all(shows) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(CATCH_UP_MAX, wait).await.is_err() {
            tracing::warn!("the cache does not show our bindings");
        }
    }
}

/// Ours, alive, and without a node.
fn waits(pod: &Pod) -> bool {
    let Some(spec) = &pod.spec else { return false };
    spec.node_name.as_deref().unwrap_or_default().is_empty()
        && spec.scheduler_name.as_deref().unwrap_or(SCHEDULER) == SCHEDULER
        && spec.scheduling_gates.as_ref().is_none_or(Vec::is_empty)
        && pod.metadata.deletion_timestamp.is_none()
        && !matches!(
            pod.status.as_ref().and_then(|s| s.phase.as_deref()),
            Some("Succeeded" | "Failed")
        )
}

/// Higher priority first, then those that wait longest.
fn rank(pod: &Pod) -> (std::cmp::Reverse<i32>, i64, String) {
    let priority = pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0);
    let created = pod.metadata.creation_timestamp.as_ref().map_or(0, |t| t.0.as_second());
    (std::cmp::Reverse(priority), created, pod.metadata.name.clone().unwrap_or_default())
}
