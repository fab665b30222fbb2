//! Which Pod goes first when there are too many: the one whose loss hurts least.

use std::cmp::Reverse;
use std::collections::HashMap;

use k8s_openapi::api::core::v1::Pod;

use crate::objects::{self, Timestamp};

/// Smaller goes first.
pub(super) type Rank =
    (bool, u8, bool, i64, Reverse<usize>, Reverse<i64>, u32, Reverse<i64>, String);

/// Upstream's order: unscheduled, pending, not ready, cheaper to delete, on a crowded node, ready for
/// the shortest time, most restarts, youngest. The name makes it total.
pub(super) fn rank(pod: &Pod, per_node: &HashMap<&str, usize>, now: Timestamp) -> Rank {
    let node = pod.spec.as_ref().and_then(|s| s.node_name.as_deref()).unwrap_or_default();
    let phase = match objects::phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    let cost = objects::annotation(&pod.metadata, "controller.kubernetes.io/pod-deletion-cost");
    let ready_since = objects::ready_since(pod).flatten().map_or(i64::MAX, |t| t.as_second());
    let restarts = pod.status.as_ref().and_then(|s| s.container_statuses.as_ref());
    let restarts = restarts.into_iter().flatten().map(|c| c.restart_count).max().unwrap_or(0);
    // Ages count by their order of magnitude, so that Pods of one rollout go in random order.
    let created = objects::created(&pod.metadata);
    let age = created.map_or(0, |t| bucket(now.as_second() - t.as_second()));
    (
        !node.is_empty(),
        phase,
        objects::is_ready(pod),
        cost.and_then(|c| c.parse().ok()).unwrap_or(0),
        Reverse(per_node.get(node).copied().unwrap_or(0)),
        Reverse(bucket_start(ready_since, now)),
        u32::MAX - u32::try_from(restarts).unwrap_or(0),
        Reverse(-age),
        objects::name(&pod.metadata).to_owned(),
    )
}

fn bucket(seconds: i64) -> i64 {
    i64::from(seconds.max(1).ilog2())
}

/// Later is larger: those that became ready last go first.
fn bucket_start(since: i64, now: Timestamp) -> i64 {
    if since == i64::MAX { i64::MAX } else { -bucket(now.as_second() - since) }
}
