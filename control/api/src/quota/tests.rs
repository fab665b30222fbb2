//! What is counted, and by which quota.

use serde_json::json;

use super::*;
use crate::kinds::{CONFIG_MAP, DEPLOYMENT};

fn quota(spec: &Value) -> Quota {
    Quota::parse(&json!({ "metadata": { "name": "q" }, "spec": spec }))
}

fn shown(amounts: &Amounts) -> String {
    printed(amounts.iter().map(|(name, of)| (name, *of)))
}

fn container(name: &str, requests: &Value, limits: &Value) -> Value {
    json!({ "name": name, "resources": { "requests": requests, "limits": limits } })
}

#[test]
fn pods_use_what_runs_together_and_their_overhead() {
    let cpu = |n: &str| json!({ "cpu": n });
    let mut side = container("side", &cpu("200m"), &json!({}));
    side["restartPolicy"] = json!("Always");
    let pod = json!({ "spec": {
        "initContainers": [container("first", &cpu("2"), &json!({})), side],
        "containers": [
            container("a", &json!({ "cpu": "500m", "memory": "1Gi", "example.com/gpu": 1 }), &json!({ "memory": "2Gi" })),
            container("b", &cpu("1"), &cpu("1")),
        ],
        "overhead": { "cpu": "100m", "memory": "64Mi" },
    } });
    // The first alone asks for two, all that runs later for 1.7.
    assert_eq!(
        shown(&usage(&POD, &pod)),
        "count/pods=1,cpu=2100m,limits.cpu=1100m,limits.memory=2112Mi,memory=1088Mi,pods=1,requests.cpu=2100m,requests.example.com/gpu=1,requests.memory=1088Mi"
    );
    let mut ended = pod;
    ended["status"] = json!({ "phase": "Failed" });
    assert_eq!(shown(&usage(&POD, &ended)), "count/pods=1");
}

#[test]
fn services_claims_and_others() {
    let service = |spec: Value| shown(&usage(&SERVICE, &json!({ "spec": spec })));
    let ports = json!([{ "port": 1, "nodePort": 30000 }, { "port": 2 }]);
    assert_eq!(
        service(json!({ "type": "ClusterIP", "ports": ports })),
        "count/services=1,services=1"
    );
    assert_eq!(
        service(json!({ "type": "NodePort", "ports": ports })),
        "count/services=1,services=1,services.nodeports=2"
    );
    assert_eq!(
        service(
            json!({ "type": "LoadBalancer", "ports": ports, "allocateLoadBalancerNodePorts": false })
        ),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=1"
    );
    let claim = json!({ "spec": { "storageClassName": "fast", "resources": { "requests": { "storage": "5Gi" } } } });
    assert_eq!(
        shown(&usage(&PERSISTENT_VOLUME_CLAIM, &claim)),
        "count/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/persistentvolumeclaims=1,fast.storageclass.storage.k8s.io/requests.storage=5Gi,persistentvolumeclaims=1,requests.storage=5Gi"
    );
    assert_eq!(shown(&usage(&DEPLOYMENT, &json!({}))), "count/deployments.apps=1");
    assert_eq!(shown(&usage(&CONFIG_MAP, &json!({}))), "configmaps=1,count/configmaps=1");
}

#[test]
fn a_quota_counts_what_it_limits() {
    let by_name = |name: &str| quota(&json!({ "hard": { name: "1" } }));
    for (name, kind, wanted) in [
        ("pods", &POD, true),
        ("requests.cpu", &POD, true),
        ("requests.storage", &POD, false),
        ("requests.storage", &PERSISTENT_VOLUME_CLAIM, true),
        ("fast.storageclass.storage.k8s.io/persistentvolumeclaims", &PERSISTENT_VOLUME_CLAIM, true),
        ("services.nodeports", &SERVICE, true),
        ("services", &SERVICE, true),
        ("count/deployments.apps", &DEPLOYMENT, true),
        ("count/deployments.apps", &POD, false),
        ("pods", &CONFIG_MAP, false),
    ] {
        assert_eq!(by_name(name).concerns(kind), wanted, "{name} {}", kind.kind);
    }
    let used = by_name("pods").used_by(&POD, &json!({ "spec": {} }));
    assert_eq!(shown(&used), "pods=1");
}

#[test]
fn scopes_choose_pods() {
    let cases = [
        (json!({ "scopes": ["Terminating"] }), json!({ "activeDeadlineSeconds": 5 }), json!({})),
        (json!({ "scopes": ["NotTerminating"] }), json!({}), json!({ "activeDeadlineSeconds": 5 })),
        (
            json!({ "scopes": ["BestEffort"] }),
            json!({ "containers": [{}] }),
            json!({ "containers": [container("a", &json!({ "cpu": "1" }), &json!({}))] }),
        ),
        (
            json!({ "scopeSelector": { "matchExpressions": [{ "scopeName": "PriorityClass", "operator": "In", "values": ["high"] }] } }),
            json!({ "priorityClassName": "high" }),
            json!({ "priorityClassName": "low" }),
        ),
        (
            json!({ "scopeSelector": { "matchExpressions": [{ "scopeName": "PriorityClass", "operator": "DoesNotExist" }] } }),
            json!({}),
            json!({ "priorityClassName": "low" }),
        ),
        (
            json!({ "scopes": ["CrossNamespacePodAffinity"] }),
            json!({ "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{ "namespaces": ["x"] }] } } }),
            json!({ "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{}] } } }),
        ),
    ];
    for (mut spec, counted, not) in cases {
        spec["hard"] = json!({ "pods": "1" });
        let quota = quota(&spec);
        assert!(!quota.used_by(&POD, &json!({ "spec": counted })).is_empty(), "{spec}");
        assert!(quota.used_by(&POD, &json!({ "spec": not })).is_empty(), "{spec}");
        assert!(!quota.concerns(&CONFIG_MAP));
    }
}

#[test]
fn containers_have_to_name_what_is_limited() {
    let limited = quota(&json!({ "hard": { "cpu": "1", "limits.memory": "1Gi", "pods": "3" } }));
    let pod = json!({ "spec": { "containers": [
        container("a", &json!({ "cpu": "1" }), &json!({})), container("b", &json!({}), &json!({})),
    ] } });
    let said = limited.uncountable(&pod);
    assert_eq!(said.as_deref(), Some("must specify cpu for: b; limits.memory for: a,b"));
    assert_eq!(quota(&json!({ "hard": { "pods": "3" } })).uncountable(&pod), None);
}
