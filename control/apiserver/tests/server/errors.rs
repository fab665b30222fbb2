//! What people get when they type it wrong: upstream's words.

use crate::fixture::Fixture;
use crate::kubectl::Kubectl;

const POD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  containers:
  - name: main
    image: example/p
";

#[tokio::test(flavor = "multi_thread")]
async fn bad_manifests() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    let unknown_field = POD.replace("image:", "imag: x\n    image:");
    let said = kubectl.fail(&["apply", "-f", "-"], &unknown_field).await;
    assert!(
        said.contains(r#"strict decoding error: unknown field "spec.containers[0].imag""#),
        "{said}"
    );
    let warned = kubectl
        .pipe(&["apply", "--validate=warn", "--dry-run=server", "-f", "-"], &unknown_field)
        .await;
    assert!(warned.contains(r#"Warning: unknown field "spec.containers[0].imag""#), "{warned}");
    let wrong_type = POD.replace("image: example/p", "image: [1]");
    let said = kubectl.fail(&["apply", "-f", "-"], &wrong_type).await;
    assert!(said.contains("Pod in version \"v1\" cannot be handled as a Pod"), "{said}");
    let unknown_kind = POD.replace("kind: Pod", "kind: Podd");
    let said = kubectl.fail(&["apply", "-f", "-"], &unknown_kind).await;
    assert!(said.contains("no matches for kind \"Podd\" in version \"v1\""), "{said}");
    let no_image = POD.replace("name: main", "name: Main_1");
    let said = kubectl.fail(&["create", "-f", "-"], &no_image).await;
    assert!(
        said.contains("The Pod \"p\" is invalid: spec.containers[0].name: Invalid value"),
        "{said}"
    );
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn things_that_are_not_there_or_already_are() {
    let fixture = Fixture::start().await;
    let Some(kubectl) = Kubectl::new(&fixture) else { return };
    let said = kubectl.fail(&["get", "pod", "x"], "").await;
    assert_eq!(said.trim(), "Error from server (NotFound): pods \"x\" not found");
    let said = kubectl.fail(&["get", "widgets"], "").await;
    assert!(said.contains("the server doesn't have a resource type \"widgets\""), "{said}");
    kubectl.pipe(&["create", "-f", "-"], POD).await;
    let said = kubectl.fail(&["create", "-f", "-"], POD).await;
    assert!(
        said.contains("Error from server (AlreadyExists)")
            && said.contains("pods \"p\" already exists"),
        "{said}"
    );
    let said = kubectl.fail(&["create", "-n", "nowhere", "-f", "-"], POD).await;
    assert!(said.contains("namespaces \"nowhere\" not found"), "{said}");
    let said = kubectl.fail(&["logs", "p"], "").await;
    assert!(said.contains("pod p does not have a host assigned"), "{said}");
    let said = kubectl.fail(&["get", "pods", "--field-selector", "spec.nonsense=1"], "").await;
    assert!(said.contains("field label not supported: spec.nonsense"), "{said}");
    fixture.stop().await;
}
