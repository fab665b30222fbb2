//! What the stored FlowSchemas are told: whether their level is there.
//!
//! In: stored objects. Out: the conditions that differ, and writes of them. A write that loses a race is made by the next
//! change, which is what it lost to.

use beeline_api::kinds::{FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION};
use beeline_api::meta::{list, text};
use beeline_api::time;
use beeline_registry::{Caller, Patch, Registry, Subresource, Target, WriteOptions};
use serde_json::{Value, json};

/// Brings all conditions up to date.
pub(super) async fn write(registry: &Registry) {
    let levels = registry.snapshot(&PRIORITY_LEVEL_CONFIGURATION, None);
    let is_there = |name: &str| levels.iter().any(|level| level.name() == name);
    for schema in registry.snapshot(&FLOW_SCHEMA, None) {
        let level = text(&schema.value["spec"]["priorityLevelConfiguration"], "name");
        let Some(condition) = condition(&schema.value["status"], level, is_there(level)) else {
            continue;
        };
        let condition =
            with_time(condition, &time::format(time::from_system(std::time::SystemTime::now())));
        let target = Target {
            subresource: Some(Subresource::Status),
            ..Target::object(&FLOW_SCHEMA, None, schema.name())
        };
        let patch = Patch::Merge(json!({ "status": { "conditions": [condition] } }));
        let caller = Caller::system("api-priority-and-fairness-config-consumer-v1");
        let written = registry.patch(&caller, &target, patch, &WriteOptions::default()).await;
        if let Err(error) = written {
            tracing::debug!(%error, schema = schema.name(), "write the status of a flow schema");
        }
    }
}

/// The condition `Dangling` as it should be; `None` if it is.
fn condition(status: &Value, level: &str, there: bool) -> Option<Value> {
    let (dangling, reason, end) = match there {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {level:?} {end}"
    );
    let held = list(status, "conditions").iter().find(|one| one["type"] == "Dangling");
    let same = held.is_some_and(|one| one["status"] == dangling && one["message"] == *message);
    (!same).then(
        || json!({ "type": "Dangling", "status": dangling, "reason": reason, "message": message }),
    )
}

fn with_time(mut condition: Value, now: &str) -> Value {
    condition["lastTransitionTime"] = now.into();
    condition
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_is_written_once() {
        let missing = condition(&Value::Null, "x", false).unwrap();
        assert_eq!((&missing["status"], &missing["reason"]), (&json!("True"), &json!("NotFound")));
        let status = json!({ "conditions": [missing] });
        assert_eq!(condition(&status, "x", false), None);
        let found = condition(&status, "x", true).unwrap();
        assert_eq!(
            found["message"],
            "This FlowSchema references the PriorityLevelConfiguration object named \"x\" and it exists"
        );
        assert_eq!(condition(&json!({ "conditions": [found] }), "x", true), None);
    }
}
