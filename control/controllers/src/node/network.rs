//! Each node's piece of the pod network.

use std::sync::Arc;

use beeline_alloc::PodCidrs;
use beeline_api::kinds;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use crate::events;
use crate::objects::{self, Timestamp};
use crate::write::{ObjectId, Part, Write};

/// Give a piece to every node without one.
pub(super) fn plan(nodes: &[Arc<Node>], network: &PodCidrs, now: Timestamp) -> Vec<Write> {
    let mut network = network.clone();
    for node in nodes {
        let Some(cidr) = node.spec.as_ref().and_then(|s| s.pod_cidr.as_ref()) else { continue };
        let parsed = cidr.parse().map_err(|e| format!("{cidr}: {e}"));
        let marked = parsed.and_then(|cidr| {
            network.mark_used(objects::name(&node.metadata), cidr).map_err(|e| e.to_string())
        });
        if let Err(why) = marked {
            tracing::debug!(
                node = objects::name(&node.metadata),
                why,
                "pod network of a node not counted"
            );
        }
    }
    let mut bare: Vec<&Arc<Node>> = nodes
        .iter()
        .filter(|n| n.spec.as_ref().and_then(|s| s.pod_cidr.as_ref()).is_none())
        .collect();
    bare.sort_by_key(|node| (objects::created(&node.metadata), objects::name(&node.metadata)));
    bare.into_iter().map(|node| give(node, &mut network, now)).collect()
}

fn give(node: &Node, network: &mut PodCidrs, now: Timestamp) -> Write {
    match network.allocate(objects::name(&node.metadata)) {
        Ok(cidr) => Write::Patch {
            kind: &kinds::NODE,
            object: ObjectId::of(&node.metadata),
            part: Part::Main,
            patch: Box::new(json!({
                "metadata": { "resourceVersion": node.metadata.resource_version },
                "spec": { "podCIDR": cidr.to_string(), "podCIDRs": [cidr.to_string()] },
            })),
        },
        Err(error) => {
            let about = events::about("v1", "Node", &node.metadata);
            let text = error.to_string();
            let hour = Timestamp::from_second(now.as_second() / 3600 * 3600).unwrap_or(now);
            // The same name for an hour: it is said once, not on every run.
            events::write(&events::event(
                about,
                "Warning",
                "CIDRNotAvailable",
                &text,
                "node-controller",
                hour,
            ))
        }
    }
}
