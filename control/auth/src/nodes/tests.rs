use super::*;

fn named(kind: Referred, name: &str) -> Named {
    Named::new(kind, "ns", name)
}

/// Pod `p` on node `a` names a secret, a claim and an account; volume `v` is the claim's and needs another secret.
fn nodes() -> Nodes {
    let verbs = vec!["get".to_owned()];
    let rule = Rule {
        verbs,
        api_groups: vec![String::new()],
        resources: vec!["services".to_owned()],
        ..Rule::default()
    };
    let nodes = Nodes::new(vec![rule]);
    let mut graph = nodes.write();
    let objects = vec![
        named(Referred::Secret, "s"),
        named(Referred::Claim, "c"),
        named(Referred::Account, "robot"),
    ];
    graph.set(named(Referred::Pod, "p"), Some(("a", objects)));
    graph.set(named(Referred::Pod, "q"), Some(("b", vec![named(Referred::Secret, "s2")])));
    let pair = |name: &str| ("ns".to_owned(), name.to_owned());
    let volume = Volume { claim: Some(pair("c")), secrets: vec![pair("key")] };
    graph.set_volume("v", Some(volume));
    drop(graph);
    nodes
}

/// The refusal that node `a` hears; nothing if it may.
fn hears(nodes: &Nodes, verb: &str, what: &str, name: &str, selected: &str) -> Option<String> {
    let (group, what) = what.rsplit_once('|').unwrap_or(("", what));
    let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
    let namespace = if resource == "leases" { "kube-node-lease" } else { "ns" };
    let target = Target::Resource { group, resource, subresource, namespace, name };
    let wanted = Attributes { node_selected: selected, ..Attributes::new(verb, target) };
    let groups = ["system:nodes".to_owned()];
    match nodes.allows("system:node:a", &groups, &wanted) {
        true => None,
        false => Some(nodes.reason("system:node:a", &groups, &wanted).unwrap_or_default()),
    }
}

#[test]
fn a_node_gets_what_its_pods_refer_to() {
    let nodes = nodes();
    for (verb, what, name) in [
        ("get", "secrets", "s"),
        ("watch", "secrets", "s"),
        ("get", "secrets", "key"),
        ("get", "persistentvolumeclaims", "c"),
        ("patch", "persistentvolumeclaims/status", "c"),
        ("get", "persistentvolumes", "v"),
        ("create", "serviceaccounts/token", "robot"),
        ("get", "pods", "p"),
        ("list", "pods", "p"),
        ("get", "services", "any"),
        ("get", "nodes", "a"),
        ("patch", "nodes/status", "b"),
        ("update", "coordination.k8s.io|leases", "a"),
        ("update", "storage.k8s.io|csinodes", "a"),
    ] {
        assert_eq!(hears(&nodes, verb, what, name, ""), None, "{verb} {what} {name}");
    }
    assert_eq!(hears(&nodes, "list", "pods", "", "a"), None);
    assert_eq!(hears(&nodes, "watch", "resource.k8s.io|resourceslices", "", "a"), None);
}

#[test]
fn all_else_is_refused_in_upstreams_words() {
    let nodes = nodes();
    let none = "no relationship found between node 'a' and this object";
    for (verb, what, name, why) in [
        ("get", "secrets", "s2", none),
        ("get", "secrets", "absent", none),
        ("list", "secrets", "", "No Object name found"),
        ("update", "secrets", "s", "can only read resources of this type"),
        ("get", "persistentvolumes", "w", none),
        ("list", "persistentvolumes", "v", "can only get individual resources of this type"),
        ("get", "pods", "q", none),
        ("list", "pods", "", "can only list/watch pods with spec.nodeName field selector"),
        ("update", "pods", "p", ""),
        ("create", "serviceaccounts/token", "other", none),
        (
            "get",
            "serviceaccounts",
            "robot",
            "can only create tokens for individual service accounts",
        ),
        ("get", "nodes", "b", "node 'a' cannot read 'b', only its own Node object"),
        ("list", "nodes", "", "node 'a' cannot read all nodes, only its own Node object"),
        ("delete", "nodes", "a", ""),
        (
            "get",
            "coordination.k8s.io|leases",
            "b",
            "can only access node lease with the same name as the requesting node",
        ),
        ("update", "services", "any", ""),
        ("create", "apps|deployments", "", ""),
    ] {
        assert_eq!(
            hears(&nodes, verb, what, name, "").as_deref(),
            Some(why),
            "{verb} {what} {name}"
        );
    }
    assert!(hears(&nodes, "list", "pods", "", "b").is_some());
    let target = Target::Path("/metrics");
    let groups = ["system:nodes".to_owned()];
    assert!(!nodes.allows("system:node:a", &groups, &Attributes::new("get", target)));
    // A name without the group is nobody, and the group without a name neither.
    let mine = Target::Resource {
        group: "",
        resource: "nodes",
        subresource: "",
        namespace: "",
        name: "a",
    };
    assert!(!nodes.allows("system:node:a", &[], &Attributes::new("get", mine)));
    assert!(!nodes.allows("impostor", &groups, &Attributes::new("get", mine)));
}

#[test]
fn what_goes_leaves_nothing_behind() {
    let nodes = nodes();
    // Another Pod on the same node names the same secret: it stays within reach when the first goes.
    nodes.write().set(named(Referred::Pod, "r"), Some(("a", vec![named(Referred::Secret, "s")])));
    nodes.write().set(named(Referred::Pod, "p"), None);
    assert_eq!(hears(&nodes, "get", "secrets", "s", ""), None);
    assert!(hears(&nodes, "get", "persistentvolumes", "v", "").is_some());
    assert!(hears(&nodes, "get", "secrets", "key", "").is_some());
    // A Pod of that name elsewhere.
    nodes.write().set(named(Referred::Pod, "r"), Some(("b", vec![named(Referred::Secret, "s")])));
    assert!(hears(&nodes, "get", "secrets", "s", "").is_some());
    for pod in ["q", "r"] {
        nodes.write().set(named(Referred::Pod, pod), None);
    }
    nodes.write().set_volume("v", None);
    assert!(nodes.read().is_empty());
}
