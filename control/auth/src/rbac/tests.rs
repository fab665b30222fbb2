use super::*;

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&one| one.to_owned()).collect()
}

fn rule(verbs: &[&str], groups: &[&str], resources: &[&str], names: &[&str]) -> Rule {
    Rule {
        verbs: texts(verbs),
        api_groups: texts(groups),
        resources: texts(resources),
        resource_names: texts(names),
        non_resource_urls: Vec::new(),
    }
}

fn wanted<'a>(verb: &'a str, what: &'a str, namespace: &'a str, name: &'a str) -> Attributes<'a> {
    let (resource, subresource) = what.split_once('/').unwrap_or((what, ""));
    let target = match what.starts_with('/') {
        true => Target::Path(what),
        false => Target::Resource { group: "", resource, subresource, namespace, name },
    };
    Attributes::new(verb, target)
}

#[test]
fn a_rule_allows_what_it_names() {
    let pods = rule(&["get", "list"], &[""], &["pods", "pods/log", "*/scale"], &[]);
    assert!(pods.allows(&wanted("get", "pods", "a", "p")));
    assert!(pods.allows(&wanted("get", "pods/log", "a", "p")));
    assert!(pods.allows(&wanted("get", "replicationcontrollers/scale", "a", "p")));
    assert!(!pods.allows(&wanted("get", "pods/exec", "a", "p")));
    assert!(!pods.allows(&wanted("delete", "pods", "a", "p")));
    assert!(!pods.allows(&wanted("get", "/pods", "", "")));
    let everything = rule(&["*"], &["*"], &["*"], &[]);
    assert!(everything.allows(&wanted("escalate", "pods/exec", "", "")));
    assert!(!rule(&["get"], &["apps"], &["*"], &[]).allows(&wanted("get", "pods", "a", "p")));
}

#[test]
fn a_rule_with_names_needs_a_name() {
    let named = rule(&["*"], &[""], &["configmaps"], &["one"]);
    assert!(named.allows(&wanted("get", "configmaps", "a", "one")));
    assert!(!named.allows(&wanted("get", "configmaps", "a", "two")));
    assert!(!named.allows(&wanted("create", "configmaps", "a", "")));
}

#[test]
fn paths_match_whole_or_by_their_beginning() {
    let rule = Rule {
        verbs: texts(&["get"]),
        non_resource_urls: texts(&["/version", "/healthz/*"]),
        ..Rule::default()
    };
    assert!(rule.allows(&wanted("get", "/version", "", "")));
    assert!(rule.allows(&wanted("get", "/healthz/etcd", "", "")));
    assert!(!rule.allows(&wanted("get", "/version/x", "", "")));
    assert!(!rule.allows(&wanted("get", "/healthz", "", "")));
}

#[test]
fn what_is_held_in_parts_covers_the_whole() {
    let read = rule(&["get", "list"], &[""], &["pods", "secrets"], &[]);
    let halves =
        [rule(&["get", "list"], &[""], &["pods"], &[]), rule(&["*"], &[""], &["secrets"], &[])];
    assert!(read.is_covered_by(&[&halves[0], &halves[1]]));
    assert!(!read.is_covered_by(&[&halves[0]]));
    let any_verb = rule(&["*"], &[""], &["pods"], &[]);
    assert!(!any_verb.is_covered_by(&[&halves[0]]));
    assert!(any_verb.is_covered_by(&[&any_verb]));
    let one = rule(&["get"], &[""], &["pods"], &["p"]);
    assert!(one.is_covered_by(&[&halves[0]]) && !halves[0].is_covered_by(&[&one]));
    let scale = rule(&["get"], &["apps"], &["deployments/scale"], &[]);
    assert!(scale.is_covered_by(&[&rule(&["get"], &["apps"], &["*/scale"], &[])]));
    assert!(!rule(&["get"], &["apps"], &["*/scale"], &[]).is_covered_by(&[&scale]));
    let paths = |list: &[&str]| Rule {
        verbs: texts(&["get"]),
        non_resource_urls: texts(list),
        ..Rule::default()
    };
    assert!(paths(&["/a/b", "/a/*"]).is_covered_by(&[&paths(&["/a/*"])]));
    assert!(!paths(&["/a/*"]).is_covered_by(&[&paths(&["/a/b"])]));
    assert!(!paths(&["/a/*"]).is_covered_by(&[&paths(&["/a/"])]));
    assert!(!paths(&["/*"]).is_covered_by(&[&paths(&["/a/*"])]));
}

