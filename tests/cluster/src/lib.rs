//! What the cluster tests share: a node with the example image, and the example app on it.

use std::time::Duration;

use beeline_test_support::{Node, busybox_image, eventually};
use serde_json::Value;

/// The example app, as the README applies it.
pub const HELLO: &str = include_str!("../../../examples/hello.yaml");

/// How long anything may take in a debug build on a shared machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Build the example image and import it.
pub fn import_image(node: &Node, reference: &str) -> anyhow::Result<()> {
    let folder = node.data_dir();
    let archive = busybox_image(&folder, reference)?;
    let said = node.ask(&["image", "import", &archive.to_string_lossy()]);
    anyhow::ensure!(said.contains(reference), "import said: {said}");
    Ok(())
}

/// A ready node with the example image.
pub fn node_with_image() -> anyhow::Result<Node> {
    let node = Node::up()?;
    import_image(&node, "hello:1")?;
    Ok(node)
}

/// Apply the example app and wait until all of it is ready.
pub fn deploy_hello(node: &Node) {
    let kubectl = node.kubectl();
    kubectl.apply(HELLO);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=60s"]);
    // The Deployment is ready once the pods are; the kernel knows when the epoch is in force.
    eventually(LIMIT, "three backends in the kernel", || backends(node, "default/hello") == 3);
}

/// The address of a Service.
pub fn service_ip(node: &Node, name: &str) -> String {
    node.kubectl().run(&["get", "service", name, "-o", "jsonpath={.spec.clusterIP}"])
}

/// How many backends the kernel holds for a Service.
pub fn backends(node: &Node, service: &str) -> usize {
    let text = node.ask(&["services", "-o", "json"]);
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let frontends = value["frontends"].as_array().cloned().unwrap_or_default();
    let found = frontends.iter().find(|frontend| frontend["service"] == service);
    found.and_then(|frontend| frontend["backends"].as_array()).map_or(0, Vec::len)
}

/// Where a pod's processes live: its namespace and cgroup, as orders for a probe.
pub fn place(node: &Node, pod: &str) -> Value {
    let status: Value =
        serde_json::from_str(&node.ask(&["status", "-o", "json"])).unwrap_or_default();
    let pods = status["pods"].as_array().cloned().unwrap_or_default();
    let found =
        pods.iter().find(|line| line["name"].as_str().is_some_and(|name| name.starts_with(pod)));
    let found = found.unwrap_or_else(|| panic!("no sandbox of {pod} in {status}"));
    serde_json::json!({ "netns": format!("/proc/{}/ns/net", found["pid"]), "cgroup": found["cgroup"] })
}
