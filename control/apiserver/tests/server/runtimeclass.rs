//! What pods get from their RuntimeClass and their account.

use serde_json::{Value, json};

use crate::fixture::{Fixture, Got};

async fn post(fixture: &Fixture, path: &str, body: &Value) -> Got {
    fixture.admin("POST", path, &[], body.to_string()).await
}

async fn pod(fixture: &Fixture, more: Value) -> Got {
    let mut spec = json!({ "containers": [{ "name": "c", "image": "i" }] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let body = json!({ "metadata": { "generateName": "p" }, "spec": spec });
    post(fixture, "/api/v1/namespaces/default/pods", &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn classes_give_overhead_and_place() {
    let fixture = Fixture::start().await;
    let class = json!({ "metadata": { "name": "vm" }, "handler": "kata", "overhead": { "podFixed": { "cpu": "250m" } },
        "scheduling": { "nodeSelector": { "vm": "yes" }, "tolerations": [{ "key": "vm", "operator": "Exists" }] } });
    let made = post(&fixture, "/apis/node.k8s.io/v1/runtimeclasses", &class).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let made = pod(&fixture, json!({ "runtimeClassName": "vm" })).await;
    let spec = &made.json()["spec"];
    assert_eq!(
        (&spec["overhead"], &spec["nodeSelector"]),
        (&json!({ "cpu": "250m" }), &json!({ "vm": "yes" })),
        "{spec}"
    );
    assert!(spec["tolerations"].to_string().contains(r#""key":"vm""#), "{spec}");
    for (more, words) in [
        (json!({ "runtimeClassName": "gone" }), "pod rejected: RuntimeClass \"gone\" not found"),
        (
            json!({ "overhead": { "cpu": "1" } }),
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            json!({ "runtimeClassName": "vm", "overhead": { "cpu": "1" } }),
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            json!({ "runtimeClassName": "vm", "nodeSelector": { "vm": "no" } }),
            "conflict: runtimeClass.scheduling.nodeSelector[vm] = yes; pod.spec.nodeSelector[vm] = no",
        ),
    ] {
        let refused = pod(&fixture, more).await;
        let said = refused.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(refused.code == 403 && said.ends_with(words), "{said}");
    }
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_give_secrets_to_pull_with() {
    let fixture = Fixture::start().await;
    let account =
        json!({ "metadata": { "name": "puller" }, "imagePullSecrets": [{ "name": "s" }] });
    let path = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(post(&fixture, path, &account).await.code, 201);
    let secrets =
        async |more: Value| pod(&fixture, more).await.json()["spec"]["imagePullSecrets"].clone();
    assert_eq!(secrets(json!({ "serviceAccountName": "puller" })).await, json!([{ "name": "s" }]));
    let own = json!([{ "name": "own" }]);
    let more = json!({ "serviceAccountName": "puller", "imagePullSecrets": own });
    assert_eq!(secrets(more).await, own);
    assert_eq!(secrets(json!({})).await, Value::Null);
    fixture.stop().await;
}
