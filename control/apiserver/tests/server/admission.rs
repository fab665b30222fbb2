//! Admission webhooks, over the API and with kubectl.

use std::time::Instant;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::custom::WIDGETS;
use crate::fixture::{Fixture, Got};
use crate::hook::Hook;
use crate::kubectl::Kubectl;

const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const MERGE: [(&str, &str); 1] = [("content-type", "application/merge-patch+json")];

/// What the webhook of these tests says at each of its paths.
fn answer(path: &str, review: &Value) -> Option<Value> {
    let request = &review["request"];
    let patch = |steps: Value| {
        let encoded = base64::engine::general_purpose::STANDARD.encode(steps.to_string());
        json!({ "allowed": true, "patchType": "JSONPatch", "patch": encoded })
    };
    // Each appends its name to `data.seen`.
    let seen = |name: &str| {
        let before = request["object"]["data"]["seen"].as_str().unwrap_or_default();
        let data = json!({ "seen": format!("{before}{name}") });
        patch(json!([{ "op": "add", "path": "/data", "value": data }]))
    };
    let mut response = match path {
        "/hang" => return None,
        "/deny" => {
            json!({ "allowed": false, "status": { "message": "not today", "code": 403, "reason": "Forbidden" } })
        }
        "/warn" => json!({ "allowed": true, "warnings": ["think again"] }),
        "/other-uid" => json!({ "allowed": true, "uid": "other" }),
        "/scale" => patch(json!([{ "op": "replace", "path": "/spec/replicas", "value": 2 }])),
        "/grow" if request["object"].is_object() => {
            patch(json!([{ "op": "replace", "path": "/spec/size", "value": 7 }]))
        }
        "/wrong" => patch(json!([{ "op": "add", "path": "/data", "value": "no map" }])),
        "/a" | "/b" | "/c" => seen(&path[1..]),
        _ => json!({ "allowed": true }),
    };
    if response["uid"].is_null() {
        response["uid"] = request["uid"].clone();
    }
    Some(
        json!({ "apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response }),
    )
}

fn webhook(hook: &Hook, path: &str, more: &Value) -> Value {
    let name = format!("{}.hook.example.com", path.trim_start_matches('/'));
    let base = json!({ "name": name, "clientConfig": hook.client(path),
        "sideEffects": "None", "admissionReviewVersions": ["v1"],
        "rules": [{ "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"] }] });
    let mut all = base.as_object().unwrap().clone();
    all.extend(more.as_object().unwrap().clone());
    Value::Object(all)
}

async fn configure(fixture: &Fixture, sort: &str, name: &str, webhooks: &[Value]) {
    let path = format!("{HOOKS}/{sort}webhookconfigurations");
    let body = json!({ "metadata": { "name": name }, "webhooks": webhooks });
    let made = fixture.admin("POST", &path, &[], body.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
}

async fn unconfigure(fixture: &Fixture, sort: &str, name: &str) {
    let path = format!("{HOOKS}/{sort}webhookconfigurations/{name}");
    assert_eq!(fixture.admin("DELETE", &path, &[], "").await.code, 200);
}

async fn map(fixture: &Fixture, name: &str) -> Got {
    let body = json!({ "metadata": { "name": name, "labels": { "which": name } } });
    fixture.admin("POST", MAPS, &[], body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn mutating_webhooks_change_objects_in_order() {
    let fixture = Fixture::start().await;
    let hook = Hook::start(&fixture, answer).await;
    // Configurations are asked in the order of their names; `a` wants to see what comes after it.
    configure(&fixture, "mutating", "z", &[webhook(&hook, "/c", &json!({}))]).await;
    let again = json!({ "reinvocationPolicy": "IfNeeded" });
    let first = [webhook(&hook, "/a", &again), webhook(&hook, "/b", &json!({}))];
    configure(&fixture, "mutating", "y", &first).await;
    let made = map(&fixture, "one").await;
    assert_eq!((made.code, &made.json()["data"]["seen"]), (201, &json!("abca")), "{}", made.text());
    let calls = hook.calls();
    let paths: Vec<&str> = calls.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(paths, ["/a", "/b", "/c", "/a"]);
    let request = &calls[0].1["request"];
    let resource = json!({ "group": "", "version": "v1", "resource": "configmaps" });
    let kind = json!({ "group": "", "version": "v1", "kind": "ConfigMap" });
    for (field, wanted) in [
        ("kind", &kind),
        ("requestKind", &kind),
        ("resource", &resource),
        ("requestResource", &resource),
        ("operation", &json!("CREATE")),
        ("name", &json!("one")),
        ("namespace", &json!("default")),
        ("dryRun", &json!(false)),
        ("oldObject", &Value::Null),
    ] {
        assert_eq!(&request[field], wanted, "{field}");
    }
    assert_eq!(request["options"]["kind"], "CreateOptions");
    assert_eq!(request["object"]["metadata"]["labels"]["which"], "one");
    assert!(request["userInfo"]["groups"].to_string().contains("system:masters"), "{request}");
    let patch = json!({ "metadata": { "labels": { "more": "" } } }).to_string();
    let patched = fixture.admin("PATCH", &format!("{MAPS}/one?dryRun=All"), &MERGE, patch).await;
    assert_eq!(patched.json()["data"]["seen"], "abcaabca", "{}", patched.text());
    let (_, last) = hook.calls().pop().unwrap();
    let request = &last["request"];
    assert_eq!((&request["operation"], &request["dryRun"]), (&json!("UPDATE"), &json!(true)));
    assert_eq!(
        request["options"],
        json!({ "kind": "PatchOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"] })
    );
    assert_eq!(request["oldObject"]["data"]["seen"], "abca");
    let stored = fixture.admin("GET", &format!("{MAPS}/one"), &[], "").await.json();
    assert_eq!(stored["data"]["seen"], "abca", "a dry run stores nothing");
    hook.stop().await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_failures_in_upstreams_words() {
    let fixture = Fixture::start().await;
    let hook = Hook::start(&fixture, answer).await;
    let slow = json!({ "timeoutSeconds": 1 });
    let gone = json!({ "clientConfig": {
        "service": { "name": "gone", "namespace": "default" }, "caBundle": hook.client("")["caBundle"],
    } });
    let denied = "admission webhook \"deny.hook.example.com\" denied the request: not today";
    let late = format!(
        "Internal error occurred: failed calling webhook \"hang.hook.example.com\": failed to call webhook: Post \"https://localhost:{}/hang?timeout=1s\": context deadline exceeded",
        hook.port
    );
    let no_patch =
        "received invalid webhook response: validating webhook may not return response.patch";
    let other = "received invalid webhook response: expected response.uid=";
    let nobody = "failed to call webhook: service \"gone\" not found";
    let none = json!({});
    for (sort, path, more, code, words) in [
        ("validating", "/deny", &none, 403, denied),
        ("mutating", "/deny", &none, 403, denied),
        ("validating", "/hang", &slow, 500, &late),
        ("mutating", "/hang", &slow, 500, &late),
        ("validating", "/a", &none, 500, no_patch),
        ("mutating", "/other-uid", &none, 500, other),
        ("mutating", "/wrong", &none, 500, "Internal error occurred: "),
        ("validating", "/x", &gone, 500, nobody),
    ] {
        configure(&fixture, sort, "c", &[webhook(&hook, path, more)]).await;
        let refused = map(&fixture, "no").await;
        assert_eq!(refused.code, code, "{path}: {}", refused.text());
        let said = refused.json()["message"].as_str().unwrap_or_default().to_owned();
        assert!(said.contains(words), "{path}: {said}");
        unconfigure(&fixture, sort, "c").await;
    }
    hook.stop().await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_ignored_where_that_is_wanted() {
    let fixture = Fixture::start().await;
    let hook = Hook::start(&fixture, answer).await;
    // All four at once, so that waiting for one is all the waiting.
    let ignored = json!({ "failurePolicy": "Ignore", "timeoutSeconds": 1 });
    let slow: Vec<Value> = (0..4)
        .map(|i| {
            let mut slow = webhook(&hook, "/hang", &ignored);
            slow["name"] = json!(format!("slow{i}.hook.example.com"));
            slow
        })
        .collect();
    configure(&fixture, "validating", "slow", &slow).await;
    let begun = Instant::now();
    assert_eq!(map(&fixture, "yes").await.code, 201);
    assert!(begun.elapsed().as_secs() < 4, "validating webhooks are asked at once");
    unconfigure(&fixture, "validating", "slow").await;
    configure(&fixture, "validating", "warn", &[webhook(&hook, "/warn", &json!({}))]).await;
    let warned = map(&fixture, "warned").await;
    assert_eq!((warned.code, warned.header("warning")), (201, "299 - \"think again\""));
    hook.stop().await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_selectors_and_conditions_choose() {
    let fixture = Fixture::start().await;
    let hook = Hook::start(&fixture, answer).await;
    let labelled = json!({ "matchLabels": { "which": "chosen" } });
    let only_kube = json!({ "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } });
    let conditions = |expression: &str| json!({ "matchConditions": [{ "name": "c", "expression": expression }] });
    let beta = json!({ "admissionReviewVersions": ["v1beta1"] });
    configure(
        &fixture,
        "validating",
        "c",
        &[
            webhook(&hook, "/labelled", &json!({ "objectSelector": labelled })),
            webhook(&hook, "/elsewhere", &json!({ "namespaceSelector": only_kube })),
            webhook(
                &hook,
                "/named",
                &conditions("object == null || object.metadata.name.startsWith('n')"),
            ),
            webhook(&hook, "/nobody", &conditions("request.userInfo.username == 'nobody'")),
            webhook(&hook, "/beta", &beta),
        ],
    )
    .await;
    assert_eq!(map(&fixture, "chosen").await.code, 201);
    let mut calls = hook.calls();
    calls.sort_by(|a, b| a.0.cmp(&b.0));
    let versions: Vec<(&str, &Value)> =
        calls.iter().map(|(path, review)| (path.as_str(), &review["apiVersion"])).collect();
    let (v1, v1beta1) = (json!("admission.k8s.io/v1"), json!("admission.k8s.io/v1beta1"));
    assert_eq!(versions, [("/beta", &v1beta1), ("/labelled", &v1)]);
    assert_eq!(map(&fixture, "n").await.code, 201);
    let mut paths = hook.paths();
    paths.sort();
    assert_eq!(paths, ["/beta", "/named"]);
    let broken = conditions("object.spec.absent == 1");
    configure(&fixture, "validating", "d", &[webhook(&hook, "/broken", &broken)]).await;
    let refused = map(&fixture, "x").await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "configmaps \"x\" is forbidden: expression 'object.spec.absent == 1' resulted in error: no such key: spec"
    );
    let body = json!({ "metadata": { "name": "e" }, "webhooks": [webhook(&hook, "/e", &conditions("absent == 1"))] });
    let path = format!("{HOOKS}/validatingwebhookconfigurations");
    let refused = fixture.admin("POST", &path, &[], body.to_string()).await;
    assert_eq!(refused.code, 422);
    let words = "compilation failed: ERROR: undeclared reference to 'absent' (in container '')";
    assert!(refused.text().contains(words), "{}", refused.text());
    hook.stop().await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_deletions_and_other_versions() {
    let fixture = Fixture::start().await;
    let hook = Hook::start(&fixture, answer).await;
    let rule = |group: &str, version: &str, resources: &[&str]| json!({ "rules": [{ "operations": ["*"], "apiGroups": [group], "apiVersions": [version], "resources": resources }] });
    configure(
        &fixture,
        "mutating",
        "m",
        &[webhook(&hook, "/scale", &rule("apps", "v1", &["deployments/scale"]))],
    )
    .await;
    configure(
        &fixture,
        "validating",
        "v",
        &[
            webhook(&hook, "/pods", &rule("", "v1", &["pods/*"])),
            webhook(&hook, "/maps", &rule("", "v1", &["configmaps"])),
            webhook(&hook, "/v2", &rule("autoscaling", "v2", &["horizontalpodautoscalers"])),
            webhook(&hook, "/own", &rule("admissionregistration.k8s.io", "*", &["*"])),
        ],
    )
    .await;
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
    let pods = "/api/v1/namespaces/default/pods";
    assert_eq!(fixture.admin("POST", pods, &[], pod.to_string()).await.code, 201);
    fixture.set_status("", "pods", "p", json!({ "phase": "Running" })).await;
    let binding = json!({ "apiVersion": "v1", "kind": "Binding", "metadata": { "name": "p" }, "target": { "kind": "Node", "name": "n" } });
    assert_eq!(
        fixture.admin("POST", &format!("{pods}/p/binding"), &[], binding.to_string()).await.code,
        201
    );
    let eviction =
        json!({ "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": "p" } });
    assert_eq!(
        fixture.admin("POST", &format!("{pods}/p/eviction"), &[], eviction.to_string()).await.code,
        201
    );
    assert_eq!(
        fixture.admin("DELETE", &format!("{pods}/p?gracePeriodSeconds=0"), &[], "").await.code,
        200
    );
    let said: Vec<String> = hook
        .calls()
        .iter()
        .map(|(_, review)| &review["request"])
        .map(|r| format!("{} {} {}", r["operation"], r["subResource"], r["kind"]["kind"]))
        .collect();
    assert_eq!(
        said,
        [
            "\"CREATE\" null \"Pod\"",
            "\"UPDATE\" \"status\" \"Pod\"",
            "\"CREATE\" \"binding\" \"Binding\"",
            "\"CREATE\" \"eviction\" \"Eviction\"",
            "\"DELETE\" null \"Pod\"",
        ]
    );
    for name in ["one", "two"] {
        assert_eq!(map(&fixture, name).await.code, 201);
    }
    hook.calls();
    assert_eq!(
        fixture.admin("DELETE", &format!("{MAPS}?labelSelector=which"), &[], "").await.code,
        200
    );
    let calls = hook.calls();
    assert_eq!(calls.len(), 2);
    let request = &calls[0].1["request"];
    assert_eq!((&request["operation"], &request["object"]), (&json!("DELETE"), &Value::Null));
    assert_eq!(
        (&request["oldObject"]["metadata"]["name"], &request["name"]),
        (&json!("one"), &json!("one"))
    );
    // An autoscaler of v1 is shown as the v2 that the rule names.
    let scaler = json!({ "metadata": { "name": "h" }, "spec": { "maxReplicas": 3, "targetCPUUtilizationPercentage": 50,
        "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "d" } } });
    let path = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    assert_eq!(fixture.admin("POST", path, &[], scaler.to_string()).await.code, 201);
    let (_, review) = hook.calls().pop().unwrap();
    let request = &review["request"];
    assert_eq!(
        (&request["kind"]["version"], &request["requestKind"]["version"]),
        (&json!("v2"), &json!("v1"))
    );
    assert_eq!(request["object"]["spec"]["metrics"][0]["resource"]["name"], "cpu", "{request}");
    // A webhook may change a Scale.
    let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": pod["spec"] });
    let deployment = json!({ "metadata": { "name": "d" }, "spec": { "selector": { "matchLabels": { "a": "b" } }, "template": template } });
    let path = "/apis/apps/v1/namespaces/default/deployments";
    assert_eq!(fixture.admin("POST", path, &[], deployment.to_string()).await.code, 201);
    let patch = json!({ "spec": { "replicas": 9 } }).to_string();
    let scaled = fixture.admin("PATCH", &format!("{path}/d/scale"), &MERGE, patch).await;
    assert_eq!(scaled.json()["spec"]["replicas"], 2, "{}", scaled.text());
    unconfigure(&fixture, "validating", "v").await;
    let asked = hook.paths();
    assert_eq!(asked, ["/scale"], "nobody is asked about the configurations");
    hook.stop().await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defined_kinds_are_shown_in_the_version_that_is_wanted() {
    let fixture = Fixture::start_with_controllers().await;
    let hook = Hook::start(&fixture, answer).await;
    let yaml = [("content-type", "application/yaml")];
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(fixture.admin("POST", crds, &yaml, WIDGETS).await.code, 201);
    let old = "/apis/example.com/v1beta1/namespaces/default/widgets";
    let begun = Instant::now();
    while fixture.admin("GET", old, &[], "").await.code != 200 {
        assert!(begun.elapsed().as_secs() < 10, "the version is never served");
    }
    let rules = |version: &str, policy: &str| {
        json!({ "matchPolicy": policy, "rules": [{ "operations": ["*"], "apiGroups": ["example.com"],
            "apiVersions": [version], "resources": ["widgets"] }] })
    };
    configure(&fixture, "mutating", "m", &[webhook(&hook, "/grow", &rules("v1", "Equivalent"))])
        .await;
    configure(
        &fixture,
        "validating",
        "v",
        &[
            webhook(&hook, "/exact", &rules("v1", "Exact")),
            webhook(&hook, "/beta", &rules("v1beta1", "Exact")),
        ],
    )
    .await;
    let body = json!({ "metadata": { "name": "one" }, "spec": { "size": 3 } });
    let made = fixture.admin("POST", old, &[], body.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let made = made.json();
    assert_eq!(
        (&made["apiVersion"], &made["spec"]["size"]),
        (&json!("example.com/v1beta1"), &json!(7))
    );
    let said: Vec<String> = hook
        .calls()
        .iter()
        .map(|(path, review)| {
            let request = &review["request"];
            format!(
                "{path} {} {} {}",
                request["kind"]["version"],
                request["requestKind"]["version"],
                request["object"]["apiVersion"]
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            r#"/grow "v1" "v1beta1" "example.com/v1""#,
            r#"/beta "v1beta1" "v1beta1" "example.com/v1beta1""#,
        ]
    );
    let item = format!("{old}/one");
    assert_eq!(fixture.admin("DELETE", &item, &[], "").await.code, 200);
    let mut paths = hook.paths();
    paths.sort();
    assert_eq!(paths, ["/beta", "/grow"]);
    hook.stop().await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_late_keeps_nothing() {
    let fixture = Fixture::start().await;
    let hook = Hook::start(&fixture, answer).await;
    let rules = json!({ "rules": [{ "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["services"] }] });
    configure(&fixture, "validating", "v", &[webhook(&hook, "/deny", &rules)]).await;
    let ports = json!([{ "port": 80, "nodePort": 30123 }]);
    let spec = json!({ "type": "NodePort", "clusterIP": "10.43.7.7", "ports": ports });
    let service = json!({ "metadata": { "name": "s" }, "spec": spec }).to_string();
    let path = "/api/v1/namespaces/default/services";
    assert_eq!(fixture.admin("POST", path, &[], service.clone()).await.code, 403);
    let (_, review) = hook.calls().pop().unwrap();
    let seen = &review["request"]["object"]["spec"];
    assert_eq!(seen["clusterIPs"], json!(["10.43.7.7"]), "shown as it would be stored");
    unconfigure(&fixture, "validating", "v").await;
    let made = fixture.admin("POST", path, &[], service).await;
    assert_eq!(made.code, 201, "{}", made.text());
    hook.stop().await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_meets_a_webhook() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else {
        fixture.stop().await;
        return;
    };
    let hook = Hook::start(&fixture, answer).await;
    let labelled = json!({ "objectSelector": { "matchLabels": { "denied": "yes" } } });
    let configuration = |kind: &str, webhooks: &[Value]| {
        json!({ "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": { "name": "k" }, "webhooks": webhooks }).to_string()
    };
    let validating = configuration(
        "ValidatingWebhookConfiguration",
        &[webhook(&hook, "/deny", &labelled), webhook(&hook, "/warn", &json!({}))],
    );
    let mutating =
        configuration("MutatingWebhookConfiguration", &[webhook(&hook, "/a", &json!({}))]);
    for manifest in [&validating, &mutating] {
        kubectl.pipe(&["apply", "-f", "-"], manifest).await;
    }
    let said = kubectl.run(&["create", "configmap", "one"]).await;
    assert!(
        said.contains("configmap/one created") && said.contains("Warning: think again"),
        "{said}"
    );
    let seen = kubectl.run(&["get", "configmap", "one", "-o", "jsonpath={.data.seen}"]).await;
    assert_eq!(seen, "a");
    let said = kubectl.fail(&["label", "configmap", "one", "denied=yes"], "").await;
    let denied = "Error from server (Forbidden): admission webhook \"deny.hook.example.com\" denied the request: not today";
    assert!(said.contains(denied), "{said}");
    kubectl
        .run(&["delete", "validatingwebhookconfiguration,mutatingwebhookconfiguration", "k"])
        .await;
    kubectl.run(&["label", "configmap", "one", "denied=yes"]).await;
    hook.stop().await;
    fixture.stop().await;
}
