//! What a node may write, in the words of upstream's NodeRestriction admission.
//!
//! In: a write of a node that was authorized already, the object before and after. Out: nothing, or a refusal. Others than nodes
//! pass.

use std::collections::BTreeSet;

use beeline_api::kinds::{CSI_NODE, LEASE, NODE, PERSISTENT_VOLUME_CLAIM, POD, RESOURCE_SLICE};
use beeline_api::meta::{list, name, text};
use beeline_api::{ApiError, KindInfo};
use serde_json::Value;

use super::references;
use crate::options::{Caller, Subresource, Target};
use crate::registry::Registry;

/// Labels of Kubernetes' own that nodes tell of themselves.
const NODE_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// Domains whose labels are for nodes to set.
const NODE_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// The domain whose labels are not.
const RESTRICTED_DOMAIN: &str = "node-restriction.kubernetes.io";
/// What of a claim's status nodes tell.
const CLAIM_STATUS: [&str; 4] =
    ["capacity", "conditions", "allocatedResources", "allocatedResourceStatuses"];

/// New objects.
pub(crate) fn check_new(
    registry: &Registry,
    caller: &Caller,
    kind: &KindInfo,
    new: &Value,
) -> Result<(), ApiError> {
    let Some(node) = caller.node_name() else { return Ok(()) };
    let why = if *kind == POD {
        new_pod(registry, node, new)
    } else if *kind == NODE {
        of_itself(node, name(new)).or_else(|| {
            let labels = forbidden_labels(new, &Value::Null)?;
            Some(format!("node {node:?} is not allowed to set the following labels: {labels}"))
        })
    } else if *kind == LEASE {
        (name(new) != node)
            .then(|| "can only access node lease with the same name as the requesting node".into())
    } else if *kind == CSI_NODE {
        (name(new) != node)
            .then(|| "can only access CSINode with the same name as the requesting node".into())
    } else if *kind == RESOURCE_SLICE {
        (text(&new["spec"], "nodeName") != node).then(|| {
            "can only create ResourceSlice with the same NodeName as the requesting node".into()
        })
    } else {
        None
    };
    refuse(kind, name(new), why)
}

/// Objects that change.
pub(crate) fn check_change(
    caller: &Caller,
    target: &Target,
    new: &Value,
    old: &Value,
) -> Result<(), ApiError> {
    let Some(node) = caller.node_name() else { return Ok(()) };
    let kind = target.kind;
    let why = if *kind == POD {
        match target.subresource {
            Some(Subresource::Status) => pod_status(node, new, old),
            None => Some(format!(
                "unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"
            )),
            Some(part) => Some(unexpected_part(part)),
        }
    } else if *kind == NODE {
        of_itself(node, name(old)).or_else(|| changed_node(node, new, old))
    } else if *kind == PERSISTENT_VOLUME_CLAIM {
        match target.subresource {
            Some(Subresource::Status) => claim_status(node, new, old),
            _ => Some("may only update PVC status".to_owned()),
        }
    } else {
        None
    };
    refuse(kind, name(old), why)
}

/// Objects that go.
pub(crate) fn check_delete(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
) -> Result<(), ApiError> {
    let Some(node) = caller.node_name() else { return Ok(()) };
    let name = target.name.as_deref().unwrap_or_default();
    let why = if *target.kind == POD {
        let bound = is_bound(registry, target, node)?;
        (!bound)
            .then(|| format!("node {node:?} can only delete pods with spec.nodeName set to itself"))
    } else if *target.kind == NODE {
        of_itself(node, name)
    } else {
        None
    };
    refuse(target.kind, name, why)
}

/// What is written under an object's name: evictions are all that nodes have to do there.
pub(crate) fn check_part(
    registry: &Registry,
    caller: &Caller,
    target: &Target,
    part: Subresource,
) -> Result<(), ApiError> {
    let Some(node) = caller.node_name().filter(|_| *target.kind == POD) else { return Ok(()) };
    let why = if part == Subresource::Eviction {
        let bound = is_bound(registry, target, node)?;
        (!bound)
            .then(|| format!("node {node} can only evict pods with spec.nodeName set to itself"))
    } else {
        Some(unexpected_part(part))
    };
    refuse(target.kind, target.name.as_deref().unwrap_or_default(), why)
}

fn refuse(kind: &KindInfo, name: &str, why: Option<String>) -> Result<(), ApiError> {
    match why {
        Some(why) => Err(ApiError::forbidden(kind, name, &why)),
        None => Ok(()),
    }
}

fn unexpected_part(part: Subresource) -> String {
    format!(
        "unexpected pod subresource {:?}, only 'status' and 'eviction' are allowed",
        part.name()
    )
}

fn is_bound(registry: &Registry, target: &Target, node: &str) -> Result<bool, ApiError> {
    let name = target.name.as_deref().unwrap_or_default();
    let pod = registry.cached(&POD, target.namespace.as_deref(), name);
    let pod = pod.ok_or_else(|| ApiError::not_found(&POD, name))?;
    Ok(text(&pod.value["spec"], "nodeName") == node)
}

fn of_itself(node: &str, named: &str) -> Option<String> {
    (node != named).then(|| format!("node {node:?} is not allowed to modify node {named:?}"))
}

