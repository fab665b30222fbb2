//! Every kubectl that is installed, over one server: the same round for each.

use std::path::PathBuf;
use std::sync::Arc;

use crate::fixture::Fixture;
use crate::kubectl::{Kubectl, all_versions};

#[tokio::test(flavor = "multi_thread")]
async fn every_installed_kubectl_does_the_round() {
    let fixture = Arc::new(Fixture::start().await);
    let rounds = all_versions().into_iter().map(|binary| round(&fixture, binary));
    futures::future::join_all(rounds).await;
    let Ok(fixture) = Arc::try_unwrap(fixture) else { panic!("a round still holds the server") };
    fixture.stop().await;
}

async fn round(fixture: &Fixture, binary: PathBuf) {
    let namespace = format!("v{}", binary.file_name().unwrap().to_string_lossy().replace('.', "-"));
    let kubectl = Kubectl::of(fixture, binary);
    let n = format!("--namespace={namespace}");
    kubectl.run(&["create", "namespace", &namespace]).await;
    kubectl
        .run(&["create", &n, "deployment", "web", "--image=example/web:1", "--replicas=2"])
        .await;
    kubectl.run(&["create", &n, "secret", "generic", "s", "--from-literal=k=v"]).await;
    let manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n";
    assert!(kubectl.pipe(&["apply", &n, "-f", "-"], manifest).await.contains("created"));
    assert!(
        kubectl
            .pipe(&["apply", &n, "-f", "-"], &manifest.replace("a: b", "a: c"))
            .await
            .contains("configured")
    );
    let applied = kubectl
        .pipe(
            &["apply", &n, "--server-side", "--field-manager=me", "--force-conflicts", "-f", "-"],
            manifest,
        )
        .await;
    assert!(applied.contains("serverside-applied"), "{applied}");
    assert!(kubectl.run(&["get", &n, "deploy", "-o", "wide"]).await.contains("example/web:1"));
    kubectl.run(&["scale", &n, "deploy/web", "--replicas=1"]).await;
    kubectl.run(&["set", &n, "image", "deploy/web", "web=example/web:2"]).await;
    kubectl.run(&["label", &n, "deploy/web", "x=y"]).await;
    let image =
        "jsonpath={.spec.replicas} {.spec.template.spec.containers[0].image} {.metadata.labels.x}";
    assert_eq!(kubectl.run(&["get", &n, "deploy/web", "-o", image]).await, "1 example/web:2 y");
    let said = kubectl
        .fail(
            &["create", &n, "-f", "-"],
            &manifest.replace("data", "dada").replace("name: c", "name: d"),
        )
        .await;
    assert!(said.contains("unknown field \"dada\""), "{said}");
    let explained = kubectl.run(&["explain", "deployment.spec.strategy.rollingUpdate"]).await;
    assert!(explained.contains("maxSurge"), "{explained}");
    let hostless = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i, ports: [{containerPort: 80}]}]}\n";
    kubectl.pipe(&["apply", &n, "-f", "-"], hostless).await;
    kubectl.pipe(&["apply", &n, "-f", "-"], &hostless.replace("image: i", "image: j")).await;
    assert_eq!(
        kubectl.run(&["get", &n, "pod/p", "-o", "jsonpath={.spec.containers[*].image}"]).await,
        "j"
    );
    kubectl.run(&["create", &n, "job", "once", "--image=i"]).await;
    kubectl.run(&["create", &n, "role", "reader", "--verb=get", "--resource=pods"]).await;
    kubectl.run(&["autoscale", &n, "deploy/web", "--max=3"]).await;
    assert!(kubectl.run(&["get", &n, "jobs,roles,hpa"]).await.contains("Deployment/web"));
    kubectl.run(&["delete", &n, "deploy/web", "configmap/c", "secret/s"]).await;
    assert!(kubectl.run(&["get", &n, "deploy"]).await.contains("No resources found"));
}
