//! Evictions and the budgets that they ask, over the API and with kubectl.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::fixture::{Fixture, Got};
use crate::kubectl::Kubectl;

const PODS: &str = "/api/v1/namespaces/default/pods";
const BUDGETS: &str = "/apis/policy/v1/namespaces/default/poddisruptionbudgets";
const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

async fn pod(fixture: &Fixture, name: &str, ready: &str) {
    let spec = json!({ "nodeName": "n", "containers": [{ "name": "c", "image": "i" }] });
    let body = json!({ "metadata": { "name": name, "labels": { "app": "web" } }, "spec": spec });
    let made = fixture.admin("POST", PODS, &[], body.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let status =
        json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": ready }] });
    fixture.set_status("", "pods", name, status).await;
}

async fn budget(fixture: &Fixture, name: &str, more: Value) {
    let mut spec = json!({ "selector": { "matchLabels": { "app": "web" } } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = json!({ "metadata": { "name": name }, "spec": spec });
    let made = fixture.admin("POST", BUDGETS, &[], body.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
}

async fn evict(fixture: &Fixture, name: &str, query: &str) -> Got {
    let body =
        json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": name } });
    fixture.admin("POST", &format!("{PODS}/{name}/eviction{query}"), &[], body.to_string()).await
}

/// Waits until the controller has counted, and seen that what was evicted goes.
async fn counted(fixture: &Fixture, name: &str, healthy: i64, allowed: i64) -> Value {
    let begun = Instant::now();
    loop {
        let budget = fixture.admin("GET", &format!("{BUDGETS}/{name}"), &[], "").await.json();
        let status = &budget["status"];
        let number = |field: &str| status[field].as_i64().unwrap_or(0);
        if (number("currentHealthy"), number("disruptionsAllowed")) == (healthy, allowed)
            && number("observedGeneration") == 1
            && status["disruptedPods"].is_null()
        {
            return status.clone();
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "never counted: {budget}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_let_go_what_they_have_left() {
    let fixture = Fixture::start_with_controllers().await;
    for name in ["a", "b", "c"] {
        pod(&fixture, name, "True").await;
    }
    budget(&fixture, "web", json!({ "minAvailable": 2 })).await;
    let status = counted(&fixture, "web", 3, 1).await;
    assert_eq!((&status["expectedPods"], &status["desiredHealthy"]), (&json!(3), &json!(2)));
    assert_eq!(status["conditions"][0]["reason"], "SufficientPods");
    assert_eq!(evict(&fixture, "a", "?dryRun=All").await.code, 201);
    let gone = evict(&fixture, "a", "").await;
    assert_eq!((gone.code, &gone.json()["status"]), (201, &json!("Success")), "{}", gone.text());
    let refused = evict(&fixture, "b", "").await;
    let status = refused.json();
    assert_eq!((refused.code, &status["reason"]), (429, &json!("TooManyRequests")));
    assert_eq!(status["message"], REFUSED);
    assert_eq!(status["details"]["causes"][0]["reason"], "DisruptionBudget");
    let status = counted(&fixture, "web", 2, 0).await;
    assert_eq!(status["conditions"][0]["reason"], "InsufficientPods");
    let refused = evict(&fixture, "b", "").await.json();
    assert_eq!(
        refused["details"]["causes"][0]["message"],
        "The disruption budget web needs 2 healthy pods and has 2 currently"
    );
    // Pods that have ended are no loss.
    fixture.set_status("", "pods", "b", json!({ "phase": "Failed" })).await;
    assert_eq!(evict(&fixture, "b", "").await.code, 201);
    budget(&fixture, "too", json!({ "maxUnavailable": 1 })).await;
    let refused = evict(&fixture, "c", "").await;
    assert_eq!(refused.code, 500);
    assert!(refused.text().contains("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unhealthy_pods_go_as_the_budget_says() {
    let fixture = Fixture::start_with_controllers().await;
    pod(&fixture, "ill", "False").await;
    budget(&fixture, "web", json!({ "minAvailable": 1 })).await;
    counted(&fixture, "web", 0, 0).await;
    assert_eq!(
        evict(&fixture, "ill", "").await.code,
        429,
        "the budget is not kept without it either"
    );
    pod(&fixture, "well", "True").await;
    counted(&fixture, "web", 1, 0).await;
    assert_eq!(evict(&fixture, "well", "").await.code, 429);
    assert_eq!(evict(&fixture, "ill", "").await.code, 201, "the budget is kept without it");
    pod(&fixture, "worse", "False").await;
    let merge = [("content-type", "application/merge-patch+json")];
    let patch =
        json!({ "spec": { "minAvailable": 5, "unhealthyPodEvictionPolicy": "AlwaysAllow" } });
    let path = format!("{BUDGETS}/web");
    assert_eq!(fixture.admin("PATCH", &path, &merge, patch.to_string()).await.code, 200);
    assert_eq!(evict(&fixture, "worse", "").await.code, 201);
    let refused = evict(&fixture, "well", "").await;
    assert_eq!(refused.code, 429);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_drains_what_budgets_let_go() {
    let fixture = Fixture::start_with_controllers().await;
    let Some(kubectl) = Kubectl::new(&fixture) else {
        fixture.stop().await;
        return;
    };
    kubectl
        .pipe(
            &["create", "-f", "-"],
            r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n"}}"#,
        )
        .await;
    pod(&fixture, "a", "True").await;
    budget(&fixture, "web", json!({ "minAvailable": 1 })).await;
    counted(&fixture, "web", 1, 0).await;
    let said = kubectl.fail(&["drain", "n", "--force", "--timeout=1s"], "").await;
    assert!(said.contains(REFUSED), "{said}");
    let table = kubectl.run(&["get", "pdb"]).await;
    let row: Vec<&str> = table.lines().nth(1).unwrap_or_default().split_whitespace().collect();
    assert_eq!(row[..4], ["web", "1", "N/A", "0"], "{table}");
    fixture.stop().await;
}
