#![expect(clippy::needless_pass_by_value, reason = "objects are written in place")]

use super::*;
use crate::kinds::{DEPLOYMENT, EVENT, NODE, POD, SERVICE};

fn now() -> Timestamp {
    "2025-01-01T01:00:00Z".parse().unwrap()
}

fn cells(kind: &KindInfo, object: Value) -> String {
    let cells = (kind.cells)(&object, now());
    assert_eq!(cells.len(), kind.columns.len(), "{}", kind.kind);
    cells
        .iter()
        .map(|c| c.as_str().map_or_else(|| c.to_string(), str::to_owned))
        .collect::<Vec<_>>()
        .join(" | ")
}

fn pod(spec: Value, status: Value) -> Value {
    json!({"kind": "Pod", "metadata": {"name": "p", "creationTimestamp": "2025-01-01T00:57:00Z"}, "spec": spec, "status": status})
}

#[test]
fn pods() {
    let spec = json!({"containers": [{"name": "a"}], "nodeName": "n1"});
    let running = json!({"phase": "Running", "podIP": "10.42.0.5", "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "a", "ready": true, "restartCount": 3, "state": {"running": {}},
            "lastState": {"terminated": {"finishedAt": "2025-01-01T00:55:00Z"}}}]});
    assert_eq!(
        cells(&POD, pod(spec.clone(), running)),
        "p | 1/1 | Running | 3 (5m ago) | 3m | 10.42.0.5 | n1 | <none> | <none>"
    );
    let status = |state: Value| json!({"phase": "Pending", "containerStatuses": [{"name": "a", "restartCount": 0, "state": state}]});
    let shown = |state: Value| {
        let all = cells(&POD, pod(spec.clone(), status(state)));
        all.split(" | ").nth(2).unwrap().to_owned()
    };
    assert_eq!(shown(json!({"waiting": {"reason": "ContainerCreating"}})), "ContainerCreating");
    assert_eq!(shown(json!({"waiting": {"reason": "CrashLoopBackOff"}})), "CrashLoopBackOff");
    assert_eq!(shown(json!({"terminated": {"exitCode": 3}})), "ExitCode:3");
    assert_eq!(shown(json!({"terminated": {"exitCode": 137, "signal": 9}})), "Signal:9");
    assert_eq!(shown(json!({"terminated": {"exitCode": 0, "reason": "Completed"}})), "Completed");
    let with_init =
        json!({"containers": [{"name": "a"}], "initContainers": [{"name": "i"}, {"name": "j"}]});
    let init = json!({"phase": "Pending", "initContainerStatuses": [
        {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}]});
    assert_eq!(
        cells(&POD, pod(with_init, init)),
        "p | 0/1 | Init:1/2 | 0 | 3m | <none> | <none> | <none> | <none>"
    );
    let mut going = pod(spec, json!({"phase": "Running"}));
    going["metadata"]["deletionTimestamp"] = json!("2025-01-01T01:00:00Z");
    assert!(cells(&POD, going).contains("Terminating"));
}

#[test]
fn deployments_services_nodes_events() {
    let at = "2025-01-01T00:00:00Z";
    let deploy = json!({"metadata": {"name": "d", "creationTimestamp": at}, "spec": {"replicas": 3, "selector": {"matchLabels": {"a": "b"}},
        "template": {"spec": {"containers": [{"name": "c", "image": "i:1"}]}}}, "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}});
    assert_eq!(cells(&DEPLOYMENT, deploy), "d | 2/3 | 3 | 2 | 60m | c | i:1 | a=b");
    let service = json!({"metadata": {"name": "s", "creationTimestamp": at}, "spec": {"type": "NodePort", "clusterIP": "10.43.0.7",
        "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}], "selector": {"a": "b"}}});
    assert_eq!(
        cells(&SERVICE, service),
        "s | NodePort | 10.43.0.7 | <none> | 80:30080/TCP,53/UDP | 60m | a=b"
    );
    let node = json!({"metadata": {"name": "n", "creationTimestamp": at, "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": true}, "status": {"conditions": [{"type": "Ready", "status": "True"}],
        "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}], "nodeInfo": {"kubeletVersion": "v1", "osImage": "Debian"}}});
    assert_eq!(
        cells(&NODE, node),
        "n | Ready,SchedulingDisabled | control-plane | 60m | v1 | 10.0.0.1 | <none> | Debian | <unknown> | <unknown>"
    );
    let event = json!({"metadata": {"name": "e"}, "type": "Normal", "reason": "Pulled", "message": "m", "count": 2, "firstTimestamp": at,
        "lastTimestamp": "2025-01-01T00:59:30Z", "source": {"component": "kubelet", "host": "n"}, "involvedObject": {"kind": "Pod", "name": "p"}});
    assert_eq!(
        cells(&EVENT, event),
        "30s | Normal | Pulled | pod/p |  | kubelet, n | m | 60m | 2 | e"
    );
}
