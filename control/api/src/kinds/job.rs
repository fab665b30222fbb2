//! batch/v1 Job: its row, its defaults and how it prints. Its rules are in the module below.

mod validation;

use serde_json::{Value, json};

use super::rules::{self, AGE, BASE, NAME, col, status, wide};
use super::workload::{self, number};
use super::{KindInfo, podspec};
use crate::meta::{self, list, or_set, text};
use crate::time::{self, Timestamp};

pub(super) use validation::validate_spec;

/// Labels that tie pods to their Job; the short ones are from before the prefix.
const UID_LABELS: [&str; 2] = ["batch.kubernetes.io/controller-uid", "controller-uid"];
const NAME_LABELS: [&str; 2] = ["batch.kubernetes.io/job-name", "job-name"];

/// Job.
pub static JOB: KindInfo = KindInfo {
    group: "batch",
    kind: "Job",
    plural: "jobs",
    singular: "job",
    categories: &["all"],
    status_subresource: true,
    generation: true,
    subresources: &[status("Job")],
    columns: &[
        NAME,
        col("Status"),
        col("Completions"),
        col("Duration"),
        AGE,
        wide("Containers"),
        wide("Images"),
        wide("Selector"),
    ],
    cells,
    fields: &["status.successful"],
    field: |object, _| number(object, "status", "succeeded").to_string(),
    default: |object| {
        if let Some(spec) = object.get_mut("spec") {
            default_spec(spec);
        }
    },
    prepare_create: generate_selector,
    validate: validation::validate,
    validate_update: validation::validate_update,
    ..BASE
};

/// Fills in a JobSpec.
pub(super) fn default_spec(spec: &mut Value) {
    if let Some(pod) = spec.pointer_mut("/template/spec").filter(|s| s.is_object()) {
        podspec::default(pod);
    }
    let Some(map) = spec.as_object_mut() else { return };
    if map.get("completions").is_none_or(Value::is_null)
        && map.get("parallelism").is_none_or(Value::is_null)
    {
        map.insert("completions".to_owned(), json!(1));
    }
    or_set(map, "parallelism", 1);
    let per_index = map.get("backoffLimitPerIndex").is_some_and(Value::is_number);
    or_set(map, "backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    or_set(map, "completionMode", "NonIndexed");
    or_set(map, "suspend", false);
    let failed_only = map.get("podFailurePolicy").is_some_and(Value::is_object);
    or_set(map, "podReplacementPolicy", if failed_only { "Failed" } else { "TerminatingOrFailed" });
    let Some(policy) = map.get_mut("podFailurePolicy") else { return };
    for rule in meta::items(policy, "rules") {
        for condition in meta::items(rule, "onPodConditions") {
            if let Some(condition) = condition.as_object_mut() {
                or_set(condition, "status", "True");
            }
        }
    }
}

/// A Job selects its pods by its own uid, unless it says that it knows better.
fn generate_selector(object: &mut Value) {
    if object["spec"]["manualSelector"] == true || !object["spec"].is_object() {
        return;
    }
    let (uid, name) = (meta::uid(object).to_owned(), meta::name(object).to_owned());
    let spec = &mut object["spec"];
    let labels = meta::map(&mut spec["template"]["metadata"], "labels");
    for label in UID_LABELS {
        or_set(labels, label, uid.as_str());
    }
    for label in NAME_LABELS {
        or_set(labels, label, name.as_str());
    }
    let selector = meta::map(spec, "selector").entry("matchLabels").or_insert_with(|| json!({}));
    if let Some(selector) = selector.as_object_mut() {
        or_set(selector, UID_LABELS[0], uid);
    }
}

fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let [containers, images, selector] = workload::wide_cells(o);
    vec![
        rules::name_cell(o),
        state(o).into(),
        completions(o).into(),
        duration(o, now).into(),
        rules::age_cell(o, now),
        containers,
        images,
        selector,
    ]
}

fn state(object: &Value) -> &'static str {
    let conditions = list(&object["status"], "conditions");
    let is = |kind: &str| conditions.iter().any(|c| c["type"] == kind && c["status"] == "True");
    let states = ["Complete", "Failed"];
    if let Some(state) = states.into_iter().find(|s| is(s)) {
        return state;
    }
    if meta::deleting(object) {
        return "Terminating";
    }
    let states = ["Suspended", "FailureTarget", "SuccessCriteriaMet"];
    states.into_iter().find(|s| is(s)).unwrap_or("Running")
}

fn completions(object: &Value) -> String {
    let done = number(object, "status", "succeeded");
    match object["spec"]["completions"].as_i64() {
        Some(wanted) => format!("{done}/{wanted}"),
        None => match number(object, "spec", "parallelism") {
            parallel if parallel > 1 => format!("{done}/1 of {parallel}"),
            _ => format!("{done}/1"),
        },
    }
}

fn duration(object: &Value, now: Timestamp) -> String {
    let at = |field: &str| time::parse(text(&object["status"], field));
    match (at("startTime"), at("completionTime")) {
        (None, _) => String::new(),
        (Some(start), end) => {
            time::human_duration(end.unwrap_or(now).as_second() - start.as_second())
        }
    }
}
