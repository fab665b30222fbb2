//! How `kubectl get pods` shows a pod.

use serde_json::Value;

use super::super::rules;
use crate::meta::{list, text};
use crate::time::{self, Timestamp};

/// The row of one pod.
pub(super) fn cells(o: &Value, now: Timestamp) -> Vec<Value> {
    let (spec, status) = (&o["spec"], &o["status"]);
    let sidecars: Vec<&str> = list(spec, "initContainers")
        .iter()
        .filter(|c| c["restartPolicy"] == "Always")
        .map(|c| text(c, "name"))
        .collect();
    let counted = list(status, "initContainerStatuses")
        .iter()
        .filter(|s| sidecars.contains(&text(s, "name")));
    let ready = list(status, "containerStatuses")
        .iter()
        .chain(counted)
        .filter(|s| s["ready"] == true)
        .count();
    let total = list(spec, "containers").len() + sidecars.len();
    vec![
        rules::name_cell(o),
        format!("{ready}/{total}").into(),
        reason(o, &sidecars).into(),
        restarts(status, &sidecars, now).into(),
        rules::age_cell(o, now),
        rules::or_none(text(status, "podIP").to_owned()).into(),
        rules::or_none(text(spec, "nodeName").to_owned()).into(),
        rules::or_none(text(status, "nominatedNodeName").to_owned()).into(),
        gates(spec, status).into(),
    ]
}

fn gates(spec: &Value, status: &Value) -> String {
    let gates = list(spec, "readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let holds = |gate: &Value| {
        list(status, "conditions")
            .iter()
            .any(|c| c["type"] == gate["conditionType"] && c["status"] == "True")
    };
    format!("{}/{}", gates.iter().filter(|g| holds(g)).count(), gates.len())
}

fn restarts(status: &Value, sidecars: &[&str], now: Timestamp) -> String {
    let containers = list(status, "containerStatuses");
    let init = list(status, "initContainerStatuses");
    let initializing = init.iter().any(|s| !finished_init(s, sidecars));
    let counted: Vec<&Value> = if initializing {
        init.iter().collect()
    } else {
        containers
            .iter()
            .chain(init.iter().filter(|s| sidecars.contains(&text(s, "name"))))
            .collect()
    };
    let total: i64 = counted.iter().filter_map(|s| s["restartCount"].as_i64()).sum();
    let last = counted
        .iter()
        .filter_map(|s| time::parse(s["lastState"]["terminated"]["finishedAt"].as_str()?))
        .max();
    match last {
        Some(at) if total > 0 => {
            format!("{total} ({} ago)", time::human_duration(now.as_second() - at.as_second()))
        }
        _ => total.to_string(),
    }
}

fn finished_init(status: &Value, sidecars: &[&str]) -> bool {
    let terminated = &status["state"]["terminated"];
    if sidecars.contains(&text(status, "name")) {
        return status["started"] == true;
    }
    terminated.is_object() && terminated["exitCode"].as_i64().unwrap_or(0) == 0
}

fn reason(o: &Value, sidecars: &[&str]) -> String {
    let (spec, status) = (&o["spec"], &o["status"]);
    let mut reason = match text(status, "reason") {
        "" => text(status, "phase").to_owned(),
        given => given.to_owned(),
    };
    let gated = list(status, "conditions")
        .iter()
        .any(|c| c["type"] == "PodScheduled" && c["reason"] == "SchedulingGated");
    if gated {
        reason = "SchedulingGated".to_owned();
    }
    match init_reason(spec, status, sidecars) {
        Some(init) => reason = init,
        None => containers_reason(status, &mut reason),
    }
    if o["metadata"]["deletionTimestamp"].is_string() {
        if text(status, "reason") == "NodeLost" {
            return "Unknown".to_owned();
        }
        if !matches!(text(status, "phase"), "Succeeded" | "Failed") {
            return "Terminating".to_owned();
        }
    }
    reason
}

/// The first init container that is not through.
fn init_reason(spec: &Value, status: &Value, sidecars: &[&str]) -> Option<String> {
    let total = list(spec, "initContainers").len();
    for (i, container) in list(status, "initContainerStatuses").iter().enumerate() {
        if finished_init(container, sidecars) {
            continue;
        }
        let terminated = &container["state"]["terminated"];
        if terminated.is_object() {
            return Some(match text(terminated, "reason") {
                "" => exit_reason(terminated, "Init:"),
                given => format!("Init:{given}"),
            });
        }
        let waiting = text(&container["state"]["waiting"], "reason");
        return Some(if waiting.is_empty() || waiting == "PodInitializing" {
            format!("Init:{i}/{total}")
        } else {
            format!("Init:{waiting}")
        });
    }
    None
}

fn exit_reason(terminated: &Value, prefix: &str) -> String {
    match terminated["signal"].as_i64().filter(|s| *s != 0) {
        Some(signal) => format!("{prefix}Signal:{signal}"),
        None => format!("{prefix}ExitCode:{}", terminated["exitCode"].as_i64().unwrap_or(0)),
    }
}

/// The first container with something to say, looking from the last one.
fn containers_reason(status: &Value, reason: &mut String) {
    let mut running = false;
    for container in list(status, "containerStatuses").iter().rev() {
        let state = &container["state"];
        let (waiting, terminated) = (text(&state["waiting"], "reason"), &state["terminated"]);
        if !waiting.is_empty() {
            waiting.clone_into(reason);
        } else if terminated.is_object() {
            *reason = match text(terminated, "reason") {
                "" => exit_reason(terminated, ""),
                given => given.to_owned(),
            };
        } else if container["ready"] == true && state["running"].is_object() {
            running = true;
        }
    }
    if reason == "Completed" && running {
        let ready = list(status, "conditions")
            .iter()
            .any(|c| c["type"] == "Ready" && c["status"] == "True");
        *reason = if ready { "Running" } else { "NotReady" }.to_owned();
    }
}