/// A node makes mirror pods only: on itself, its own, and without a way to anything else.
fn new_pod(registry: &Registry, node: &str, pod: &Value) -> Option<String> {
    let only = |what: &str| Some(format!("node {node:?} can only create pods with {what}"));
    let without =
        |what: &str| Some(format!("node {node:?} can not create pods that reference {what}"));
    if !references::is_mirror(pod) {
        return Some(format!(
            "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
        ));
    }
    let spec = &pod["spec"];
    if text(spec, "nodeName") != node {
        return only("spec.nodeName set to itself");
    }
    let owner = match list(&pod["metadata"], "ownerReferences") {
        [] => return only("an owner reference set to itself"),
        [one] => one,
        _ => return only("a single owner reference set to itself"),
    };
    if let Some(why) = owner_of_mirror(registry, node, owner) {
        return Some(why);
    }
    let volumes = list(spec, "volumes");
    let projects = |field: &str| {
        volumes
            .iter()
            .any(|v| list(&v["projected"], "sources").iter().any(|s| s[field].is_object()))
    };
    if !text(spec, "serviceAccountName").is_empty() {
        without("a service account")
    } else if references::secrets(pod).next().is_some() {
        without("secrets")
    } else if references::config_maps(pod).next().is_some() {
        without("configmaps")
    } else if projects("clusterTrustBundle") {
        without("clustertrustbundles")
    } else if volumes.iter().any(|volume| volume["persistentVolumeClaim"].is_object()) {
        without("persistentvolumeclaims")
    } else if !list(spec, "resourceClaims").is_empty() {
        without("resourceclaims")
    } else {
        None
    }
}

fn owner_of_mirror(registry: &Registry, node: &str, owner: &Value) -> Option<String> {
    let only = |what: &str| Some(format!("node {node:?} can only create pods with {what}"));
    if text(owner, "apiVersion") != "v1" || text(owner, "kind") != "Node" || name_of(owner) != node
    {
        return only("an owner reference set to itself");
    }
    if owner["controller"] != true {
        return only("a controller owner reference set to itself");
    }
    if owner["blockOwnerDeletion"] == true {
        return Some(format!(
            "node {node:?} must not set blockOwnerDeletion on an owner reference"
        ));
    }
    let known = registry.cached(&NODE, None, node);
    let Some(known) = known else { return Some(format!("nodes {node:?} not found")) };
    let (expected, got) = (text(owner, "uid"), known.uid());
    (expected != got).then(|| format!("node {node} UID mismatch: expected {expected} got {got}"))
}

fn name_of(reference: &Value) -> &str {
    text(reference, "name")
}

fn pod_status(node: &str, new: &Value, old: &Value) -> Option<String> {
    if text(&old["spec"], "nodeName") != node {
        return Some(format!(
            "node {node:?} can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    if new["metadata"]["labels"] != old["metadata"]["labels"] {
        return Some(format!("node {node:?} cannot update labels through pod status"));
    }
    if new["status"]["resourceClaimStatuses"] != old["status"]["resourceClaimStatuses"] {
        return Some(format!("node {node:?} cannot update resource claim statues"));
    }
    None
}

/// Taints, owners and labels steer what else comes to a node, or what it is taken for.
fn changed_node(node: &str, new: &Value, old: &Value) -> Option<String> {
    if list(&new["spec"], "taints") != list(&old["spec"], "taints") {
        return Some(format!("node {node:?} is not allowed to modify taints"));
    }
    let owners = |object: &Value| list(&object["metadata"], "ownerReferences").to_vec();
    if owners(new) != owners(old) {
        return Some(format!("node {node:?} is not allowed to modify ownerReferences"));
    }
    forbidden_labels(new, old).map(|labels| format!("is not allowed to modify labels: {labels}"))
}

/// Labels that differ and that a node may not set, in order.
fn forbidden_labels(new: &Value, old: &Value) -> Option<String> {
    let (new, old) = (&new["metadata"]["labels"], &old["metadata"]["labels"]);
    let keys = [new, old].into_iter().filter_map(Value::as_object).flat_map(|map| map.keys());
    let changed: BTreeSet<&str> =
        keys.filter(|key| new[key.as_str()] != old[key.as_str()]).map(String::as_str).collect();
    let forbidden: Vec<&str> = changed.into_iter().filter(|key| is_forbidden(key)).collect();
    (!forbidden.is_empty()).then(|| forbidden.join(", "))
}

fn is_forbidden(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return false };
    let below = |parent: &str| {
        domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    let of_kubernetes = below("kubernetes.io") || below("k8s.io");
    let for_nodes = NODE_LABELS.contains(&label) || NODE_DOMAINS.iter().any(|parent| below(parent));
    below(RESTRICTED_DOMAIN) || (of_kubernetes && !for_nodes)
}

fn claim_status(node: &str, new: &Value, old: &Value) -> Option<String> {
    let rest = |claim: &Value| {
        let mut rest = claim.clone();
        if let Some(status) = rest["status"].as_object_mut() {
            CLAIM_STATUS.iter().for_each(|field| drop(status.remove(*field)));
        }
        if let Some(meta) = rest["metadata"].as_object_mut() {
            ["resourceVersion", "managedFields"].iter().for_each(|field| drop(meta.remove(*field)));
        }
        rest
    };
    (rest(new) != rest(old)).then(|| {
        format!(
            "node {node:?} is not allowed to update fields other than status.capacity and status.conditions"
        )
    })
}
