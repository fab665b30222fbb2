//! Each node's piece of the pod network: one of each family that the cluster has.

use std::sync::Arc;

use beeline_alloc::{PodCidrError, PodCidrs};
use beeline_api::kinds;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use serde_json::json;

use crate::events;
use crate::objects::{self, Timestamp};
use crate::write::{ObjectId, Part, Write};

/// Give pieces to every node that lacks one.
pub(super) fn plan(nodes: &[Arc<Node>], networks: &[PodCidrs], now: Timestamp) -> Vec<Write> {
    let mut networks = networks.to_vec();
    for node in nodes {
        for range in ranges(node) {
            let Some(network) = networks.iter_mut().find(|n| same_family(n.cluster(), range))
            else {
                continue;
            };
            let name = objects::name(&node.metadata);
            if let Err(why) = network.mark_used(name, range) {
                tracing::debug!(node = name, %why, "pod network of a node not counted");
            }
        }
    }
    let mut bare: Vec<&Arc<Node>> =
        nodes.iter().filter(|node| !missing(node, &networks).is_empty()).collect();
    bare.sort_by_key(|node| (objects::created(&node.metadata), objects::name(&node.metadata)));
    bare.into_iter().map(|node| give(node, &mut networks, now)).collect()
}

/// What a node has.
fn ranges(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let several = spec.pod_cidrs.iter().flatten();
    let mut all: Vec<IpNet> = several.filter_map(|range| range.parse().ok()).collect();
    if all.is_empty() {
        all.extend(spec.pod_cidr.as_ref().and_then(|range| range.parse::<IpNet>().ok()));
    }
    all
}

fn same_family(a: IpNet, b: IpNet) -> bool {
    matches!((a, b), (IpNet::V4(_), IpNet::V4(_)) | (IpNet::V6(_), IpNet::V6(_)))
}

/// Places of the networks of which a node has no piece.
fn missing(node: &Node, networks: &[PodCidrs]) -> Vec<usize> {
    let has = ranges(node);
    let lacks =
        |network: &PodCidrs| !has.iter().any(|range| same_family(*range, network.cluster()));
    networks.iter().enumerate().filter(|(_, network)| lacks(network)).map(|(i, _)| i).collect()
}

fn give(node: &Node, networks: &mut [PodCidrs], now: Timestamp) -> Write {
    let name = objects::name(&node.metadata);
    let mut all = ranges(node);
    let given: Result<Vec<IpNet>, PodCidrError> =
        missing(node, networks).into_iter().map(|i| networks[i].allocate(name)).collect();
    match given {
        Ok(given) => {
            all.extend(given);
            let all: Vec<String> = all.iter().map(ToString::to_string).collect();
            Write::Patch {
                kind: &kinds::NODE,
                object: ObjectId::of(&node.metadata),
                part: Part::Main,
                patch: Box::new(json!({
                    "metadata": { "resourceVersion": node.metadata.resource_version },
                    "spec": { "podCIDR": all.first(), "podCIDRs": all },
                })),
            }
        }
        Err(error) => full(node, &error.to_string(), now),
    }
}

fn full(node: &Node, why: &str, now: Timestamp) -> Write {
    let about = events::about("v1", "Node", &node.metadata);
    let hour = Timestamp::from_second(now.as_second() / 3600 * 3600).unwrap_or(now);
    // The same name for an hour: it is said once, not on every run.
    let event = events::event(about, "Warning", "CIDRNotAvailable", why, "node-controller", hour);
    events::write(&event)
}
