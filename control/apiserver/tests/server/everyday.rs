//! What people type every day.

use serde_json::json;

use crate::fixture::Fixture;
use crate::kubectl::Kubectl;

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  labels: {app: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: main
        image: example/web:1
        ports: [{containerPort: 80}]
";

#[tokio::test(flavor = "multi_thread")]
async fn discovery_and_version() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    assert!(kubectl.run(&["version"]).await.contains("v1.36.0+beeline"));
    let resources = kubectl.run(&["api-resources"]).await;
    for line in ["pods                        po", "deployments                 deploy", "leases"] {
        assert!(resources.contains(line.split_whitespace().next().unwrap()), "{resources}");
    }
    assert!(kubectl.run(&["api-versions"]).await.contains("apps/v1"));
    assert_eq!(kubectl.run(&["get", "--raw", "/readyz"]).await, "ok");
    assert_eq!(kubectl.run(&["auth", "can-i", "delete", "pods"]).await.trim(), "yes");
    assert!(kubectl.run(&["auth", "whoami"]).await.contains("kubernetes-admin"));
    assert!(kubectl.run(&["get", "namespaces"]).await.contains("kube-system"));
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_and_look() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    let created = kubectl.pipe(&["apply", "-f", "-"], DEPLOYMENT).await;
    assert_eq!(created.trim(), "deployment.apps/web created");
    let again = kubectl.pipe(&["apply", "-f", "-"], DEPLOYMENT).await;
    assert_eq!(again.trim(), "deployment.apps/web unchanged");
    let changed = DEPLOYMENT.replace("web:1", "web:2").replace("replicas: 2", "replicas: 3");
    let configured = kubectl.pipe(&["apply", "-f", "-"], &changed).await;
    assert_eq!(configured.trim(), "deployment.apps/web configured");
    let applied = kubectl.pipe(&["apply", "--dry-run=server", "-f", "-"], DEPLOYMENT).await;
    assert!(applied.contains("configured (server dry run)"), "{applied}");
    let short = kubectl.run(&["get", "deployments"]).await;
    assert!(short.contains("NAME") && short.contains("READY") && short.contains("0/3"), "{short}");
    let wide = kubectl.run(&["get", "deploy", "-o", "wide"]).await;
    assert!(
        wide.contains("SELECTOR") && wide.contains("example/web:2") && wide.contains("app=web"),
        "{wide}"
    );
    let yaml = kubectl.run(&["get", "deploy", "web", "-o", "yaml"]).await;
    assert!(yaml.contains("kind: Deployment") && yaml.contains("generation: 2"), "{yaml}");
    assert!(!yaml.contains("replicas: 2"), "{yaml}");
    let path = kubectl
        .run(&["get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}"])
        .await;
    assert_eq!(path, "example/web:2");
    assert!(kubectl.run(&["get", "deploy", "-A", "-l", "app=web"]).await.contains("default"));
    let described = kubectl.run(&["describe", "deployment", "web"]).await;
    assert!(
        described.contains("RollingUpdateStrategy:  25% max unavailable, 25% max surge"),
        "{described}"
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn change_and_delete() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    kubectl.pipe(&["apply", "-f", "-"], DEPLOYMENT).await;
    let get = async |path: &str| {
        kubectl.run(&["get", "deploy", "web", "-o", &format!("jsonpath={path}")]).await
    };
    kubectl.run(&["label", "deploy/web", "tier=front"]).await;
    kubectl.run(&["annotate", "deploy/web", "note=hello there"]).await;
    assert_eq!(
        get("{.metadata.labels.tier}/{.metadata.annotations.note}").await,
        "front/hello there"
    );
    kubectl.run(&["label", "deploy/web", "tier-"]).await;
    assert_eq!(get("{.metadata.labels.tier}").await, "");
    assert!(kubectl.run(&["scale", "deploy/web", "--replicas=5"]).await.contains("scaled"));
    assert_eq!(get("{.spec.replicas}").await, "5");
    kubectl.run(&["set", "image", "deploy/web", "main=example/web:9"]).await;
    assert_eq!(get("{.spec.template.spec.containers[0].image}").await, "example/web:9");
    let mut edit = kubectl.command(&["edit", "deploy/web"]);
    edit.env("KUBE_EDITOR", "sed -i -e s/replicas:.5/replicas:\\ 4/");
    assert!(kubectl.finish(edit, &["edit"], "").await.contains("edited"));
    assert_eq!(get("{.spec.replicas}").await, "4");
    kubectl
        .run(&[
            "patch",
            "deploy/web",
            "--type=json",
            "-p",
            r#"[{"op":"replace","path":"/spec/replicas","value":0}]"#,
        ])
        .await;
    assert_eq!(get("{.spec.replicas}").await, "0");
    kubectl
        .run(&[
            "patch",
            "deploy/web",
            "-p",
            r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"s"}]}}}}"#,
        ])
        .await;
    assert_eq!(get("{.spec.template.spec.containers[*].name}").await, "side main");
    kubectl.run(&["rollout", "restart", "deploy/web"]).await;
    let deleted = kubectl.run(&["delete", "deploy/web"]).await;
    assert!(deleted.contains("\"web\" deleted"), "{deleted}");
    assert!(
        kubectl
            .fail(&["get", "deploy", "web"], "")
            .await
            .contains("deployments.apps \"web\" not found")
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn create_commands_send_protobuf() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    kubectl.run(&["create", "namespace", "shop"]).await;
    kubectl
        .run(&[
            "create",
            "-n",
            "shop",
            "deployment",
            "cart",
            "--image=example/cart:1",
            "--replicas=3",
            "--port=80",
        ])
        .await;
    kubectl
        .run(&[
            "create",
            "-n",
            "shop",
            "secret",
            "generic",
            "key",
            "--from-literal=password=s3cret",
        ])
        .await;
    kubectl.run(&["create", "-n", "shop", "configmap", "settings", "--from-literal=a=b"]).await;
    kubectl.run(&["create", "-n", "shop", "serviceaccount", "robot"]).await;
    kubectl.run(&["create", "-n", "shop", "service", "clusterip", "cart", "--tcp=80:8080"]).await;
    kubectl.run(&["run", "-n", "shop", "one", "--image=example/one", "--restart=Never"]).await;
    let get = async |what: &str, path: &str| {
        kubectl.run(&["get", "-n", "shop", what, "-o", &format!("jsonpath={path}")]).await
    };
    assert_eq!(
        get(
            "deploy/cart",
            "{.spec.replicas} {.spec.template.spec.containers[0].ports[0].containerPort}"
        )
        .await,
        "3 80"
    );
    assert_eq!(get("secret/key", "{.data.password} {.type}").await, "czNjcmV0 Opaque");
    assert_eq!(get("service/cart", "{.spec.ports[0].targetPort}").await, "8080");
    assert!(get("service/cart", "{.spec.clusterIP}").await.starts_with("10.43."));
    assert_eq!(get("configmap/settings", "{.data.a}").await, "b");
    let all = kubectl.run(&["get", "all", "-n", "shop"]).await;
    assert!(
        all.contains("pod/one")
            && all.contains("service/cart")
            && all.contains("deployment.apps/cart"),
        "{all}"
    );
    assert!(kubectl.run(&["describe", "-n", "shop", "pod", "one"]).await.contains("example/one"));
    assert!(kubectl.run(&["describe", "-n", "shop", "service", "cart"]).await.contains("10.43."));
    kubectl.run(&["delete", "-n", "shop", "pod", "one", "--now"]).await;
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watch_and_rollout_status() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    let mut watching = kubectl.follow(&["get", "deployments", "-w", "--output-watch-events"]);
    // The list is empty, so the first thing seen is the first event after it; ask until the watch is there.
    kubectl.pipe(&["apply", "-f", "-"], DEPLOYMENT).await;
    watching.until("web").await;
    let mut rollout = kubectl.follow(&["rollout", "status", "deploy/web", "--timeout=25s"]);
    rollout.until("Waiting for deployment").await;
    let status = json!({
        "observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2,
    });
    fixture.set_status("apps", "deployments", "web", status).await;
    rollout.until("successfully rolled out").await;
    rollout.succeed().await;
    assert!(watching.until("2/2").await.contains("MODIFIED"));
    kubectl.run(&["delete", "deploy", "web", "--wait=false"]).await;
    watching.until("DELETED").await;
    let waited = kubectl.run(&["wait", "--for=delete", "deploy/web", "--timeout=10s"]).await;
    assert!(waited.is_empty() || waited.contains("condition met"), "{waited}");
    drop(watching);
    fixture.stop().await;
}
