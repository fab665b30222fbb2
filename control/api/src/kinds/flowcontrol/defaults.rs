//! The priority levels and flow schemas that a cluster has from the start.
//!
//! Names, shares, queues, precedences and rules are upstream's of `flowcontrol.apiserver.k8s.io/v1`. The mandatory ones
//! cannot be changed; the suggested ones follow the server's version for as long as their annotation says so.

use serde_json::{Value, json};

/// Says whether the server may bring an object's spec up to date.
pub const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
/// The level whose requests never wait.
pub const EXEMPT: &str = "exempt";
/// Where requests go that nothing else takes.
pub const CATCH_ALL: &str = "catch-all";

/// Whether the server itself says what is in an object of that name.
#[must_use]
pub fn is_mandatory(name: &str) -> bool {
    matches!(name, EXEMPT | CATCH_ALL)
}

/// All PriorityLevelConfigurations.
#[must_use]
pub fn levels() -> Vec<Value> {
    let queued = |name: &str, shares: i64, lendable: i64, queues: i64, hand: i64| {
        let queuing = json!({ "queues": queues, "handSize": hand, "queueLengthLimit": 50 });
        let response = json!({ "type": "Queue", "queuing": queuing });
        let limited = json!({
            "nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response,
        });
        object(name, json!({ "type": "Limited", "limited": limited }))
    };
    let exempt = json!({ "nominalConcurrencyShares": 0, "lendablePercent": 0 });
    let last = json!({
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": { "type": "Reject" },
    });
    vec![
        object(EXEMPT, json!({ "type": "Exempt", "exempt": exempt })),
        object(CATCH_ALL, json!({ "type": "Limited", "limited": last })),
        queued("system", 30, 33, 64, 6),
        queued("node-high", 40, 25, 64, 6),
        queued("leader-election", 10, 0, 16, 4),
        queued("workload-high", 40, 50, 128, 6),
        queued("workload-low", 100, 90, 128, 6),
        queued("global-default", 20, 50, 128, 6),
    ]
}

/// All FlowSchemas.
#[must_use]
pub fn schemas() -> Vec<Value> {
    let mut all = narrow();
    all.extend(wide());
    all
}

/// Those of some requests of their subjects.
fn narrow() -> Vec<Value> {
    let nodes = &groups(&["system:nodes"]);
    let mut leaders = accounts("*");
    leaders.extend(["system:kube-controller-manager", "system:kube-scheduler"].map(user));
    let mut endpoint_writers = accounts("endpoint-controller");
    endpoint_writers.extend(accounts("endpointslicemirroring-controller"));
    endpoint_writers.push(user("system:kube-controller-manager"));
    let writes = &["get", "create", "update"];
    let leases = || vec![rule(writes, "coordination.k8s.io", &["leases"], false)];
    let own = vec![
        rule(&["*"], "", &["nodes", "nodes/status"], true),
        rule(&["*"], "coordination.k8s.io", &["leases"], false),
    ];
    let endpoints = vec![rule(writes, "", &["endpoints"], false)];
    let health = json!({ "verbs": ["get"], "nonResourceURLs": ["/healthz", "/livez", "/readyz"] });
    let by_user = Some("ByUser");
    let of = |name, level, precedence, subjects: Vec<Value>, resources| {
        schema((name, level, precedence), by_user, &subjects.into(), (resources, vec![]))
    };
    vec![
        schema(("probes", EXEMPT, 2), None, &everybody(), (vec![], vec![health])),
        of("system-leader-election", "leader-election", 100, leaders, leases()),
        of("endpoint-controller", "workload-high", 150, endpoint_writers, endpoints),
        of("workload-leader-election", "leader-election", 200, accounts("*"), leases()),
        schema(("system-node-high", "node-high", 400), by_user, nodes, (own, vec![])),
    ]
}

