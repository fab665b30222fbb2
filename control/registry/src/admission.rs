//! What is decided with a look at other objects: namespaces must exist, pods get accounts, tolerations and priority;
//! and those outside who are asked, webhooks and policies.

pub(crate) mod asking;
mod conditions;
pub(crate) mod index;
mod matching;
mod policy;
pub(crate) mod request;
mod runtimeclass;
mod webhook;

use beeline_api::kinds::{INGRESS, LIMIT_RANGE, NAMESPACE, PERSISTENT_VOLUME_CLAIM, POD};
use beeline_api::meta::{self, list};
use beeline_api::{ApiError, KindInfo};
use serde_json::{Value, json};

use crate::accounts;
use crate::classes;
use crate::limits;
use crate::options::WriteOptions;
use crate::podsecurity::{self, Mode};
use crate::registry::Registry;

/// How long pods stay on nodes that are not ready or not reachable.
const TOLERATION_SECONDS: i64 = 300;

/// New objects need a live namespace.
pub(crate) fn namespace(
    registry: &Registry,
    kind: &KindInfo,
    namespace: &str,
    name: &str,
) -> Result<(), ApiError> {
    let Some(found) = registry.cached(&NAMESPACE, None, namespace) else {
        return Err(ApiError::not_found(&NAMESPACE, namespace));
    };
    if !found.deleting() {
        return Ok(());
    }
    let why = format!(
        "unable to create new content in namespace {namespace} because it is being terminated"
    );
    let cause = format!("namespace {namespace} is being terminated");
    Err(ApiError::forbidden(kind, name, &why).with_cause(
        "NamespaceTerminating",
        cause,
        "metadata.namespace",
    ))
}

/// What new objects of some kinds get from others. Asked again after webhooks: it changes nothing twice.
pub(crate) fn object(
    registry: &Registry,
    kind: &KindInfo,
    object: &mut Value,
) -> Result<(), ApiError> {
    if *kind == POD {
        pod(registry, object)?;
        let ranges = registry.snapshot(&LIMIT_RANGE, Some(meta::namespace(object)));
        let ranges: Vec<&Value> = ranges.iter().map(|range| &*range.value).collect();
        limits::fill(&ranges, object);
    } else if *kind == PERSISTENT_VOLUME_CLAIM {
        classes::storage(registry, object);
    } else if *kind == INGRESS {
        classes::ingress(registry, object);
    }
    Ok(())
}

/// What new objects may ask for, by their RuntimeClass and the LimitRanges of their namespace.
pub(crate) fn limited(
    registry: &Registry,
    kind: &KindInfo,
    object: &Value,
) -> Result<(), ApiError> {
    if *kind == POD {
        runtimeclass::check(registry, object)?;
    } else if *kind != PERSISTENT_VOLUME_CLAIM {
        return Ok(());
    }
    let ranges = registry.snapshot(&LIMIT_RANGE, Some(meta::namespace(object)));
    let ranges: Vec<&Value> = ranges.iter().map(|range| &*range.value).collect();
    let wrong = if *kind == POD {
        limits::check_pod(&ranges, object)
    } else {
        limits::check_claim(&ranges, object)
    };
    match limits::joined(&wrong) {
        Some(why) => Err(ApiError::forbidden(kind, meta::name(object), &why)),
        None => Ok(()),
    }
}

/// Pod Security: pods beyond the level that their namespace enforces are refused; they and those that would make such pods
/// are remarked on where the namespace warns.
pub(crate) fn secure(
    registry: &Registry,
    kind: &KindInfo,
    object: &Value,
    old: Option<&Value>,
    o: &WriteOptions,
) -> Result<(), ApiError> {
    let is_pod = *kind == POD;
    let Some(pod) = template(kind, object) else { return Ok(()) };
    // What changes no spec was judged before.
    let before = old.and_then(|old| template(kind, old));
    if before.is_some_and(|before| before["spec"] == pod["spec"]) {
        return Ok(());
    }
    let Some(namespace) = registry.cached(&NAMESPACE, None, meta::namespace(object)) else {
        return Ok(());
    };
    let labels = namespace.value["metadata"]["labels"].as_object();
    if is_pod && let Some(why) = podsecurity::violations(labels, Mode::Enforce, pod) {
        return Err(ApiError::forbidden(kind, meta::name(object), &format!("violates {why}")));
    }
    if let Some(why) = podsecurity::violations(labels, Mode::Warn, pod) {
        o.warnings.push(format!("would violate {why}"));
    }
    Ok(())
}

/// A pod itself, or what a workload makes its pods from.
fn template<'a>(kind: &KindInfo, object: &'a Value) -> Option<&'a Value> {
    let path = match kind.kind {
        "Pod" => "",
        "PodTemplate" => "/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "DaemonSet"
        | "Deployment"
        | "Job"
        | "ReplicaSet"
        | "ReplicationController"
        | "StatefulSet" => "/spec/template",
        _ => return None,
    };
    object.pointer(path)
}

/// New pods.
fn pod(registry: &Registry, pod: &mut Value) -> Result<(), ApiError> {
    let name = meta::name(pod).to_owned();
    accounts::admit(registry, pod)?;
    let spec = meta::map(pod, "spec");
    classes::priority(registry, &name, spec)?;
    runtimeclass::apply(registry, pod)?;
    let spec = meta::map(pod, "spec");
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerations = spec.entry("tolerations").or_insert_with(|| json!([]));
        let covered = tolerations.as_array().into_iter().flatten().any(|t| {
            let key_fits = t["key"] == key
                || (t["key"].as_str().unwrap_or_default().is_empty() && t["operator"] == "Exists");
            key_fits && matches!(t["effect"].as_str().unwrap_or_default(), "" | "NoExecute")
        });
        if !covered && let Some(all) = tolerations.as_array_mut() {
            all.push(json!({ "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS }));
        }
    }
    gates(pod);
    Ok(())
}

/// A gated pod says so from the start.
fn gates(pod: &mut Value) {
    if list(&pod["spec"], "schedulingGates").is_empty() {
        return;
    }
    pod["status"]["conditions"] = json!([{
        "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    }]);
}
