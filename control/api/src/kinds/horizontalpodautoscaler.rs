//! autoscaling/v2 HorizontalPodAutoscaler, which is stored, and how v1 is read and written as it.

mod v1;
mod validation;

use serde_json::{Value, json};

use super::KindInfo;
use super::rules::{self, AGE, BASE, NAME, col, int, status};
use super::workload::number;
use crate::meta::{self, list, or_set, text};
use crate::time::Timestamp;

pub use v1::HORIZONTAL_POD_AUTOSCALER_V1;

/// HorizontalPodAutoscaler.
pub static HORIZONTAL_POD_AUTOSCALER: KindInfo = KindInfo {
    group: "autoscaling",
    version: "v2",
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
    cells,
    default,
    validate: validation::validate,
    ..BASE
};

fn default(object: &mut Value) {
    if object["spec"].is_object() {
        let spec = meta::map(object, "spec");
        or_set(spec, "minReplicas", 1);
        if spec.get("metrics").is_none_or(rules::is_empty) {
            let target = json!({ "type": "Utilization", "averageUtilization": 80 });
            let cpu =
                json!([{ "type": "Resource", "resource": { "name": "cpu", "target": target } }]);
            spec.insert("metrics".to_owned(), cpu);
        }
        if let Some(behavior) = spec.get_mut("behavior").filter(|b| b.is_object()) {
            default_behavior(behavior);
        }
    }
    let status = meta::map(object, "status");
    or_set(status, "desiredReplicas", 0);
}

fn default_behavior(behavior: &mut Value) {
    let up = meta::map(behavior, "scaleUp");
    or_set(up, "stabilizationWindowSeconds", 0);
    or_set(up, "selectPolicy", "Max");
    let doubled = json!({ "type": "Percent", "value": 100, "periodSeconds": 15 });
    let four = json!({ "type": "Pods", "value": 4, "periodSeconds": 15 });
    or_set(up, "policies", json!([four, doubled]));
    let down = meta::map(behavior, "scaleDown");
    or_set(down, "selectPolicy", "Max");
    or_set(down, "policies", json!([doubled]));
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let spec = &o["spec"];
    let reference = &spec["scaleTargetRef"];
    let min = spec["minReplicas"].as_i64().map(|n| n.to_string()).unwrap_or_default();
    vec![
        rules::name_cell(o),
        format!("{}/{}", text(reference, "kind"), text(reference, "name")).into(),
        targets(o).into(),
        rules::or_unset(&min),
        spec["maxReplicas"].as_i64().unwrap_or(0).into(),
        number(o, "status", "currentReplicas").into(),
        rules::age_cell(o, now),
    ]
}

/// `cpu: 10%/80%`: the first two metrics, what they are and what they should be.
fn targets(object: &Value) -> String {
    let metrics = list(&object["spec"], "metrics");
    if metrics.is_empty() {
        return "<none>".to_owned();
    }
    let current = list(&object["status"], "currentMetrics");
    let all: Vec<String> = metrics
        .iter()
        .enumerate()
        .map(|(i, metric)| target(metric, current.get(i).unwrap_or(&Value::Null)))
        .collect();
    let shown = all.iter().take(2).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > 2 { format!("{shown} + {} more...", all.len() - 2) } else { shown }
}

fn target(metric: &Value, current: &Value) -> String {
    let kind = text(metric, "type");
    let mut field = kind.to_owned();
    field[..1.min(kind.len())].make_ascii_lowercase();
    let (wanted, is) = (&metric[field.as_str()]["target"], &current[field.as_str()]["current"]);
    let shown = |value: &Value, unit: &str| match value {
        Value::Null => "<unknown>".to_owned(),
        Value::String(s) => format!("{s}{unit}"),
        other => format!("{other}{unit}"),
    };
    let by_name = matches!(kind, "Resource" | "ContainerResource");
    let pair = if wanted["averageUtilization"].is_number() {
        let is = shown(&is["averageUtilization"], "%");
        format!("{is}/{}", shown(&wanted["averageUtilization"], "%"))
    } else if wanted["averageValue"].is_string() {
        let average = if by_name || kind == "Pods" { "" } else { " (avg)" };
        let is = shown(&is["averageValue"], "");
        format!("{is}/{}{average}", shown(&wanted["averageValue"], ""))
    } else {
        format!("{}/{}", shown(&is["value"], ""), shown(&wanted["value"], ""))
    };
    if by_name { format!("{}: {pair}", text(&metric[field.as_str()], "name")) } else { pair }
}
