//! What a newcomer does, with the real kubectl: apply, look, change, follow, delete.

use beeline_test_cluster::{
    LIMIT, backends, deploy_hello, import_image, node_with_image, service_ip,
};
use beeline_test_support::{eventually, skip};

#[test]
fn a_newcomer_deploys_looks_changes_and_deletes() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = node_with_image()?;
    let kubectl = node.kubectl();

    let nodes = kubectl.run(&["get", "nodes", "-o", "wide"]);
    assert!(nodes.contains("Ready") && nodes.contains("beeline://"), "{nodes}");
    deploy_hello(&node);
    let pods = kubectl.run(&["get", "pods", "-o", "wide"]);
    assert_eq!(pods.matches("1/1").count(), 3, "{pods}");
    assert_eq!(pods.matches(" Running ").count(), 3, "{pods}");

    // From the node itself, and from a pod.
    let ip = service_ip(&node, "hello");
    let from_node = node.host_command(&format!("curl -sf -m 5 http://{ip}/")).output()?;
    let answer = String::from_utf8_lossy(&from_node.stdout).into_owned();
    assert!(answer.starts_with("hello-"), "{answer}{}", String::from_utf8_lossy(&from_node.stderr));
    kubectl.apply(&client(&ip, 30));
    kubectl.wait(LIMIT, &["get", "pod", "client"], |text| text.contains("Completed"));
    let log = kubectl.run(&["logs", "client"]);
    assert_eq!(log.lines().filter(|line| line.starts_with("hello-")).count(), 30, "{log}");
    let mut names: Vec<_> = log.lines().collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 3, "every replica answers: {log}");

    // Flows name the pods and the Service.
    eventually(LIMIT, "flows of the client", || {
        let flows = node.ask(&["flows", "--last", "20", "--pod", "default/client"]);
        flows.contains("default/client") && flows.contains("default/hello")
    });
    let json =
        node.ask(&["flows", "--service", "default/hello", "--protocol", "tcp", "-o", "json"]);
    for line in json.lines() {
        serde_json::from_str::<serde_json::Value>(line)?;
    }
    assert!(json.lines().count() >= 20, "{json}");

    // Change it in the ways that people do.
    kubectl.run(&["label", "deploy/hello", "tier=front"]);
    kubectl.run(&["scale", "deploy/hello", "--replicas=5"]);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=60s"]);
    eventually(LIMIT, "five backends in the kernel", || backends(&node, "default/hello") == 5);
    import_image(&node, "hello:2")?;
    kubectl.run(&["set", "image", "deploy/hello", "hello=hello:2"]);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    let images = kubectl.run(&["get", "deploy/hello", "-o", "wide"]);
    assert!(images.contains("hello:2"), "{images}");
    let described = kubectl.run(&["describe", "deploy/hello"]);
    assert!(
        described.contains("NewReplicaSetAvailable") && described.contains("5 available"),
        "{described}"
    );
    let described = kubectl.run(&["describe", "pods", "-l", "app=hello"]);
    assert!(
        described.contains("Started container hello") || described.contains("Container started"),
        "{described}"
    );
    let mut edit = kubectl.command(&["edit", "service/hello"]);
    edit.env("KUBE_EDITOR", "sed -i s/port:\\ 80$/port:\\ 8080/");
    assert!(edit.status()?.success());
    let service = kubectl.run(&["get", "service", "hello"]);
    assert!(service.contains("8080/TCP"), "{service}");

    kubectl.run(&["delete", "deploy/hello", "service/hello", "pod/client", "--timeout=60s"]);
    kubectl.wait(LIMIT, &["get", "pods"], |text| !text.contains("hello-"));
    eventually(LIMIT, "no backend in the kernel", || backends(&node, "default/hello") == 0);
    Ok(())
}

#[test]
fn kubectl_lists_what_there_is() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = node_with_image()?;
    let kubectl = node.kubectl();
    let resources = kubectl.run(&["api-resources"]);
    for kind in [
        "Namespace",
        "Node",
        "Pod",
        "Service",
        "EndpointSlice",
        "Endpoints",
        "ConfigMap",
        "Secret",
        "Deployment",
    ] {
        assert!(resources.contains(kind), "{kind} in {resources}");
    }
    assert!(kubectl.run(&["version"]).contains("Server Version: v1.36"));
    kubectl.run(&["create", "namespace", "team"]);
    kubectl.run(&["create", "configmap", "settings", "--from-literal=a=b", "-n", "team"]);
    kubectl.run(&["create", "secret", "generic", "hidden", "--from-literal=a=b", "-n", "team"]);
    kubectl.run(&["create", "deployment", "made", "--image=hello:1", "-n", "team"]);
    kubectl.run(&["rollout", "status", "deploy/made", "-n", "team", "--timeout=60s"]);
    kubectl.run(&["delete", "namespace", "team", "--timeout=60s"]);
    assert!(kubectl.fail(&["get", "namespace", "team"]).contains("namespaces \"team\" not found"));
    Ok(())
}

fn client(ip: &str, requests: u32) -> String {
    format!(
        r#"
apiVersion: v1
kind: Pod
metadata: {{ name: client }}
spec:
  restartPolicy: Never
  containers:
    - name: client
      image: hello:1
      command: [sh, -c, "for i in $(seq {requests}); do wget -q -O - http://{ip}/; done"]
"#
    )
}
