use super::*;
use beeline_api::selectors::{FieldSelector, LabelSelector};

#[tokio::test]
async fn pages_of_one_snapshot() {
    let bench = Bench::new().await;
    for i in 0..25 {
        bench.create(&CONFIG_MAP, config_map(&format!("c{i:02}"), "1")).await.unwrap();
    }
    let target = Target::collection(&CONFIG_MAP, Some("default"));
    let mut o = ListOptions { limit: 10, ..ListOptions::default() };
    let first = bench.registry.list(&bench.caller, &target, &o).await.unwrap();
    assert_eq!((first.items.len(), first.remaining), (10, Some(15)));
    bench.delete(&bench.one(&CONFIG_MAP, "c15"), DeleteOptions::default()).await.unwrap();
    bench.create(&CONFIG_MAP, config_map("c05x", "1")).await.unwrap();
    bench.create(&CONFIG_MAP, config_map("c12x", "1")).await.unwrap();
    let mut names: Vec<String> = first.items.iter().map(|o| o.name().to_owned()).collect();
    o.continue_token = first.continue_token;
    while o.continue_token.is_some() {
        let page = bench.registry.list(&bench.caller, &target, &o).await.unwrap();
        assert_eq!(page.revision, first.revision);
        names.extend(page.items.iter().map(|o| o.name().to_owned()));
        o.continue_token = page.continue_token;
    }
    assert_eq!(names, (0..25).map(|i| format!("c{i:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn old_tokens_expire_with_a_way_on() {
    let bench = Bench::with(Options { history_per_kind: 4, ..Options::default() }).await;
    for i in 0..5 {
        bench.create(&CONFIG_MAP, config_map(&format!("c{i}"), "1")).await.unwrap();
    }
    let target = Target::collection(&CONFIG_MAP, None);
    let mut o = ListOptions { limit: 2, ..ListOptions::default() };
    let first = bench.registry.list(&bench.caller, &target, &o).await.unwrap();
    for i in 5..15 {
        bench.create(&CONFIG_MAP, config_map(&format!("d{i}"), "1")).await.unwrap();
    }
    o.continue_token = first.continue_token;
    let expired = bench.registry.list(&bench.caller, &target, &o).await.unwrap_err();
    assert_eq!(expired.code, 410);
    o.continue_token = expired.continue_token.map(String::from);
    o.limit = 0;
    let rest = bench.registry.list(&bench.caller, &target, &o).await.unwrap();
    assert_eq!(rest.items.len(), 13);
    o.continue_token = Some("nonsense".to_owned());
    assert_eq!(bench.registry.list(&bench.caller, &target, &o).await.unwrap_err().code, 400);
}

#[tokio::test]
async fn selectors_and_versions() {
    let bench = Bench::new().await;
    for (name, app) in [("a", "x"), ("b", "y")] {
        let mut body = pod(name);
        body["metadata"]["labels"] = json!({ "app": app });
        bench.create(&POD, body).await.unwrap();
    }
    let target = Target::collection(&POD, None);
    let count = async |o: ListOptions| {
        bench.registry.list(&bench.caller, &target, &o).await.map(|l| l.items.len())
    };
    let labels = |s: &str| ListOptions {
        labels: LabelSelector::parse(s).unwrap(),
        ..ListOptions::default()
    };
    let fields = |s: &str| ListOptions {
        fields: FieldSelector::parse(s, &POD).unwrap(),
        ..ListOptions::default()
    };
    assert_eq!(count(labels("app=x")).await, Ok(1));
    assert_eq!(count(labels("app in (x,y)")).await, Ok(2));
    assert_eq!(count(fields("spec.nodeName=")).await, Ok(2));
    assert_eq!(count(fields("metadata.name=b")).await, Ok(1));
    let at = |v: &str, m| ListOptions {
        resource_version: Some(v.to_owned()),
        version_match: m,
        ..ListOptions::default()
    };
    assert_eq!(count(at("0", None)).await, Ok(2));
    let before_b = bench.get(&bench.one(&POD, "a")).await.unwrap().revision.0.to_string();
    assert_eq!(count(at(&before_b, Some(VersionMatch::Exact))).await, Ok(1));
    assert_eq!(count(at(&before_b, Some(VersionMatch::NotOlderThan))).await, Ok(2));
    assert_eq!(count(at("0", Some(VersionMatch::Exact))).await.unwrap_err().code, 422);
    assert_eq!(count(at("x", None)).await.unwrap_err().code, 400);
}

#[tokio::test]
async fn views_tell_what_changed_between_them() {
    let bench = Bench::new().await;
    for name in ["a", "b", "c"] {
        bench.create(&CONFIG_MAP, config_map(name, "1")).await.unwrap();
    }
    let before = bench.registry.view(&CONFIG_MAP);
    assert!(bench.registry.view(&CONFIG_MAP).since(&before).is_empty());
    bench.merge(&bench.one(&CONFIG_MAP, "a"), json!({ "data": { "k": "2" } })).await.unwrap();
    bench.delete(&bench.one(&CONFIG_MAP, "b"), DeleteOptions::default()).await.unwrap();
    bench.create(&CONFIG_MAP, config_map("d", "1")).await.unwrap();
    let name = |object: &Option<Arc<Object>>| object.as_ref().map(|o| o.name().to_owned());
    let found: Vec<_> = bench
        .registry
        .view(&CONFIG_MAP)
        .since(&before)
        .iter()
        .map(|(old, new)| (name(old), name(new)))
        .collect();
    let some = |name: &str| Some(name.to_owned());
    assert_eq!(found, [(some("a"), some("a")), (some("b"), None), (None, some("d"))]);
    assert_eq!((before.len(), before.is_empty()), (3, false));
}
