//! Every kind over kubectl: made, read in each form, explained, changed and removed.

use beeline_api::Kinds;
use serde_json::{Value, json};

use crate::fixture::Fixture;
use crate::kubectl::Kubectl;

const EVERYTHING: &str = include_str!("everything.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_applied_shown_and_deleted() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    let count = EVERYTHING.matches("\nkind: ").count();
    let created = kubectl.pipe(&["apply", "-f", "-"], EVERYTHING).await;
    assert_eq!(created.matches(" created").count(), count, "{created}");
    let again = kubectl.pipe(&["apply", "-f", "-"], EVERYTHING).await;
    // Of these a list or selector is replaced as a whole, and what was sent lacks the defaults that are there: kubectl
    // sends a patch, which changes nothing. It is the same with upstream's server.
    let whole = [
        "limitrange/all",
        "secret/all",
        "poddisruptionbudget.policy/all",
        "event.events.k8s.io/all",
        "networkpolicy.networking.k8s.io/all",
        "validatingadmissionpolicy.admissionregistration.k8s.io/all",
        "resourceclaim.resource.k8s.io/all",
        "resourceclaimtemplate.resource.k8s.io/all",
    ];
    for line in again.lines() {
        let expected = whole.iter().any(|w| line == format!("{w} configured"));
        assert!(expected || line.ends_with(" unchanged"), "{line}");
    }
    let ours = kubectl
        .pipe(
            &["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"],
            EVERYTHING,
        )
        .await;
    assert_eq!(ours.matches("serverside-applied").count(), count, "{ours}");
    let shown = kubectl.pipe(&["get", "-o", "wide", "-f", "-"], EVERYTHING).await;
    for (heading, row) in [
        ("CREATED AT", "limitrange/all"),
        ("REQUEST", "resourcequota/all"),
        ("ACCESS MODES", "1Gi        RWO"),
        ("LAST SCHEDULE", "*/5 * * * *"),
        ("COMPLETIONS", "0/1"),
        ("MINPODS", "StatefulSet/all"),
        ("ALLOWED DISRUPTIONS", "1               N/A"),
        ("LAST SEEN", "pod/all"),
        ("HOSTS", "example.com"),
        ("POD-SELECTOR", "a=all"),
        ("ROLE", "ClusterRole/all"),
        ("SIGNERNAME", "kubernetes-admin"),
        ("PROVISIONER", "example.com/all"),
        ("GLOBAL-DEFAULT", "1000"),
        ("PARENTREF", "services/default/all"),
        ("AVAILABLE", "default/all"),
        ("NOMINALCONCURRENCYSHARES", "30"),
        ("STATE", "pending"),
    ] {
        assert!(shown.contains(heading) && shown.contains(row), "{heading} {row}: {shown}");
    }
    let deleted = kubectl.pipe(&["delete", "--now", "-f", "-"], EVERYTHING).await;
    assert_eq!(deleted.matches(" deleted").count(), count, "{deleted}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_discovered_and_explained() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    let known = kubectl.run(&["api-resources", "--no-headers"]).await;
    for kind in Kinds::builtin().served() {
        let line = known.lines().find(|l| {
            let words: Vec<&str> = l.split_whitespace().collect();
            words[0] == kind.plural && words.contains(&kind.api_version().as_str())
        });
        // One version of a group is preferred; the others are named by `explain --api-version`.
        let other = kind.view.is_some_and(|v| v.of.group == kind.group)
            || Kinds::builtin().served().any(|k| k.view.is_some_and(|v| v.of == kind));
        assert!(line.is_some() || other, "{}: {known}", kind.qualified());
    }
    let fields = kubectl.run(&["explain", "pod.spec.containers"]).await;
    for field in ["image\t<string>", "ports\t<[]ContainerPort>", "name\t<string> -required-"] {
        assert!(fields.contains(field), "{field}: {fields}");
    }
    assert!(fields.contains("What the container is made from."), "{fields}");
    let tree = kubectl.run(&["explain", "deployments", "--recursive"]).await;
    assert!(tree.contains("topologySpreadConstraints\t<[]TopologySpreadConstraint>"), "{tree}");
    for (what, expected) in [
        ("cronjob.spec.jobTemplate.spec.template.spec.volumes", "persistentVolumeClaim"),
        ("hpa.spec.metrics", "containerResource"),
        ("netpol.spec.ingress.from", "ipBlock"),
        ("crd.spec.versions.schema", "openAPIV3Schema"),
        ("validatingwebhookconfigurations.webhooks", "admissionReviewVersions"),
        ("resourceslices.spec.devices", "attributes"),
        ("flowschemas.spec", "matchingPrecedence"),
        ("ingress.spec.rules.http.paths", "pathType"),
    ] {
        let said = kubectl.run(&["explain", what]).await;
        assert!(said.contains(expected), "{what}: {said}");
    }
    let old = ["explain", "hpa.spec", "--api-version=autoscaling/v1"];
    assert!(kubectl.run(&old).await.contains("targetCPUUtilizationPercentage"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_merges_lists_by_the_documents_keys() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    let pod = |containers: &str| {
        format!(
            "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: m}}\nspec:\n  selector: {{matchLabels: {{a: b}}}}\n  template:\n    metadata: {{labels: {{a: b}}}}\n    spec:\n      containers: {containers}\n"
        )
    };
    let before = pod(
        "[{name: a, image: i, env: [{name: X, value: '1'}, {name: V, value: '2'}]}, {name: b, image: i}]",
    );
    kubectl.pipe(&["apply", "-f", "-"], &before).await;
    // Somebody else adds a container and a variable; both stay, what was applied and is gone goes.
    let theirs = r#"{"spec":{"template":{"spec":{"containers":[{"name":"c","image":"side"},{"name":"a","env":[{"name":"Z","value":"3"}]}]}}}}"#;
    kubectl.run(&["patch", "ds/m", "-p", theirs]).await;
    let after = pod("[{name: a, image: new, env: [{name: V, value: '9'}]}]");
    kubectl.pipe(&["apply", "-f", "-"], &after).await;
    let path = "jsonpath={range .spec.template.spec.containers[*]}{.name}={.image}[{range .env[*]}{.name}{.value} {end}] {end}";
    let now = kubectl.run(&["get", "ds/m", "-o", path]).await;
    let mut words: Vec<&str> = now.split(['[', ']', ' ']).filter(|w| !w.is_empty()).collect();
    words.sort_unstable();
    assert_eq!(words, ["V9", "Z3", "a=new", "c=side"], "{now}");
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_hold_together() {
    let fixture = Fixture::start().await;
    let index = fixture.admin("GET", "/openapi/v3", &[], "").await.json();
    let paths = index["paths"].as_object().unwrap();
    assert!(paths.len() > 20, "{index}");
    for entry in paths.values() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let document = fixture.admin("GET", url, &[], "").await.json();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        let known = |name: &str| {
            let name = name.strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{url} lacks {name}");
        };
        each_reference(&document, &known);
    }
    let v2 = fixture.admin("GET", "/openapi/v2", &[], "").await.json();
    each_reference(&v2, &|name| {
        let name = name.strip_prefix("#/definitions/").unwrap();
        assert!(v2["definitions"].get(name).is_some(), "v2 lacks {name}");
    });
    let patch = &v2["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|p| p["name"] == "fieldValidation"), "{patch}");
    fixture.stop().await;
}

fn each_reference(value: &Value, found: &impl Fn(&str)) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(name)) = map.get("$ref") {
                found(name);
            }
            map.values().for_each(|v| each_reference(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| each_reference(v, found)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_store_two_views() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    kubectl.pipe(&["apply", "-f", "-"], EVERYTHING).await;
    let get = async |path: &str| fixture.admin("GET", path, &[], "").await.json();
    let new = get("/apis/events.k8s.io/v1/namespaces/default/events/all").await;
    assert_eq!(new["note"], "looked at it");
    assert_eq!(new["eventTime"], "2025-01-01T00:00:00.500000Z");
    let old = get("/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=all").await;
    assert_eq!(old["items"][0]["message"], "looked at it");
    let few = "/apis/events.k8s.io/v1/events?fieldSelector=regarding.name=all,reportingController=example.com/looker";
    assert_eq!(get(few).await["items"][0]["kind"], "Event");
    assert_eq!(get(&few.replace("looker", "other")).await["items"], json!([]));
    let v2 = get("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/all").await;
    assert_eq!(
        v2["spec"]["metrics"],
        json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}])
    );
    let v1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers/all";
    let merge = [("content-type", "application/merge-patch+json")];
    let change = r#"{"spec":{"targetCPUUtilizationPercentage":70}}"#;
    let made = fixture.admin("PATCH", v1, &merge, change).await.json();
    assert_eq!(made["apiVersion"], "autoscaling/v1", "{made}");
    assert_eq!(made["spec"]["targetCPUUtilizationPercentage"], 70);
    let stream = "/apis/events.k8s.io/v1/namespaces/default/events?watch=1&timeoutSeconds=1";
    let seen = fixture.admin("GET", stream, &[], "").await.text();
    let seen: Value = serde_json::from_str(seen.lines().next().unwrap()).unwrap();
    assert_eq!(seen["object"]["apiVersion"], "events.k8s.io/v1");
    assert_eq!(seen["object"]["regarding"]["name"], "all");
    let refused = fixture
        .admin(
            "POST",
            "/apis/events.k8s.io/v1/namespaces/default/events",
            &[],
            r#"{"metadata":{"name":"x"},"regarding":{"namespace":"default"},"type":"Normal"}"#,
        )
        .await;
    assert_eq!(refused.code, 422);
    assert!(refused.text().contains("eventTime: Required value"), "{}", refused.text());
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_approved_and_signed() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    kubectl.pipe(&["apply", "-f", "-"], EVERYTHING).await;
    assert!(kubectl.run(&["certificate", "approve", "all"]).await.contains("approved"));
    let csr = kubectl.run(&["get", "csr", "all"]).await;
    assert!(csr.contains("Approved") && csr.contains("kubernetes-admin"), "{csr}");
    let status = "/apis/certificates.k8s.io/v1/certificatesigningrequests/all/status";
    let merge = [("content-type", "application/merge-patch+json")];
    let signed = r#"{"status":{"certificate":"YQ=="},"spec":{"username":"mallory"}}"#;
    let made = fixture.admin("PATCH", status, &merge, signed).await.json();
    assert_eq!(made["spec"]["username"], "kubernetes-admin", "{made}");
    assert!(kubectl.run(&["get", "csr", "all"]).await.contains("Approved,Issued"));
    let approval = status.replace("/status", "/approval");
    let none = r#"{"status":{"conditions":[]}}"#;
    let refused = fixture.admin("PATCH", &approval, &merge, none).await;
    assert!(
        refused.text().contains("updates may not remove a condition of type"),
        "{}",
        refused.text()
    );
    fixture.stop().await;
}

const CLASSES: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: usual, annotations: {storageclass.kubernetes.io/is-default-class: 'true'}}
provisioner: example.com/p
---
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {name: high}
value: 9000
preemptionPolicy: Never
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: c}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
---
apiVersion: v1
kind: Pod
metadata: {name: p}
spec: {priorityClassName: high, containers: [{name: c, image: i, resources: {requests: {cpu: 100m}}}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn classes_and_parts_of_pods() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    kubectl.pipe(&["apply", "-f", "-"], CLASSES).await;
    let of = async |what: &str, path: &str| {
        kubectl.run(&["get", what, "-o", &format!("jsonpath={path}")]).await
    };
    assert_eq!(of("pvc/c", "{.spec.storageClassName}").await, "usual");
    assert_eq!(of("pod/p", "{.spec.priority} {.spec.preemptionPolicy}").await, "9000 Never");
    assert!(kubectl.run(&["get", "pc"]).await.contains("system-node-critical      2000001000"));
    let none = "apiVersion: v1\nkind: Pod\nmetadata: {name: q}\nspec: {priorityClassName: none, containers: [{name: c, image: i}]}\n";
    let said = kubectl.fail(&["create", "-f", "-"], none).await;
    assert!(said.contains("no PriorityClass with name none was found"), "{said}");
    kubectl.run(&["debug", "pod/p", "--image=tools:1", "--attach=false", "-c", "look"]).await;
    assert_eq!(of("pod/p", "{.spec.ephemeralContainers[*].name}").await, "look");
    let path = "/api/v1/namespaces/default/pods/p";
    let merge = [("content-type", "application/strategic-merge-patch+json")];
    let larger = r#"{"spec":{"containers":[{"name":"c","image":"other","resources":{"requests":{"cpu":"200m"}}}]}}"#;
    let made = fixture.admin("PATCH", &format!("{path}/resize"), &merge, larger).await.json();
    assert_eq!(made["spec"]["containers"][0]["resources"]["requests"]["cpu"], "200m", "{made}");
    assert_eq!(made["spec"]["containers"][0]["image"], "i");
    let changed = r#"{"spec":{"ephemeralContainers":[{"name":"look","image":"tools:2"}]}}"#;
    let refused =
        fixture.admin("PATCH", &format!("{path}/ephemeralcontainers"), &merge, changed).await;
    assert!(refused.text().contains("may not be changed"), "{}", refused.text());
    fixture.stop().await;
}
