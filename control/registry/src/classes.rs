//! What new objects get from classes: pods their priority, claims their storage, Ingresses their controller.
//!
//! In: the object, and the classes that the cache shows. Out: the object with what its class says, or a refusal.

use beeline_api::kinds::{INGRESS_CLASS, POD, PRIORITY_CLASS, STORAGE_CLASS};
use beeline_api::meta::{self, or_set, text};
use beeline_api::{ApiError, KindInfo};
use serde_json::{Map, Value, json};

use crate::registry::Registry;

const DEFAULT_STORAGE: &str = "storageclass.kubernetes.io/is-default-class";
const DEFAULT_INGRESS: &str = "ingressclass.kubernetes.io/is-default-class";

/// The two classes of the system itself, with upstream's values.
pub(crate) fn of_the_system() -> [Value; 2] {
    let class = |name: &str, value: i64, what: &str| json!({ "metadata": { "name": name }, "value": value, "description": what });
    [
        class(
            "system-cluster-critical",
            2_000_000_000,
            "Pods that the cluster does not work without, wherever they run.",
        ),
        class(
            "system-node-critical",
            2_000_001_000,
            "Pods that the node they run on does not work without.",
        ),
    ]
}

/// Priority and preemption of a pod, from the class that it names or from the one for all others.
pub(crate) fn priority(
    registry: &Registry,
    pod: &str,
    spec: &mut Map<String, Value>,
) -> Result<(), ApiError> {
    let named = spec.get("priorityClassName").and_then(Value::as_str).unwrap_or_default();
    let class = if named.is_empty() {
        let all = registry.snapshot(&PRIORITY_CLASS, None).into_iter();
        all.filter(|c| c.value["globalDefault"] == true).min_by_key(|c| c.value["value"].as_i64())
    } else {
        let found = registry.cached(&PRIORITY_CLASS, None, named);
        let missing = || {
            let why = format!("no PriorityClass with name {named} was found");
            ApiError::forbidden(&POD, pod, &why)
        };
        Some(found.ok_or_else(missing)?)
    };
    let value = class.as_ref().and_then(|c| c.value["value"].as_i64()).unwrap_or(0);
    if let Some(given) = spec.get("priority").and_then(Value::as_i64).filter(|p| *p != value) {
        let why = format!(
            "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed {value} from the given PriorityClass name"
        );
        return Err(ApiError::forbidden(&POD, pod, &why));
    }
    spec.insert("priority".to_owned(), Value::from(value));
    if let Some(class) = &class {
        or_set(spec, "priorityClassName", class.name());
    }
    let policy = class.as_ref().map_or("", |c| text(&c.value, "preemptionPolicy"));
    let policy = if policy.is_empty() { "PreemptLowerPriority" } else { policy };
    or_set(spec, "preemptionPolicy", policy);
    Ok(())
}

/// The class of claims that name none. An empty name means none on purpose.
pub(crate) fn storage(registry: &Registry, claim: &mut Value) {
    choose(registry, &STORAGE_CLASS, DEFAULT_STORAGE, claim, "storageClassName");
}

/// The class of Ingresses that name none.
pub(crate) fn ingress(registry: &Registry, ingress: &mut Value) {
    // The annotation is how Ingresses named their class before there was a field for it.
    let old = &ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"];
    if old.is_null() {
        choose(registry, &INGRESS_CLASS, DEFAULT_INGRESS, ingress, "ingressClassName");
    }
}

/// Of several classes that are marked the newest counts.
fn choose(
    registry: &Registry,
    kind: &'static KindInfo,
    mark: &str,
    object: &mut Value,
    field: &str,
) {
    if !object["spec"].is_object() || !object["spec"][field].is_null() {
        return;
    }
    let all = registry.snapshot(kind, None).into_iter();
    let marked = all.filter(|c| c.value["metadata"]["annotations"][mark] == "true");
    let newest = marked.max_by_key(|c| {
        let made = text(&c.value["metadata"], "creationTimestamp").to_owned();
        (made, std::cmp::Reverse(c.name().to_owned()))
    });
    if let Some(class) = newest {
        meta::map(object, "spec").insert(field.to_owned(), Value::from(class.name()));
    }
}