#[test]
fn bindings_hold_where_they_are() {
    let rbac = Rbac::default();
    let pods = rule(&["get"], &[""], &["pods"], &[]);
    let may = |user: &str, groups: &[&str], namespace: &str| {
        let groups = texts(groups);
        rbac.allows(user, &groups, &wanted("get", "pods", namespace, "p"))
    };
    rbac.write().set_role(Scoped::cluster("reader"), Some(vec![pods.clone()]));
    rbac.write().set_role(Scoped::within("a", "reader"), Some(vec![pods]));
    let bind = |subjects: Vec<Subject>, role: Scoped| Some(Binding { subjects, role });
    let bob = || Subject::User("bob".to_owned());
    rbac.write().set_binding(
        Scoped::within("a", "one"),
        bind(vec![bob(), Subject::Group("devs".to_owned())], Scoped::within("a", "reader")),
    );
    assert!(may("bob", &[], "a") && may("eve", &["devs"], "a"));
    assert!(!may("bob", &[], "b") && !may("bob", &[], "") && !may("eve", &[], "a"));

    rbac.write().set_binding(Scoped::cluster("two"), bind(vec![bob()], Scoped::cluster("reader")));
    assert!(may("bob", &[], "b") && may("bob", &[], ""));
    rbac.write().set_binding(Scoped::cluster("two"), bind(vec![bob()], Scoped::cluster("absent")));
    assert!(!may("bob", &[], "b"));

    rbac.write().set_binding(Scoped::within("a", "one"), None);
    rbac.write().set_binding(Scoped::cluster("two"), None);
    assert!(!may("bob", &[], "a") && !may("eve", &["devs"], "a"));
    assert!(rbac.read().by_subject_is_empty());
}

#[test]
fn a_refusal_prints_the_rule_as_upstream_does() {
    let text = rule(&["get", "list"], &[""], &["pods"], &[]).to_string();
    assert_eq!(text, r#"{APIGroups:[""], Resources:["pods"], Verbs:["get", "list"]}"#);
}

#[test]
fn what_allows_something_is_named_in_upstreams_words() {
    let mut grants = Grants::default();
    let reads = || Some(vec![rule(&["get"], &[""], &["pods"], &[])]);
    grants.set_role(Scoped::cluster("view"), reads());
    grants.set_role(Scoped::within("a", "reader"), reads());
    let bind = |role: Scoped, subject: Subject| Some(Binding { subjects: vec![subject], role });
    let group = Subject::Group("devs".to_owned());
    grants.set_binding(Scoped::cluster("all"), bind(Scoped::cluster("view"), group));
    let account = Subject::User("system:serviceaccount:b:robot".to_owned());
    grants.set_binding(Scoped::within("a", "own"), bind(Scoped::within("a", "reader"), account));
    let reason = |user: &str, groups: &[&str], namespace: &str| {
        grants.allowed_by(user, &texts(groups), &wanted("get", "pods", namespace, "p"))
    };
    assert_eq!(
        reason("bob", &["devs"], "x").as_deref(),
        Some(r#"RBAC: allowed by ClusterRoleBinding "all" of ClusterRole "view" to Group "devs""#)
    );
    assert_eq!(
        reason("system:serviceaccount:b:robot", &[], "a").as_deref(),
        Some(
            r#"RBAC: allowed by RoleBinding "own/a" of Role "reader" to ServiceAccount "robot/b""#
        )
    );
    assert_eq!(reason("system:serviceaccount:b:robot", &[], "b"), None);
}
