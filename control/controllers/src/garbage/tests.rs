use beeline_api::kinds;

use super::*;

fn node(kind: &'static KindInfo, name: &str, owners: &[(&str, &str)]) -> Node {
    let owners = owners.iter().map(|(kind, name)| OwnerReference {
        api_version: if *kind == "Pod" { "v1".into() } else { "apps/v1".into() },
        kind: (*kind).to_owned(),
        name: (*name).to_owned(),
        uid: format!("uid-{name}"),
        block_owner_deletion: Some(true),
        controller: None,
    });
    Node {
        kind,
        object: ObjectId {
            namespace: "default".into(),
            name: name.into(),
            uid: format!("uid-{name}"),
        },
        resource_version: "1".into(),
        deleting: false,
        finalizers: Vec::new(),
        owners: owners.collect(),
    }
}

fn ending(mut node: Node, finalizer: &str) -> Node {
    node.deleting = true;
    node.finalizers = vec![finalizer.to_owned()];
    node
}

fn planned(nodes: Vec<Node>) -> Vec<String> {
    let present = nodes.iter().map(|n| n.object.uid.clone()).collect();
    let nodes = nodes.into_iter().map(Arc::new).collect();
    plan(&State { nodes, present, ..State::default() }).iter().map(ToString::to_string).collect()
}

#[test]
fn an_object_goes_when_all_its_owners_are_gone() {
    let pod = node(&kinds::POD, "p", &[("ReplicaSet", "gone")]);
    assert_eq!(planned(vec![pod]), ["delete Pod default/p"]);
    let two = node(&kinds::POD, "p", &[("ReplicaSet", "gone"), ("ReplicaSet", "here")]);
    let patches = planned(vec![two, node(&kinds::REPLICA_SET, "here", &[])]);
    assert_eq!(patches.len(), 1);
    assert!(
        patches[0].starts_with("patch Pod default/p") && patches[0].contains("uid-here"),
        "{patches:?}"
    );
    assert!(!patches[0].contains("uid-gone"));
}

#[test]
fn owners_of_unknown_kinds_are_not_judged() {
    assert!(planned(vec![node(&kinds::POD, "p", &[("Widget", "w")])]).is_empty());
}

#[test]
fn foreground_waits_for_the_dependents() {
    let owner = ending(node(&kinds::REPLICA_SET, "rs", &[]), FOREGROUND);
    let pod = node(&kinds::POD, "p", &[("ReplicaSet", "rs")]);
    assert_eq!(planned(vec![owner.clone(), pod.clone()]), ["delete Pod default/p"]);
    let mut going = pod;
    going.deleting = true;
    assert!(planned(vec![owner.clone(), going]).is_empty());
    let last = planned(vec![owner]);
    assert_eq!(
        last,
        [r#"patch ReplicaSet default/rs {"metadata":{"finalizers":[],"resourceVersion":"1"}}"#]
    );
}

#[test]
fn orphans_lose_the_reference_and_live() {
    let owner = ending(node(&kinds::REPLICA_SET, "rs", &[]), ORPHAN);
    let pod = node(&kinds::POD, "p", &[("ReplicaSet", "rs")]);
    assert_eq!(
        planned(vec![owner.clone(), pod]),
        [r#"patch Pod default/p {"metadata":{"ownerReferences":[],"resourceVersion":"1"}}"#]
    );
    assert_eq!(planned(vec![owner]).len(), 1);
}

#[test]
fn those_who_wait_for_each_other_go() {
    let a = ending(node(&kinds::REPLICA_SET, "a", &[("ReplicaSet", "b")]), FOREGROUND);
    let b = ending(node(&kinds::REPLICA_SET, "b", &[("ReplicaSet", "a")]), FOREGROUND);
    assert_eq!(planned(vec![a, b]).len(), 2);
}
