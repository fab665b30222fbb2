//! What the cluster tests share: a node with the example image, and the example app on it.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use beeline_test_support::{Node, busybox_image, eventually, within};
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

/// A command that goes on printing, such as `kubectl get -w`. Ended when dropped.
pub struct Following {
    child: Child,
    text: Arc<Mutex<String>>,
}

impl Following {
    /// Start it.
    pub fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().expect("it was piped");
        let text = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&text);
        // Ends with the child's output.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut text = kept.lock().unwrap_or_else(PoisonError::into_inner);
                text.push_str(&line);
                text.push('\n');
            }
        });
        Ok(Self { child, text })
    }

    /// Wait until what it printed passes a check, and return that.
    #[track_caller]
    pub fn wait(&self, what: &str, check: impl Fn(&str) -> bool) -> String {
        within(LIMIT, what, || {
            let text = self.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if check(&text) { Ok(text) } else { Err(text) }
        })
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
