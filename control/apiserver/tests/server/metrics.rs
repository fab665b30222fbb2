//! The page of metrics as Prometheus reads it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::fixture::Fixture;

/// The family that a sample is of: histograms have three kinds of samples.
fn family(name: &str, types: &BTreeMap<String, String>) -> String {
    let stem = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    match stem.filter(|stem| types.get(*stem).is_some_and(|kind| kind == "histogram")) {
        Some(stem) => stem.to_owned(),
        None => name.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_has_its_family_and_comes_once() {
    let fixture = Fixture::start().await;
    let maps = "/api/v1/namespaces/default/configmaps";
    let body = json!({ "metadata": { "name": "m" } }).to_string();
    assert_eq!(
        fixture.admin("POST", &format!("{maps}?dryRun=All"), &[], body.clone()).await.code,
        201
    );
    assert_eq!(fixture.admin("POST", maps, &[], body).await.code, 201);
    let apply = [("content-type", "application/apply-patch+yaml")];
    let applied = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "m" } });
    let url = format!("{maps}/m?fieldManager=me");
    assert_eq!(fixture.admin("PATCH", &url, &apply, applied.to_string()).await.code, 200);
    assert_eq!(fixture.admin("GET", "/api/v1/configmaps", &[], "").await.code, 200);
    assert_eq!(fixture.admin("GET", "/apis/none/v1/nothing", &[], "").await.code, 404);
    let watch = format!("{maps}?watch=1&timeoutSeconds=1&resourceVersion=0");
    assert_eq!(fixture.admin("GET", &watch, &[], "").await.code, 200);
    let page = fixture.admin("GET", "/metrics", &[], "").await.text();
    fixture.stop().await;

    let (mut types, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let mut helped = String::new();
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            helped = help.split_once(' ').unwrap().0.to_owned();
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(name, helped, "a type without its help");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = sample.split('{').next().unwrap();
            assert_eq!(family(name, &types), helped, "{line} is not below its family");
            assert!(seen.insert(sample.to_owned()), "{sample} twice");
        }
    }
    let core = |verb: &str, dry: &str, scope: &str, code: u16| {
        format!(
            "apiserver_request_total{{verb=\"{verb}\",dry_run=\"{dry}\",group=\"\",version=\"v1\",\
             resource=\"configmaps\",subresource=\"\",scope=\"{scope}\",component=\"apiserver\",code=\"{code}\"}}"
        )
    };
    for sample in [
        core("POST", "All", "resource", 201),
        core("POST", "", "resource", 201),
        core("APPLY", "", "resource", 200),
        core("LIST", "", "cluster", 200),
        core("WATCH", "", "namespace", 200),
        "apiserver_watch_events_total{group=\"\",version=\"v1\",kind=\"ConfigMap\"}".to_owned(),
        "apiserver_storage_objects{resource=\"configmaps\"}".to_owned(),
        "etcd_request_duration_seconds_count{operation=\"create\",group=\"\",resource=\"configmaps\"}"
            .to_owned(),
    ] {
        assert!(seen.contains(&sample), "{sample} is not in\n{page}");
    }
    assert!(!page.contains("nothing"), "what a client sends has become a label");
}
