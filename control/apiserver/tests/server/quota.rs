//! Quotas, over the API and with kubectl.

use std::time::{Duration, Instant};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Got};
use crate::kubectl::Kubectl;

const CORE: &str = "/api/v1/namespaces/default";

async fn post(fixture: &Fixture, kind: &str, body: &Value) -> Got {
    fixture.admin("POST", &format!("{CORE}/{kind}"), &[], body.to_string()).await
}

fn pod(name: &str, resources: &Value) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "containers": [{ "name": "c", "image": "i", "resources": resources }] } })
}

async fn limit(fixture: &Fixture, name: &str, hard: Value) {
    let body = json!({ "metadata": { "name": name }, "spec": { "hard": hard } });
    let made = post(fixture, "resourcequotas", &body).await;
    assert_eq!(made.code, 201, "{}", made.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_much_is_refused_in_upstreams_words() {
    let fixture = Fixture::start().await;
    limit(&fixture, "q", json!({ "pods": "2", "requests.memory": "1Gi", "services.nodeports": "1", "count/configmaps": "1" })).await;
    let refused = post(&fixture, "pods", &pod("none", &json!({}))).await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "pods \"none\" is forbidden: failed quota: q: must specify requests.memory for: c"
    );
    let memory = |n: &str| json!({ "requests": { "memory": n } });
    assert_eq!(post(&fixture, "pods", &pod("a", &memory("512Mi"))).await.code, 201);
    let refused = post(&fixture, "pods", &pod("b", &memory("768Mi"))).await;
    assert_eq!(
        refused.json()["message"],
        "pods \"b\" is forbidden: exceeded quota: q, requested: requests.memory=768Mi, used: requests.memory=512Mi, limited: requests.memory=1Gi"
    );
    assert_eq!(post(&fixture, "pods", &pod("b", &memory("128Mi"))).await.code, 201);
    let refused = post(&fixture, "pods", &pod("c", &memory("1Mi"))).await;
    assert_eq!(
        refused.json()["message"],
        "pods \"c\" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"
    );
    // One that ends makes room, and so does one that goes.
    fixture.set_status("", "pods", "a", json!({ "phase": "Succeeded" })).await;
    assert_eq!(post(&fixture, "pods", &pod("c", &memory("1Mi"))).await.code, 201);
    let path = format!("{CORE}/pods/c");
    assert_eq!(fixture.admin("DELETE", &path, &[], "").await.code, 200);
    assert_eq!(post(&fixture, "pods", &pod("d", &memory("1Mi"))).await.code, 201);
    // An update that needs more is refused, too.
    let service = json!({ "metadata": { "name": "s" }, "spec": { "type": "NodePort", "ports": [{ "name": "a", "port": 1 }] } });
    assert_eq!(post(&fixture, "services", &service).await.code, 201);
    let ports =
        json!({ "spec": { "ports": [{ "name": "a", "port": 1 }, { "name": "b", "port": 2 }] } });
    let merge = [("content-type", "application/merge-patch+json")];
    let refused =
        fixture.admin("PATCH", &format!("{CORE}/services/s"), &merge, ports.to_string()).await;
    assert_eq!(
        refused.json()["message"],
        "services \"s\" is forbidden: exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=1, limited: services.nodeports=1"
    );
    // A dry run takes nothing.
    let map = |name: &str| json!({ "metadata": { "name": name } });
    assert_eq!(post(&fixture, "configmaps?dryRun=All", &map("m")).await.code, 201);
    assert_eq!(post(&fixture, "configmaps", &map("m")).await.code, 201);
    let refused = post(&fixture, "configmaps", &map("n")).await;
    assert!(
        refused.text().contains("requested: count/configmaps=1, used: count/configmaps=1"),
        "{}",
        refused.text()
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn creates_at_once_do_not_share_a_place() {
    let fixture = Fixture::start().await;
    limit(&fixture, "q", json!({ "configmaps": "5" })).await;
    let bodies: Vec<Value> =
        (0..20).map(|i| json!({ "metadata": { "name": format!("m{i}") } })).collect();
    let codes = join_all(bodies.iter().map(|body| post(&fixture, "configmaps", body))).await;
    let made = codes.iter().filter(|got| got.code == 201).count();
    let refused = codes.iter().filter(|got| got.code == 403).count();
    assert_eq!((made, refused), (5, 15));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_sees_what_is_used() {
    let fixture = Fixture::start_with_controllers().await;
    let Some(kubectl) = Kubectl::new(&fixture) else {
        fixture.stop().await;
        return;
    };
    kubectl.run(&["create", "quota", "q", "--hard=configmaps=2,count/deployments.apps=3"]).await;
    kubectl.run(&["create", "configmap", "one"]).await;
    let begun = Instant::now();
    let used =
        ["get", "quota", "q", "-o", "jsonpath={.status.used.configmaps}/{.status.hard.configmaps}"];
    while kubectl.run(&used).await != "1/2" {
        assert!(begun.elapsed() < Duration::from_secs(20), "the status never follows");
    }
    kubectl.run(&["create", "configmap", "two"]).await;
    let refused = kubectl.fail(&["create", "configmap", "three"], "").await;
    assert!(
        refused.contains(
            "exceeded quota: q, requested: configmaps=1, used: configmaps=2, limited: configmaps=2"
        ),
        "{refused}"
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deployment_that_is_over_its_quota_says_so() {
    let fixture = Fixture::start_with_controllers().await;
    let Some(kubectl) = Kubectl::new(&fixture) else {
        fixture.stop().await;
        return;
    };
    kubectl.run(&["create", "quota", "q", "--hard=pods=2"]).await;
    kubectl.run(&["create", "deployment", "web", "--image=i", "--replicas=5"]).await;
    let failures = [
        "get",
        "events",
        "--field-selector=reason=FailedCreate",
        "-o",
        "jsonpath={.items[*].message}",
    ];
    let begun = Instant::now();
    let said = loop {
        let said = kubectl.run(&failures).await;
        if !said.is_empty() {
            break said;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "nothing is said");
    };
    assert!(said.starts_with("Error creating: pods \"web-"), "{said}");
    assert!(
        said.contains("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"),
        "{said}"
    );
    assert_eq!(said.matches("Error creating").count(), 1, "{said}");
    let created = ["get", "events", "--field-selector=reason=SuccessfulCreate", "-o", "name"];
    assert_eq!(
        kubectl.run(&created).await.lines().count(),
        2,
        "told of what was made, and of nothing else"
    );
    assert_eq!(kubectl.run(&["get", "pods", "-o", "name"]).await.lines().count(), 2);
    kubectl
        .run(&["patch", "quota", "q", "--type=merge", "-p", r#"{"spec":{"hard":{"pods":"9"}}}"#])
        .await;
    let begun = Instant::now();
    while kubectl.run(&["get", "pods", "-o", "name"]).await.lines().count() != 5 {
        assert!(begun.elapsed() < Duration::from_secs(20), "the others are never made");
    }
    fixture.stop().await;
}
