//! A node's report over what stands: the node's word replaces its own fields, what others wrote stays.

use serde_json::{Map, Value};

/// What the API server sets in a Pod's status and nodes leave alone.
const POD_KEPT: [&str; 4] = ["qosClass", "nominatedNodeName", "resize", "resourceClaimStatuses"];
/// The same for nodes.
const NODE_KEPT: [&str; 2] = ["volumesAttached", "config"];

/// The status of a Pod after a report.
pub(super) fn pod_status(old: &Value, report: Value) -> Value {
    status(old, report, &POD_KEPT)
}

/// The status of a Node after a report.
pub(super) fn node_status(old: &Value, report: Value) -> Value {
    status(old, report, &NODE_KEPT)
}

fn status(old: &Value, mut report: Value, kept: &[&str]) -> Value {
    for field in kept {
        if report.get(field).is_none()
            && let Some(there) = old.get(field)
        {
            report[*field] = there.clone();
        }
    }
    let mut conditions = report["conditions"].as_array().cloned().unwrap_or_default();
    for condition in &mut conditions {
        steady(condition, old);
    }
    let foreign = old["conditions"].as_array().into_iter().flatten();
    for condition in foreign {
        if !conditions.iter().any(|mine| mine["type"] == condition["type"]) {
            conditions.push(condition.clone());
        }
    }
    report["conditions"] = Value::from(conditions);
    report
}

/// A condition whose status is the same keeps the time at which it became so.
fn steady(condition: &mut Value, old: &Value) {
    let known = old["conditions"].as_array().into_iter().flatten();
    let known = known.into_iter().find(|c| c["type"] == condition["type"]);
    if let Some(known) = known.filter(|c| c["status"] == condition["status"])
        && known["lastTransitionTime"].is_string()
        && let Some(condition) = condition.as_object_mut()
    {
        condition.insert("lastTransitionTime".to_owned(), known["lastTransitionTime"].clone());
    }
}

/// The merge patch from one to the other, none if they are equal.
pub(super) fn patch(old: &Value, new: &Value) -> Option<Value> {
    if old == new {
        return None;
    }
    let (Value::Object(before), Value::Object(after)) = (old, new) else {
        return Some(new.clone());
    };
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let mut changes: Map<String, Value> = gone.map(|key| (key.clone(), Value::Null)).collect();
    for (key, wanted) in after {
        let change = match before.get(key) {
            Some(there) => patch(there, wanted),
            None => Some(wanted.clone()),
        };
        changes.extend(change.map(|change| (key.clone(), change)));
    }
    (!changes.is_empty()).then_some(Value::Object(changes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_others_wrote_stays() {
        let old = json!({ "qosClass": "Burstable", "phase": "Pending", "reason": "x", "conditions": [
            { "type": "PodScheduled", "status": "True" },
            { "type": "Ready", "status": "False", "lastTransitionTime": "t0" },
        ]});
        let report = json!({ "phase": "Pending", "conditions": [
            { "type": "Ready", "status": "False", "lastTransitionTime": "t1" },
        ]});
        let new = pod_status(&old, report);
        assert_eq!(new["qosClass"], "Burstable");
        assert_eq!(new["conditions"][0]["lastTransitionTime"], "t0");
        assert_eq!(new["conditions"][1]["type"], "PodScheduled");
        assert_eq!(patch(&old, &new).unwrap()["reason"], Value::Null);
    }
}
