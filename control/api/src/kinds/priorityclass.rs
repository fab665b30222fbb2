//! scheduling.k8s.io/v1 PriorityClass.

use serde_json::Value;

use super::rules::{self, AGE, BASE, NAME, boolean, col, int};
use super::{Causes, KindInfo};
use crate::meta::{self, or_set, text};
use crate::validate::forbidden;

/// Greatest value of a class that is not the system's own.
const USER_VALUE_MAX: i64 = 1_000_000_000;
/// The system's own, with their values.
const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// PriorityClass.
pub static PRIORITY_CLASS: KindInfo = KindInfo {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    plural: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    generation: true,
    columns: &[NAME, int("Value"), boolean("Global-Default"), AGE, col("PreemptionPolicy")],
    cells: |o, now| {
        vec![
            rules::name_cell(o),
            o["value"].as_i64().unwrap_or(0).into(),
            (o["globalDefault"] == true).into(),
            rules::age_cell(o, now),
            text(o, "preemptionPolicy").into(),
        ]
    },
    default: |object| {
        if let Some(class) = object.as_object_mut() {
            or_set(class, "preemptionPolicy", "PreemptLowerPriority");
        }
    },
    validate,
    validate_update: |new, old, causes| {
        if new["value"].as_i64().unwrap_or(0) != old["value"].as_i64().unwrap_or(0) {
            causes.push(forbidden("value", "may not be changed in an update."));
        }
        let field = "preemptionPolicy";
        rules::immutable(&new[field], &old[field], field, causes);
    },
    ..BASE
};

fn validate(object: &Value, causes: &mut Causes) {
    let (name, value) = (meta::name(object), object["value"].as_i64().unwrap_or(0));
    if name.starts_with("system-") {
        let problem = match SYSTEM.iter().find(|(system, _)| *system == name) {
            None => Some(format!("{name} is not a known system priority class")),
            Some((_, wanted)) if *wanted != value => {
                Some(format!("value of {name} PriorityClass must be {wanted}"))
            }
            Some(_) if object["globalDefault"] == true => {
                Some(format!("globalDefault of {name} PriorityClass must be false"))
            }
            Some(_) => None,
        };
        if let Some(problem) = problem {
            let message = format!(
                "priority class names with 'system-' prefix are reserved for system use only. error: {problem}"
            );
            causes.push(forbidden("metadata.name", &message));
        }
    } else if value > USER_VALUE_MAX {
        let message =
            format!("maximum allowed value of a user defined priority is {USER_VALUE_MAX}");
        causes.push(forbidden("value", &message));
    }
    let policies = &["Never", "PreemptLowerPriority"];
    rules::one_of(&object["preemptionPolicy"], "preemptionPolicy", policies, causes);
}