/// Those that take whatever their subjects do.
fn wide() -> Vec<Value> {
    let all = |name, level, precedence, by, subjects: &Value| {
        let path = json!({ "verbs": ["*"], "nonResourceURLs": ["*"] });
        let resource = rule(&["*"], "*", &["*"], true);
        schema((name, level, precedence), by, subjects, (vec![resource], vec![path]))
    };
    let (user_of, namespace_of) = (Some("ByUser"), Some("ByNamespace"));
    let one = |name: &str| json!([user(name)]);
    let managers = one("system:kube-controller-manager");
    let scheduler = one("system:kube-scheduler");
    let system_accounts = accounts("*").into();
    let all_accounts = groups(&["system:serviceaccounts"]);
    vec![
        all(EXEMPT, EXEMPT, 1, None, &groups(&["system:masters"])),
        all("system-nodes", "system", 500, user_of, &groups(&["system:nodes"])),
        all("kube-controller-manager", "workload-high", 800, namespace_of, &managers),
        all("kube-scheduler", "workload-high", 800, namespace_of, &scheduler),
        all("kube-system-service-accounts", "workload-high", 900, namespace_of, &system_accounts),
        all("service-accounts", "workload-low", 9_000, user_of, &all_accounts),
        all("global-default", "global-default", 9_900, user_of, &everybody()),
        all(CATCH_ALL, CATCH_ALL, 10_000, user_of, &everybody()),
    ]
}

fn everybody() -> Value {
    groups(&["system:unauthenticated", "system:authenticated"])
}

fn user(name: &str) -> Value {
    json!({ "kind": "User", "user": { "name": name } })
}

#[expect(clippy::needless_pass_by_value, reason = "it becomes a part of what is returned")]
fn object(name: &str, spec: Value) -> Value {
    json!({ "metadata": { "name": name, "annotations": { AUTOUPDATE: "true" } }, "spec": spec })
}

fn groups(names: &[&str]) -> Value {
    names.iter().map(|name| json!({ "kind": "Group", "group": { "name": name } })).collect()
}

/// Of the namespace that the cluster's own workloads are in.
fn accounts(name: &str) -> Vec<Value> {
    let account = json!({ "namespace": "kube-system", "name": name });
    vec![json!({ "kind": "ServiceAccount", "serviceAccount": account })]
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({
        "verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"],
    });
    if cluster {
        rule["clusterScope"] = json!(true);
    }
    rule
}

fn schema(
    (name, level, precedence): (&str, &str, i64),
    by: Option<&str>,
    subjects: &Value,
    (resources, paths): (Vec<Value>, Vec<Value>),
) -> Value {
    let mut rules = json!({ "subjects": subjects });
    if !resources.is_empty() {
        rules["resourceRules"] = resources.into();
    }
    if !paths.is_empty() {
        rules["nonResourceRules"] = paths.into();
    }
    let mut spec = json!({
        "priorityLevelConfiguration": { "name": level }, "matchingPrecedence": precedence,
        "rules": [rules],
    });
    if let Some(by) = by {
        spec["distinguisherMethod"] = json!({ "type": by });
    }
    object(name, spec)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::{FLOW_SCHEMA, PRIORITY_LEVEL_CONFIGURATION};

    #[test]
    fn all_are_valid_complete_and_of_levels_that_there_are() {
        let levels = levels();
        let of = |all: &[Value], i: usize| all[i]["metadata"]["name"].as_str().unwrap().to_owned();
        let known: Vec<String> = (0..levels.len()).map(|i| of(&levels, i)).collect();
        for (kind, one) in levels
            .iter()
            .map(|one| (&PRIORITY_LEVEL_CONFIGURATION, one))
            .chain(schemas().iter().map(|one| (&FLOW_SCHEMA, one)))
        {
            let mut filled = one.clone();
            (kind.default)(&mut filled);
            assert_eq!(&filled, one, "defaults would change it");
            let mut causes = Vec::new();
            (kind.validate)(one, &mut causes);
            assert!(causes.is_empty(), "{one}: {causes:?}");
        }
        for schema in schemas() {
            let level = schema["spec"]["priorityLevelConfiguration"]["name"].as_str().unwrap();
            assert!(known.iter().any(|name| name == level), "{level}");
        }
    }
}
