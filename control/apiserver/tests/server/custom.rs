//! Kinds that definitions make, as kubectl sees them.

use std::time::{Duration, Instant};

use base64::Engine as _;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::hook::Hook;
use crate::kubectl::{Kubectl, all_versions};

pub(crate) const WIDGETS: &str = include_str!("custom/widgets.yaml");
const ONE: &str = "
apiVersion: example.com/v1
kind: Widget
metadata: {name: one, labels: {team: a}}
spec: {size: 5}
";
const PATH: &str = "/apis/example.com/v1/namespaces/default/widgets";

async fn started() -> Option<(Fixture, Kubectl)> {
    let fixture = Fixture::start_with_controllers().await;
    let Some(kubectl) = Kubectl::new(&fixture) else {
        fixture.stop().await;
        return None;
    };
    kubectl.pipe(&["apply", "-f", "-"], WIDGETS).await;
    let wait = ["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=20s"];
    kubectl.run(&wait).await;
    Some((fixture, kubectl))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_served_as_a_kind() {
    let Some((fixture, kubectl)) = started().await else { return };
    let resources = kubectl.run(&["api-resources", "--api-group=example.com"]).await;
    assert!(resources.contains("widgets") && resources.contains("wd"), "{resources}");
    assert_eq!(
        kubectl.pipe(&["apply", "-f", "-"], ONE).await.trim(),
        "widget.example.com/one created"
    );
    let again = kubectl.pipe(&["apply", "-f", "-"], ONE).await;
    assert_eq!(again.trim(), "widget.example.com/one unchanged");
    let changed = kubectl.pipe(&["apply", "-f", "-"], &ONE.replace("size: 5", "size: 6")).await;
    assert_eq!(changed.trim(), "widget.example.com/one configured");
    let table = kubectl.run(&["get", "wd"]).await;
    let heads: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(heads, ["NAME", "REPLICAS", "READY", "AGE"], "{table}");
    assert!(kubectl.run(&["get", "wd", "-o", "wide"]).await.contains("red"));
    assert!(kubectl.run(&["get", "all"]).await.contains("widget.example.com/one"));
    assert!(kubectl.run(&["get", "widgets", "-l", "team=a", "-A"]).await.contains("one"));
    let field =
        kubectl.run(&["get", "wd", "--field-selector=spec.color=green", "-o", "name"]).await;
    assert!(!field.contains("one"), "{field}");
    let jsonpath = "jsonpath={.spec.replicas}/{.spec.color}/{.metadata.generation}";
    assert_eq!(kubectl.run(&["get", "widget", "one", "-o", jsonpath]).await, "1/red/2");
    kubectl.run(&["label", "widget/one", "tier=front"]).await;
    kubectl
        .run(&["patch", "widget/one", "--type=merge", "-p", r#"{"spec":{"limit":"25%"}}"#])
        .await;
    kubectl.run(&["scale", "widget/one", "--replicas=3"]).await;
    let path = "jsonpath={.spec.replicas}/{.spec.limit}";
    assert_eq!(kubectl.run(&["get", "widget", "one", "-o", path]).await, "3/25%");
    let refused = kubectl
        .fail(&["patch", "widget/one", "-p", r#"{"spec":{"size":7}}"#, "--type=strategic"], "")
        .await;
    assert!(
        refused.contains("strategic merge patch is not supported")
            || refused.contains("415")
            || refused.contains("unknown format"),
        "{refused}"
    );
    assert!(kubectl.run(&["delete", "widget", "one"]).await.contains("deleted"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_and_rules_are_held() {
    let Some((fixture, kubectl)) = started().await else { return };
    let refused = async |spec: &str| {
        let object = format!(
            "apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: bad}}\nspec: {spec}\n"
        );
        kubectl.fail(&["create", "-f", "-"], &object).await
    };
    for (spec, words) in [
        ("{size: big}", "spec.size in body must be of type integer: \"string\""),
        ("{size: 0}", "spec.size in body should be greater than or equal to 1"),
        ("{replicas: 1}", "spec.size: Required value"),
        (
            "{size: 1, color: blue}",
            "spec.color: Unsupported value: \"blue\": supported values: \"red\", \"green\"",
        ),
        ("{size: 1, typo: 1}", "strict decoding error: unknown field \"spec.typo\""),
        ("{size: 1, replicas: 2}", "no more replicas than size"),
        ("{size: 1, ports: [{name: a}, {name: a}]}", "spec.ports[1]: Duplicate value"),
    ] {
        let said = refused(spec).await;
        assert!(said.contains(words), "{spec}: {said}");
    }
    let body = json!({ "metadata": { "name": "kept" },
        "spec": { "size": 2, "typo": 1, "free": { "any": { "thing": null } } } });
    let made = fixture.admin("POST", PATH, &[], body.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    assert!(made.header("warning").contains("unknown field"), "{:?}", made.headers);
    let spec = made.json()["spec"].clone();
    assert_eq!(
        spec,
        json!({ "size": 2, "replicas": 1, "color": "red", "free": { "any": { "thing": null } } })
    );
    let said = kubectl
        .fail(&["patch", "widget/kept", "--type=merge", "-p", r#"{"spec":{"color":"green"}}"#], "")
        .await;
    assert!(said.contains("spec.color: Invalid value: \"object\": color is immutable"), "{said}");
    let mut replacement = made.json();
    replacement["metadata"]["resourceVersion"] = Value::Null;
    let item = format!("{PATH}/kept");
    let got = fixture.admin("PUT", &item, &[], replacement.to_string()).await;
    assert_eq!(got.code, 422);
    assert!(
        got.text().contains(
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        )
    );
    let kind = [("content-type", "application/strategic-merge-patch+json")];
    assert_eq!(fixture.admin("PATCH", &item, &kind, "{}").await.code, 415);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_scale_and_server_side_apply() {
    let Some((fixture, kubectl)) = started().await else { return };
    let ports = "  ports: [{name: NAME, port: 1}]";
    let applied = |name: &str| {
        format!("{}{}\n", ONE.replace("{size: 5}", "\n  size: 5\n"), ports.replace("NAME", name))
    };
    for manager in ["a", "b"] {
        let arguments = ["apply", "--server-side", "--field-manager", manager, "-f", "-"];
        kubectl.pipe(&arguments, &applied(manager)).await;
    }
    let names = kubectl.run(&["get", "wd", "one", "-o", "jsonpath={.spec.ports[*].name}"]).await;
    assert_eq!(names, "a b");
    let other = applied("b").replace("size: 5", "size: 9");
    let arguments = ["apply", "--server-side", "--field-manager", "b", "-f", "-"];
    let conflict = kubectl.fail(&arguments, &other).await;
    assert!(conflict.contains(".spec.size"), "{conflict}");
    let status = json!({ "status": { "replicas": 2, "selector": "app=one", "conditions": [{ "type": "Ready", "status": "True" }] },
                         "spec": { "size": 77 } });
    let merge = [("content-type", "application/merge-patch+json")];
    let got =
        fixture.admin("PATCH", &format!("{PATH}/one/status"), &merge, status.to_string()).await;
    assert_eq!((got.code, &got.json()["spec"]["size"]), (200, &json!(5)), "{}", got.text());
    assert_eq!(got.json()["metadata"]["generation"], 2);
    let scale = fixture.admin("GET", &format!("{PATH}/one/scale"), &[], "").await.json();
    assert_eq!(scale["status"], json!({ "replicas": 2, "selector": "app=one" }));
    assert_eq!((&scale["kind"], &scale["spec"]["replicas"]), (&json!("Scale"), &json!(1)));
    let table = kubectl.run(&["get", "wd"]).await;
    assert!(
        table.lines().nth(1).unwrap_or_default().split_whitespace().nth(2) == Some("True"),
        "{table}"
    );
    let bad = json!({ "status": { "replicas": "many" } });
    let got = fixture.admin("PATCH", &format!("{PATH}/one/status"), &merge, bad.to_string()).await;
    assert_eq!(got.code, 422, "{}", got.text());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_is_another_view_of_the_same_objects() {
    let Some((fixture, kubectl)) = started().await else { return };
    kubectl.pipe(&["apply", "-f", "-"], ONE).await;
    let old = "/apis/example.com/v1beta1/namespaces/default/widgets";
    let got = fixture.admin("GET", &format!("{old}/one"), &[], "").await.json();
    assert_eq!(
        (&got["apiVersion"], &got["spec"]),
        (&json!("example.com/v1beta1"), &json!({ "size": 5 }))
    );
    let list = fixture.admin("GET", old, &[], "").await.json();
    assert_eq!(
        (&list["kind"], &list["items"][0]["apiVersion"]),
        (&json!("WidgetList"), &json!("example.com/v1beta1"))
    );
    let body = json!({ "metadata": { "name": "two" }, "spec": { "size": 3, "note": "n" } });
    let made = fixture.admin("POST", old, &[], body.to_string()).await;
    assert_eq!(
        (made.code, &made.json()["apiVersion"]),
        (201, &json!("example.com/v1beta1")),
        "{}",
        made.text()
    );
    let got = fixture.admin("GET", &format!("{PATH}/two"), &[], "").await.json();
    assert_eq!(
        (&got["apiVersion"], &got["spec"]["replicas"]),
        (&json!("example.com/v1"), &json!(1))
    );
    let watch = format!("{old}?watch=1&timeoutSeconds=1");
    let events = fixture.admin("GET", &watch, &[], "").await.text();
    let seen = |line: &str| serde_json::from_str::<Value>(line).unwrap()["object"].clone();
    let versions: Vec<Value> = events.lines().map(|l| seen(l)["apiVersion"].clone()).collect();
    assert_eq!(versions, ["example.com/v1beta1"; 2], "{events}");
    // The other version becomes the stored one: nothing is lost, and a write brings an object to it.
    let swapped = WIDGETS
        .replace("storage: true", "storage: X")
        .replace("storage: false", "storage: true")
        .replace("storage: X", "storage: false");
    kubectl.pipe(&["apply", "-f", "-"], &swapped).await;
    let versions = [
        "wait",
        "--for=jsonpath={.status.storedVersions[1]}=v1beta1",
        "crd/widgets.example.com",
        "--timeout=20s",
    ];
    kubectl.run(&versions).await;
    let got = fixture.admin("GET", &format!("{PATH}/one"), &[], "").await.json();
    assert_eq!(
        (&got["apiVersion"], &got["spec"]["color"]),
        (&json!("example.com/v1"), &json!("red"))
    );
    assert!(kubectl.run(&["get", "widgets.v1beta1.example.com"]).await.contains("two"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_with_its_objects_and_its_group() {
    let Some((fixture, kubectl)) = started().await else { return };
    kubectl.run(&["create", "namespace", "aside"]).await;
    kubectl.pipe(&["apply", "-f", "-"], ONE).await;
    kubectl.pipe(&["apply", "-n", "aside", "-f", "-"], ONE).await;
    let owner = kubectl.run(&["get", "wd", "one", "-o", "jsonpath={.metadata.uid}"]).await;
    let owned = json!({ "metadata": { "name": "owned", "ownerReferences": [
        { "apiVersion": "example.com/v1", "kind": "Widget", "name": "one", "uid": owner }] } });
    let maps = "/api/v1/namespaces/default/configmaps";
    assert_eq!(fixture.admin("POST", maps, &[], owned.to_string()).await.code, 201);
    // Namespaces take what is in them along, and owners what they own.
    kubectl.run(&["delete", "namespace", "aside", "--timeout=20s"]).await;
    assert!(!kubectl.run(&["get", "wd", "-A"]).await.contains("aside"));
    kubectl.run(&["delete", "wd", "one"]).await;
    kubectl.run(&["wait", "--for=delete", "configmap/owned", "--timeout=20s"]).await;
    kubectl.pipe(&["apply", "-f", "-"], ONE).await;
    kubectl.run(&["delete", "crd", "widgets.example.com", "--timeout=20s"]).await;
    assert_eq!(fixture.admin("GET", PATH, &[], "").await.code, 404);
    assert_eq!(fixture.admin("GET", "/apis/example.com", &[], "").await.code, 404);
    // Made again it starts with nothing.
    kubectl.pipe(&["apply", "-f", "-"], WIDGETS).await;
    kubectl
        .run(&["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=20s"])
        .await;
    assert_eq!(fixture.admin("GET", PATH, &[], "").await.json()["items"], json!([]));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_follow_definitions() {
    let Some((fixture, kubectl)) = started().await else { return };
    let address = async || {
        let index = fixture.admin("GET", "/openapi/v3", &[], "").await.json();
        index["paths"]["apis/example.com/v1"]["serverRelativeURL"].as_str().map(str::to_owned)
    };
    let first = address().await.unwrap();
    let document = fixture.admin("GET", &first, &[], "").await.json();
    let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(widget["properties"]["spec"]["properties"]["size"]["minimum"], 1);
    assert_eq!(widget["x-kubernetes-group-version-kind"][0]["kind"], "Widget");
    let text = document.to_string();
    for name in
        text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next())
    {
        assert!(
            document["components"]["schemas"].get(name).is_some(),
            "{name} is referred to and absent"
        );
    }
    for binary in all_versions() {
        let kubectl = Kubectl::of(&fixture, binary);
        let said = kubectl.run(&["explain", "widget.spec.size"]).await;
        assert!(said.contains("How large it is.") && said.contains("integer"), "{said}");
        let bad = ONE.replace("size: 5", "size: 5, typo: 1");
        let refused = kubectl.fail(&["create", "-f", "-"], &bad).await;
        assert!(refused.contains("unknown field \"spec.typo\""), "{refused}");
        kubectl.pipe(&["apply", "-f", "-"], ONE).await;
        kubectl.pipe(&["apply", "-f", "-"], &ONE.replace("size: 5", "size: 6")).await;
        kubectl.run(&["delete", "widget", "one"]).await;
    }
    let swagger =
        fixture.admin("GET", "/openapi/v2", &[("accept", "application/json")], "").await.json();
    assert_eq!(
        swagger["definitions"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]["size"]
            ["type"],
        "integer"
    );
    kubectl
        .pipe(
            &["apply", "-f", "-"],
            &WIDGETS.replace("How large it is.", "How much of it there is."),
        )
        .await;
    assert_ne!(address().await.unwrap(), first);
    assert!(kubectl.run(&["explain", "widget.spec.size"]).await.contains("How much of it"));
    kubectl.run(&["delete", "crd", "widgets.example.com", "--timeout=20s"]).await;
    assert_eq!(address().await, None);
    fixture.stop().await;
}

/// A webhook that calls `size` of v1 `bigness` in v1beta1.
fn convert(review: &Value) -> Value {
    let mut objects = review["request"]["objects"].clone();
    let wanted = &review["request"]["desiredAPIVersion"];
    for object in objects.as_array_mut().unwrap() {
        let (from, to) =
            if *wanted == "example.com/v1" { ("bigness", "size") } else { ("size", "bigness") };
        let spec = object["spec"].as_object_mut().unwrap();
        let size = spec.remove(from).unwrap();
        spec.insert(to.to_owned(), size);
        object["apiVersion"] = wanted.clone();
        object["metadata"]["name"] = json!("the server keeps the name");
        object["metadata"]["annotations"]["converted"] = json!("yes");
    }
    let refused = objects.to_string().contains("unwanted");
    let result = if refused {
        json!({ "status": "Failure", "message": "no such size" })
    } else {
        json!({ "status": "Success" })
    };
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
        "response": { "uid": review["request"]["uid"], "result": result, "convertedObjects": objects } })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_converts_between_versions() {
    let fixture = Fixture::start_with_controllers().await;
    let hook = Hook::start(&fixture, |_, review| Some(convert(review))).await;
    let port = hook.port;
    let ca = base64::engine::general_purpose::STANDARD.encode(fixture.authority.certificate_pem());
    let conversion = format!(
        "spec:\n  conversion:\n    strategy: Webhook\n    webhook:\n      conversionReviewVersions: [v1]\n      clientConfig: {{url: 'https://localhost:{port}/convert', caBundle: {ca}}}\n"
    );
    let widgets = WIDGETS.replace("spec:\n  group", &format!("{conversion}  group"));
    let widgets = widgets
        .replace("              size: {type: integer}", "              bigness: {type: integer}");
    let yaml = [("content-type", "application/yaml")];
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    let made = fixture.admin("POST", crds, &yaml, widgets).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let old = "/apis/example.com/v1beta1/namespaces/default/widgets";
    let begun = Instant::now();
    while fixture.admin("GET", old, &[], "").await.code != 200 {
        assert!(begun.elapsed() < Duration::from_secs(10), "the version is never served");
    }
    let body =
        json!({ "metadata": { "name": "one", "labels": { "a": "b" } }, "spec": { "bigness": 3 } });
    let made = fixture.admin("POST", old, &[], body.to_string()).await;
    assert_eq!(
        (made.code, &made.json()["spec"]),
        (201, &json!({ "bigness": 3 })),
        "{}",
        made.text()
    );
    let got = fixture.admin("GET", &format!("{PATH}/one"), &[], "").await.json();
    assert_eq!((&got["spec"]["size"], &got["spec"]["replicas"]), (&json!(3), &json!(1)), "{got}");
    assert_eq!(
        (&got["metadata"]["annotations"]["converted"], &got["metadata"]["labels"]["a"]),
        (&json!("yes"), &json!("b"))
    );
    let merge = [("content-type", "application/merge-patch+json")];
    let patch = json!({ "spec": { "bigness": 4 } }).to_string();
    let patched = fixture.admin("PATCH", &format!("{old}/one"), &merge, patch).await;
    assert_eq!(
        (patched.code, &patched.json()["spec"]["bigness"]),
        (200, &json!(4)),
        "{}",
        patched.text()
    );
    let list = fixture.admin("GET", old, &[], "").await.json();
    assert_eq!(
        (&list["items"][0]["spec"]["bigness"], &list["items"][0]["metadata"]["name"]),
        (&json!(4), &json!("one"))
    );
    let events =
        fixture.admin("GET", &format!("{old}?watch=1&timeoutSeconds=1"), &[], "").await.text();
    assert!(events.contains("\"bigness\":4") && events.contains("ADDED"), "{events}");
    let bad = json!({ "metadata": { "name": "unwanted" , "labels": { "unwanted": "" } }, "spec": { "bigness": 3 } });
    let refused = fixture.admin("POST", old, &[], bad.to_string()).await;
    assert_eq!(refused.code, 500);
    assert!(
        refused.text().contains(
            "conversion webhook for example.com/v1beta1, Kind=Widget failed: no such size"
        ),
        "{}",
        refused.text()
    );
    hook.stop().await;
    let away = fixture.admin("GET", old, &[], "").await;
    assert!(away.code == 500 && away.text().contains("conversion webhook"), "{}", away.text());
    assert_eq!(fixture.admin("GET", PATH, &[], "").await.code, 200);
    fixture.stop().await;
}

/// The issue's figure: usable within 100 ms of Established. Here until the first object is made, seen by polling.
#[tokio::test(flavor = "multi_thread")]
async fn usable_as_soon_as_established() {
    let fixture = Fixture::start_with_controllers().await;
    let yaml = [("content-type", "application/yaml")];
    let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(fixture.admin("POST", crds, &yaml, WIDGETS).await.code, 201);
    let begun = Instant::now();
    let item = format!("{crds}/widgets.example.com");
    loop {
        let seen = fixture.admin("GET", &item, &[], "").await.json();
        let all = seen["status"]["conditions"].as_array().cloned().unwrap_or_default();
        if all.iter().any(|c| c["type"] == "Established" && c["status"] == "True") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "never established: {seen}");
    }
    let body = json!({ "metadata": { "name": "one" }, "spec": { "size": 1 } });
    let made = fixture.admin("POST", PATH, &[], body.to_string()).await;
    assert_eq!(made.code, 201, "{}", made.text());
    let group = fixture.admin("GET", "/apis/example.com/v1", &[], "").await.json();
    let names: Vec<&Value> =
        group["resources"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
    assert_eq!(names, ["widgets", "widgets/status", "widgets/scale"]);
    fixture.stop().await;
}
