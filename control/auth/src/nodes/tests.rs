use std::collections::BTreeMap;

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

/// Pods and volumes as a naive reader would keep them.
#[derive(Default)]
struct Plain {
    pods: BTreeMap<String, (String, Vec<Named>)>,
    volumes: BTreeMap<String, Volume>,
}

impl Plain {
    fn leads(&self, object: &Named, node: &str) -> bool {
        let named = |wanted: &Named| {
            let here = self.pods.values().filter(|(on, _)| on == node);
            here.into_iter().any(|(_, objects)| objects.contains(wanted))
        };
        let claimed = |volume: &Volume| {
            let claim = volume.claim.as_ref();
            claim.is_some_and(|(space, name)| named(&Named::new(Referred::Claim, space, name)))
        };
        let needs = |volume: &Volume| {
            let mut all = volume.secrets.iter();
            all.any(|(space, name)| Named::new(Referred::Secret, space, name) == *object)
        };
        named(object)
            || self.pods.iter().any(|(pod, (on, _))| on == node && *object == named_pod(pod))
            || self.volumes.iter().any(|(name, volume)| {
                claimed(volume)
                    && (needs(volume) || *object == Named::new(Referred::Volume, "", name))
            })
    }
}

fn named_pod(name: &str) -> Named {
    Named::new(Referred::Pod, "ns", name)
}

#[test]
fn the_index_says_what_a_look_at_everything_would() {
    use rand::{Rng as _, SeedableRng as _};
    const SEED: u64 = 20;
    let mut random = rand::rngs::StdRng::seed_from_u64(SEED);
    let (mut graph, mut plain) = (Graph::default(), Plain::default());
    let kinds = [Referred::Secret, Referred::Claim, Referred::ConfigMap, Referred::Account];
    let pair = |name: usize| ("ns".to_owned(), format!("o{name}"));
    for round in 0..3_000 {
        let name = format!("x{}", random.random_range(0..6));
        if random.random_bool(0.7) {
            let node = format!("n{}", random.random_range(0..3));
            let mut object = || {
                let kind = kinds[random.random_range(0..kinds.len())];
                Named::new(kind, "ns", &pair(random.random_range(0..4)).1)
            };
            let objects: Vec<Named> = (0..3).map(|_| object()).collect();
            if random.random_bool(0.3) {
                graph.set(named_pod(&name), None);
                plain.pods.remove(&name);
            } else {
                graph.set(named_pod(&name), Some((&node, objects.clone())));
                plain.pods.insert(name, (node, objects));
            }
        } else if random.random_bool(0.3) {
            graph.set_volume(&name, None);
            plain.volumes.remove(&name);
        } else {
            let claim = random.random_bool(0.8).then(|| pair(random.random_range(0..4)));
            let secrets = vec![pair(random.random_range(0..4)), pair(random.random_range(0..4))];
            let volume = Volume { claim, secrets };
            graph.set_volume(&name, Some(volume.clone()));
            plain.volumes.insert(name, volume);
        }
        let names = (0..4).flat_map(|at| kinds.map(|kind| Named::new(kind, "ns", &pair(at).1)));
        let others = (0..6).flat_map(|at| {
            let name = format!("x{at}");
            [Named::new(Referred::Volume, "", &name), named_pod(&name)]
        });
        for object in names.chain(others) {
            for node in ["n0", "n1", "n2"] {
                let (said, wanted) = (graph.leads(&object, node), plain.leads(&object, node));
                assert_eq!(said, wanted, "seed {SEED}, round {round}: {object:?} on {node}");
            }
        }
    }
}
