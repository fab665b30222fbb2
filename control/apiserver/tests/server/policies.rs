//! ValidatingAdmissionPolicies, over the API and with kubectl.

use serde_json::{Value, json};

use crate::fixture::{Fixture, Got};
use crate::kubectl::Kubectl;

const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn post(fixture: &Fixture, path: &str, body: &Value) -> Got {
    fixture.admin("POST", path, &[], body.to_string()).await
}

fn policy(name: &str, more: &Value) -> Value {
    let rules = json!([{ "operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] }]);
    let mut spec = json!({ "matchConstraints": { "resourceRules": rules } });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "metadata": { "name": name }, "spec": spec })
}

fn binding(name: &str, policy: &str, actions: &[&str], more: &Value) -> Value {
    let mut spec = json!({ "policyName": policy, "validationActions": actions });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "metadata": { "name": name }, "spec": spec })
}

async fn bound(fixture: &Fixture, policy: &Value, binding: &Value) {
    for (path, body) in
        [("validatingadmissionpolicies", policy), ("validatingadmissionpolicybindings", binding)]
    {
        let made = post(fixture, &format!("{GROUP}/{path}"), body).await;
        assert_eq!(made.code, 201, "{}", made.text());
    }
}

fn map(name: &str, data: &Value) -> Value {
    json!({ "metadata": { "name": name }, "data": data })
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_refuse_and_warn_in_upstreams_words() {
    let fixture = Fixture::start().await;
    let validations = json!({
        "matchConditions": [{ "name": "not-exempt", "expression": "!object.metadata.name.startsWith('exempt')" }],
        "variables": [
            { "name": "size", "expression": "has(object.data) ? object.data.size() : 0" },
            { "name": "twice", "expression": "variables.size * 2" },
        ],
        "validations": [
            { "expression": "variables.twice <= 2", "messageExpression": "'too much: ' + string(variables.size)", "reason": "Forbidden" },
            { "expression": "namespaceObject.metadata.name == 'default' && request.operation != 'UPDATE'" },
        ],
    });
    bound(
        &fixture,
        &policy("small", &validations),
        &binding("everywhere", "small", &["Deny", "Audit"], &json!({})),
    )
    .await;
    let two = json!({ "a": "", "b": "" });
    let refused = post(&fixture, MAPS, &map("two", &two)).await;
    assert_eq!(refused.code, 403, "{}", refused.text());
    let said =
        "ValidatingAdmissionPolicy 'small' with binding 'everywhere' denied request: too much: 2";
    let status = refused.json();
    assert_eq!(status["message"], format!("configmaps \"two\" is forbidden: {said}"));
    assert_eq!(
        (&status["reason"], &status["details"]["causes"][0]["message"]),
        (&json!("Forbidden"), &json!(said))
    );
    assert_eq!(post(&fixture, MAPS, &map("exempt-two", &two)).await.code, 201);
    assert_eq!(post(&fixture, MAPS, &map("one", &json!({ "a": "" }))).await.code, 201);
    let patch = json!({ "data": { "a": "b" } }).to_string();
    let merge = [("content-type", "application/merge-patch+json")];
    let refused = fixture.admin("PATCH", &format!("{MAPS}/one"), &merge, patch).await;
    assert_eq!(
        (refused.code, &refused.json()["reason"]),
        (422, &json!("Invalid")),
        "{}",
        refused.text()
    );
    assert!(refused.text().contains("denied request: failed expression: namespaceObject.metadata.name == 'default' && request.operation != 'UPDATE'"));
    let path = format!("{GROUP}/validatingadmissionpolicybindings/everywhere");
    assert_eq!(fixture.admin("DELETE", &path, &[], "").await.code, 200);
    let warns = binding("warns", "small", &["Warn"], &json!({}));
    assert_eq!(
        post(&fixture, &format!("{GROUP}/validatingadmissionpolicybindings"), &warns).await.code,
        201
    );
    let warned = post(&fixture, MAPS, &map("three", &two)).await;
    assert_eq!(warned.code, 201);
    let words =
        "Validation failed for ValidatingAdmissionPolicy 'small' with binding 'warns': too much: 2";
    assert!(warned.header("warning").contains(words), "{:?}", warned.headers);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_bindings_and_errors() {
    let fixture = Fixture::start().await;
    let limited = json!({
        "paramKind": { "apiVersion": "v1", "kind": "ConfigMap" },
        "validations": [{ "expression": "object.metadata.name.size() <= int(params.data.max)" }],
    });
    let reference = |name: &str, action: &str| {
        json!({ "paramRef": { "name": name, "namespace": "kube-system", "parameterNotFoundAction": action },
        "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "default" } } } })
    };
    bound(
        &fixture,
        &policy("short", &limited),
        &binding("b", "short", &["Deny"], &reference("limits", "Deny")),
    )
    .await;
    let refused = post(&fixture, MAPS, &map("long", &json!({}))).await;
    assert_eq!(
        refused.json()["message"],
        "configmaps \"long\" is forbidden: ValidatingAdmissionPolicy 'short' with binding 'b' denied request: failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction"
    );
    let elsewhere = "/api/v1/namespaces/kube-system/configmaps";
    assert_eq!(
        post(&fixture, elsewhere, &map("limits", &json!({ "max": "3" }))).await.code,
        201,
        "not bound there"
    );
    assert_eq!(post(&fixture, MAPS, &map("abc", &json!({}))).await.code, 201);
    let refused = post(&fixture, MAPS, &map("abcd", &json!({}))).await;
    assert!(
        refused
            .text()
            .contains("failed expression: object.metadata.name.size() <= int(params.data.max)"),
        "{}",
        refused.text()
    );
    let merge = [("content-type", "application/merge-patch+json")];
    let patch = json!({ "data": { "max": null } }).to_string();
    assert_eq!(
        fixture.admin("PATCH", &format!("{elsewhere}/limits"), &merge, patch).await.code,
        200
    );
    let refused = post(&fixture, MAPS, &map("a", &json!({}))).await;
    assert!(refused.text().contains("resulted in error: no such key:"), "{}", refused.text());
    let ignore = json!({ "spec": { "failurePolicy": "Ignore" } }).to_string();
    let path = format!("{GROUP}/validatingadmissionpolicies/short");
    assert_eq!(fixture.admin("PATCH", &path, &merge, ignore).await.code, 200);
    assert_eq!(post(&fixture, MAPS, &map("a", &json!({}))).await.code, 201);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_ask_what_others_may() {
    let fixture = Fixture::start().await;
    let ask = |who: &str, verb: &str| {
        format!(
            "authorizer{who}.group('').resource('secrets').namespace('default').check('{verb}').allowed()"
        )
    };
    let account = ".serviceAccount('default', 'reader')";
    let validations = json!({ "validations": [
        { "expression": ask("", "delete"), "message": "the administrator may" },
        { "expression": ask(account, "get"), "message": "the account may not get" },
        { "expression": format!("!{}", ask(account, "delete")), "message": "the account may delete" },
    ] });
    let everywhere = binding("everywhere", "ask", &["Deny"], &json!({}));
    bound(&fixture, &policy("ask", &validations), &everywhere).await;
    let refused = post(&fixture, MAPS, &map("m", &json!({}))).await;
    assert!(refused.text().contains("the account may not get"), "{}", refused.text());
    let rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default";
    let rules = json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }]);
    let role = json!({ "metadata": { "name": "reader" }, "rules": rules });
    assert_eq!(post(&fixture, &format!("{rbac}/roles"), &role).await.code, 201);
    let granted = json!({ "metadata": { "name": "reader" }, "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader" },
        "subjects": [{ "kind": "ServiceAccount", "name": "reader", "namespace": "default" }] });
    assert_eq!(post(&fixture, &format!("{rbac}/rolebindings"), &granted).await.code, 201);
    let made = post(&fixture, MAPS, &map("m", &json!({}))).await;
    assert_eq!(made.code, 201, "{}", made.text());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_meets_a_policy() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else {
        fixture.stop().await;
        return;
    };
    let manifest = |expression: &str| {
        let mut policy = policy(
            "replicas",
            &json!({ "validations": [{ "expression": expression, "message": "at most three" }] }),
        );
        policy["apiVersion"] = json!("admissionregistration.k8s.io/v1");
        policy["kind"] = json!("ValidatingAdmissionPolicy");
        let rules = json!([{ "operations": ["*"], "apiGroups": ["apps"], "apiVersions": ["*"], "resources": ["deployments", "deployments/scale"] }]);
        policy["spec"]["matchConstraints"]["resourceRules"] = rules;
        policy.to_string()
    };
    let refused = kubectl.fail(&["apply", "-f", "-"], &manifest("object.spec.replicas <=")).await;
    assert!(refused.contains("spec.validations[0].expression: Invalid value: \"object.spec.replicas <=\": compilation failed"), "{refused}");
    kubectl
        .pipe(&["apply", "-f", "-"], &manifest("object == null || object.spec.replicas <= 3"))
        .await;
    let mut bound = binding("all", "replicas", &["Deny"], &json!({}));
    bound["apiVersion"] = json!("admissionregistration.k8s.io/v1");
    bound["kind"] = json!("ValidatingAdmissionPolicyBinding");
    kubectl.pipe(&["apply", "-f", "-"], &bound.to_string()).await;
    let said =
        "ValidatingAdmissionPolicy 'replicas' with binding 'all' denied request: at most three";
    let create = |n| ["create", "deployment", "d", "--image=i", n];
    let refused = kubectl.fail(&create("--replicas=4"), "").await;
    assert!(refused.contains(said), "{refused}");
    kubectl.run(&create("--replicas=3")).await;
    let refused = kubectl.fail(&["scale", "deployment/d", "--replicas=5"], "").await;
    assert!(refused.contains(said), "{refused}");
    kubectl.run(&["delete", "deployment", "d"]).await;
    fixture.stop().await;
}
