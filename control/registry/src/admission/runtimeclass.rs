//! RuntimeClasses: what pods that name one cost beyond their containers, and where they may run (KEP 585, 688).
//!
//! In: a pod, and the classes that the cache shows. Out: the pod with what its class says, or a refusal in upstream's words.

use std::sync::Arc;

use beeline_api::ApiError;
use beeline_api::kinds::{POD, RUNTIME_CLASS};
use beeline_api::meta::{self, list, text};
use beeline_api::quota::amounts;
use serde_json::{Value, json};

use crate::object::Object;
use crate::registry::Registry;

fn of(registry: &Registry, pod: &Value) -> Result<Option<Arc<Object>>, ApiError> {
    let name = text(&pod["spec"], "runtimeClassName");
    if name.is_empty() {
        return Ok(None);
    }
    let found = registry.cached(&RUNTIME_CLASS, None, name);
    let missing = || refuse(pod, &format!("pod rejected: RuntimeClass {name:?} not found"));
    found.map(Some).ok_or_else(missing)
}

fn refuse(pod: &Value, why: &str) -> ApiError {
    ApiError::forbidden(&POD, meta::name(pod), why)
}

/// Gives a new pod what its class says.
pub(super) fn apply(registry: &Registry, pod: &mut Value) -> Result<(), ApiError> {
    let Some(class) = of(registry, pod)? else { return Ok(()) };
    overhead(&class.value, pod)?;
    place(&class.value, pod)
}

/// Whether the overhead of a new pod is its class's, after others changed the pod.
pub(super) fn check(registry: &Registry, pod: &Value) -> Result<(), ApiError> {
    let class = of(registry, pod)?;
    let (wanted, has) = (class.as_ref().map(|c| &c.value["overhead"]), &pod["spec"]["overhead"]);
    match wanted.filter(|overhead| overhead.is_object()) {
        Some(overhead) if amounts(&overhead["podFixed"]) != amounts(has) => Err(differs(pod)),
        None if !has.is_null() => {
            let why = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead";
            Err(refuse(pod, why))
        }
        Some(_) | None => Ok(()),
    }
}

fn differs(pod: &Value) -> ApiError {
    refuse(pod, "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead")
}

fn overhead(class: &Value, pod: &mut Value) -> Result<(), ApiError> {
    let fixed = &class["overhead"]["podFixed"];
    if !fixed.is_object() {
        return Ok(());
    }
    let has = &pod["spec"]["overhead"];
    if !has.is_null() && amounts(has) != amounts(fixed) {
        return Err(differs(pod));
    }
    pod["spec"]["overhead"] = fixed.clone();
    Ok(())
}

fn place(class: &Value, pod: &mut Value) -> Result<(), ApiError> {
    let scheduling = &class["scheduling"];
    for (key, wanted) in scheduling["nodeSelector"].as_object().into_iter().flatten() {
        let has = pod["spec"]["nodeSelector"].get(key).filter(|has| *has != wanted);
        if let Some(has) = has {
            let (wanted, has) =
                (wanted.as_str().unwrap_or_default(), has.as_str().unwrap_or_default());
            return Err(refuse(
                pod,
                &format!(
                    "conflict: runtimeClass.scheduling.nodeSelector[{key}] = {wanted}; pod.spec.nodeSelector[{key}] = {has}"
                ),
            ));
        }
        pod["spec"]["nodeSelector"][key] = wanted.clone();
    }
    let more = list(scheduling, "tolerations");
    if !more.is_empty() {
        let spec = meta::map(pod, "spec");
        let all = spec.entry("tolerations").or_insert_with(|| json!([]));
        if let Some(all) = all.as_array_mut() {
            let new = more.iter().filter(|one| !all.contains(one)).cloned().collect::<Vec<_>>();
            all.extend(new);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_get_overhead_and_place_once() {
        let class = json!({
            "overhead": { "podFixed": { "cpu": "250m" } },
            "scheduling": { "nodeSelector": { "vm": "yes" }, "tolerations": [{ "key": "vm" }] },
        });
        let mut pod =
            json!({ "metadata": { "name": "p" }, "spec": { "nodeSelector": { "a": "b" } } });
        for _ in 0..2 {
            overhead(&class, &mut pod).unwrap();
            place(&class, &mut pod).unwrap();
        }
        let wanted = json!({ "nodeSelector": { "a": "b", "vm": "yes" }, "overhead": { "cpu": "250m" },
            "tolerations": [{ "key": "vm" }] });
        assert_eq!(pod["spec"], wanted);
    }

    #[test]
    fn what_contradicts_the_class_is_refused() {
        let class = json!({ "overhead": { "podFixed": { "cpu": "250m" } }, "scheduling": { "nodeSelector": { "vm": "yes" } } });
        let pod = |spec: Value| json!({ "metadata": { "name": "p" }, "spec": spec });
        let mut same = pod(json!({ "overhead": { "cpu": "0.25" } }));
        assert!(overhead(&class, &mut same).is_ok());
        let mut other = pod(json!({ "overhead": { "cpu": "1" }, "nodeSelector": { "vm": "no" } }));
        assert_eq!(
            overhead(&class, &mut other).unwrap_err().message,
            "pods \"p\" is forbidden: pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        );
        assert_eq!(
            place(&class, &mut other).unwrap_err().message,
            "pods \"p\" is forbidden: conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no"
        );
    }
}
