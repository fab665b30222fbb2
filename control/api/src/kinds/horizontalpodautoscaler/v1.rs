//! autoscaling/v1: one number for the processor. All else of an autoscaler travels in annotations, as upstream has it.

use serde_json::{Map, Value, json};

use super::super::rules::{AGE, BASE, NAME, col, int, status};
use super::super::{KindInfo, View};
use super::HORIZONTAL_POD_AUTOSCALER;
use crate::meta;

/// Annotations for what the version has no field for.
const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";

/// HorizontalPodAutoscaler of autoscaling/v1.
pub static HORIZONTAL_POD_AUTOSCALER_V1: KindInfo = KindInfo {
    group: "autoscaling",
    version: "v1",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    status_subresource: true,
    subresources: &[status("HorizontalPodAutoscaler")],
    columns: &[
        NAME,
        col("Reference"),
        col("Targets"),
        col("MinPods"),
        int("MaxPods"),
        int("Replicas"),
        AGE,
    ],
    cells: |o, now| super::cells(&write(o), now),
    view: Some(View { of: &HORIZONTAL_POD_AUTOSCALER, read, write, fields: &[] }),
    ..BASE
};

/// The number for the processor, if that is what a metric is.
fn cpu(metric: &Value) -> Option<&Value> {
    let resource = &metric["resource"];
    let found = &resource["target"]["averageUtilization"];
    (metric["type"] == "Resource" && resource["name"] == "cpu" && found.is_number())
        .then_some(found)
}

fn read(stored: &Value) -> Value {
    let mut object = stored.clone();
    object["apiVersion"] = json!("autoscaling/v1");
    let mut notes = Map::new();
    let spec = meta::map(&mut object, "spec");
    let mut metrics = list(spec.remove("metrics"));
    if let Some(at) = metrics.iter().position(|m| cpu(m).is_some()) {
        let metric = metrics.remove(at);
        let wanted = cpu(&metric).cloned().unwrap_or_default();
        spec.insert("targetCPUUtilizationPercentage".to_owned(), wanted);
    }
    note(&mut notes, METRICS, &Value::Array(metrics));
    note(&mut notes, BEHAVIOR, &spec.remove("behavior").unwrap_or_default());
    let status = meta::map(&mut object, "status");
    let mut current = list(status.remove("currentMetrics"));
    let is_cpu = |m: &Value| m["type"] == "Resource" && m["resource"]["name"] == "cpu";
    if let Some(at) = current.iter().position(is_cpu) {
        let is = current.remove(at)["resource"]["current"]["averageUtilization"].clone();
        if is.is_number() {
            status.insert("currentCPUUtilizationPercentage".to_owned(), is);
        }
    }
    note(&mut notes, CURRENT, &Value::Array(current));
    note(&mut notes, CONDITIONS, &status.remove("conditions").unwrap_or_default());
    or_zero(status);
    if !notes.is_empty() {
        meta::map(&mut object["metadata"], "annotations").append(&mut notes);
    }
    object
}

/// Fields that this version always shows.
fn or_zero(status: &mut Map<String, Value>) {
    for field in ["currentReplicas", "desiredReplicas"] {
        meta::or_set(status, field, 0);
    }
}

fn write(view: &Value) -> Value {
    let mut object = view.clone();
    object["apiVersion"] = json!("autoscaling/v2");
    let mut notes = Map::new();
    if let Some(annotations) = object["metadata"].get_mut("annotations") {
        for name in [METRICS, BEHAVIOR, CONDITIONS, CURRENT] {
            let text = annotations.as_object_mut().and_then(|a| a.remove(name));
            let value = text.and_then(|t| serde_json::from_str(t.as_str()?).ok());
            notes.extend(value.map(|v| (name.to_owned(), v)));
        }
        if annotations.as_object().is_some_and(Map::is_empty) {
            meta::of(&mut object).remove("annotations");
        }
    }
    let spec = meta::map(&mut object, "spec");
    let mut metrics = list(notes.remove(METRICS));
    if let Some(wanted) = spec.remove("targetCPUUtilizationPercentage") {
        let target = json!({ "type": "Utilization", "averageUtilization": wanted });
        let cpu = json!({ "type": "Resource", "resource": { "name": "cpu", "target": target } });
        metrics.insert(0, cpu);
    }
    if !metrics.is_empty() {
        spec.insert("metrics".to_owned(), Value::Array(metrics));
    }
    if let Some(behavior) = notes.remove(BEHAVIOR) {
        spec.insert("behavior".to_owned(), behavior);
    }
    if !object["status"].is_object() {
        return object;
    }
    let status = meta::map(&mut object, "status");
    let mut current = list(notes.remove(CURRENT));
    if let Some(is) = status.remove("currentCPUUtilizationPercentage") {
        let is = json!({ "averageUtilization": is });
        current
            .insert(0, json!({ "type": "Resource", "resource": { "name": "cpu", "current": is } }));
    }
    if !current.is_empty() {
        status.insert("currentMetrics".to_owned(), Value::Array(current));
    }
    if let Some(conditions) = notes.remove(CONDITIONS) {
        status.insert("conditions".to_owned(), conditions);
    }
    object
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(items)) => items,
        _ => Vec::new(),
    }
}

/// Text of a value that is not empty.
fn note(notes: &mut Map<String, Value>, name: &str, value: &Value) {
    let empty = value.as_array().map_or(value.is_null(), Vec::is_empty);
    if !empty {
        notes.insert(name.to_owned(), Value::from(value.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_v1_cannot_say_comes_back() {
        let stored = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "web"},
            "spec": {"maxReplicas": 3, "behavior": {"scaleUp": {"selectPolicy": "Max"}}, "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}},
                {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}}]},
            "status": {"currentReplicas": 1, "desiredReplicas": 2},
        });
        let view = read(&stored);
        assert_eq!(view["spec"]["targetCPUUtilizationPercentage"], 50);
        assert!(view["spec"]["metrics"].is_null() && view["spec"]["behavior"].is_null());
        assert!(view["metadata"]["annotations"][METRICS].is_string());
        assert_eq!(write(&view), stored);
    }
}
