//! What happens while no agent is there, and what is left half made when one is killed, the next one finds and finishes.

use std::{path::PathBuf, process::Command, time::Duration};

use beeline_test_cluster::{LIMIT, import_image, node_with_image};
use beeline_test_support::{Net, Node, NodeOptions, PodTraces, skip, within};
use serde_json::Value;

/// Pods, each of which will meet another fate.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: ends }
spec:
  volumes: [{ name: v, emptyDir: {} }]
  restartPolicy: Never
  containers:
    - { name: c, image: "hello:1", volumeMounts: [{ name: v, mountPath: /v }], command: [sh, -c, "while [ ! -e /end ]; do sleep 0.05; done; exit 7"] }
---
apiVersion: v1
kind: Pod
metadata: { name: again }
spec:
  volumes: [{ name: v, emptyDir: {} }]
  containers:
    - { name: c, image: "hello:1", volumeMounts: [{ name: v, mountPath: /v }], command: [sh, -c, "while [ ! -e /end ]; do sleep 0.05; done; exit 8"] }
---
apiVersion: v1
kind: Pod
metadata: { name: shimless }
spec:
  volumes: [{ name: v, emptyDir: {} }]
  containers:
    - { name: c, image: "hello:1", volumeMounts: [{ name: v, mountPath: /v }], command: [sleep, "600"] }
---
apiVersion: v1
kind: Pod
metadata: { name: deleted }
spec:
  volumes: [{ name: v, emptyDir: {} }]
  terminationGracePeriodSeconds: 1
  containers:
    - { name: c, image: "hello:1", volumeMounts: [{ name: v, mountPath: /v }], command: [sleep, "600"] }
---
apiVersion: v1
kind: Pod
metadata: { name: forced }
spec:
  volumes: [{ name: v, emptyDir: {} }]
  containers:
    - { name: c, image: "hello:1", volumeMounts: [{ name: v, mountPath: /v }], command: [sleep, "600"] }
---
apiVersion: v1
kind: Pod
metadata: { name: stays }
spec:
  volumes: [{ name: v, emptyDir: {} }]
  containers:
    - { name: c, image: "hello:1", volumeMounts: [{ name: v, mountPath: /v }], command: [sleep, "600"] }
"#;

const LATE: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: late }
spec:
  volumes: [{ name: v, emptyDir: {} }]
  nodeName: worker
  containers:
    - { name: c, image: "hello:1", volumeMounts: [{ name: v, mountPath: /v }], command: [sleep, "600"] }
"#;

#[test]
fn what_happened_while_no_agent_was_there_is_found_out() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let (server, mut agent) = server_and_agent()?;
    let kubectl = server.kubectl();
    kubectl.wait(LIMIT, &["get", "nodes"], |text| text.contains(" Ready"));
    import_image(&agent, "hello:1")?;
    kubectl.apply(PODS);
    kubectl.run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let ready_since = node_ready(&kubectl.json(&["get", "node", "worker"]));
    let stays = kubectl.run(&["get", "pod", "stays", "-o", "jsonpath={.status}"]);
    let (ends, again) = (container_root(&agent, "ends"), container_root(&agent, "again"));
    let shimless = shim(&agent, "shimless");

    agent.kill();
    std::fs::write(ends.join("end"), "")?;
    std::fs::write(again.join("end"), "")?;
    assert!(Command::new("kill").args(["-KILL", &shimless]).status()?.success());
    kubectl.run(&["delete", "pod", "deleted", "--wait=false"]);
    kubectl.run(&["delete", "pod", "forced", "--force", "--grace-period=0"]);
    kubectl.apply(LATE);
    for root in [&ends, &again] {
        within(LIMIT, "the program ends", || {
            if root.exists() { Err(format!("{} is there", root.display())) } else { Ok(()) }
        });
    }
    agent.start()?;

    let phase = "-o=jsonpath={.status.phase}";
    kubectl.wait(LIMIT, &["get", "pod", "ends", phase], |text| text == "Failed");
    let ended = kubectl.json(&["get", "pod", "ends"]);
    let ended = &ended["status"]["containerStatuses"][0]["state"]["terminated"];
    assert_eq!((&ended["exitCode"], &ended["reason"]), (&7.into(), &"Error".into()), "{ended}");

    let restarts = "-o=jsonpath={.status.containerStatuses[0].restartCount}{.status.phase}";
    kubectl.wait(LIMIT, &["get", "pod", "again", restarts], |text| text == "1Running");
    let again = kubectl.json(&["get", "pod", "again"]);
    let last = &again["status"]["containerStatuses"][0]["lastState"]["terminated"];
    assert_eq!(last["exitCode"], 8, "{again}");

    // Its sandbox is another one, with the volume of before.
    kubectl.wait(LIMIT, &["get", "pod", "shimless", restarts], |text| text == "1Running");
    kubectl.run(&["wait", "--for=condition=Ready", "pod/late", "--timeout=60s"]);
    kubectl.wait(LIMIT, &["get", "pods"], |text| !text.contains("deleted"));
    assert_eq!(kubectl.run(&["get", "pod", "stays", "-o", "jsonpath={.status}"]), stays);
    assert_eq!(node_ready(&kubectl.json(&["get", "node", "worker"])), ready_since);
    // Who declares a pod lost whose node is there is set right by the node's next sign of life.
    let lost =
        r#"{"status":{"conditions":[{"type":"Ready","status":"False","reason":"NodeNotReady"}]}}"#;
    kubectl.run(&["patch", "pod", "stays", "--subresource=status", "--type=merge", "-p", lost]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/stays", "--timeout=60s"]);
    // `ends` has ended and `deleted` and `forced` are gone: nothing of them stays.
    settled(&agent, 4);
    Ok(())
}

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: web }
spec:
  replicas: 0
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      terminationGracePeriodSeconds: 0
      volumes: [{ name: v, emptyDir: {} }]
      containers:
        - { name: web, image: "hello:1", ports: [{ containerPort: 8080 }], volumeMounts: [{ name: v, mountPath: /v }] }
---
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  selector: { app: web }
  ports: [{ port: 80, targetPort: 8080 }]
"#;

#[test]
fn kills_while_pods_come_and_go_leave_no_orphan() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = node_with_image()?;
    let kubectl = node.kubectl();
    kubectl.apply(WEB);
    for round in 0..20_u64 {
        let replicas = [4, 0, 3, 1][usize::try_from(round % 4)?];
        kubectl.run(&["scale", "deploy/web", &format!("--replicas={replicas}")]);
        // Anywhere between before the first sandbox and after the last program.
        std::thread::sleep(Duration::from_millis(round * 67 % 300));
        node.kill();
        // And its successor while it looks at what it found.
        node.spawn()?;
        std::thread::sleep(Duration::from_millis(round * 41 % 250));
        node.kill();
        node.start()?;
    }
    kubectl.run(&["scale", "deploy/web", "--replicas=5"]);
    kubectl.run(&["rollout", "status", "deploy/web", "--timeout=60s"]);
    settled(&node, 5);
    within(LIMIT, "five backends in the kernel", || {
        match beeline_test_cluster::backends(&node, "default/web") {
            5 => Ok(()),
            other => Err(format!("{other} backends")),
        }
    });
    let status: Value = serde_json::from_str(&node.ask(&["status", "-o", "json"]))?;
    assert_eq!(status["pods"].as_array().map(Vec::len), Some(5), "{status}");
    kubectl.run(&["scale", "deploy/web", "--replicas=0"]);
    settled(&node, 0);
    Ok(())
}

/// A server, and an agent named `worker` that joined it, in namespaces of their own.
fn server_and_agent() -> anyhow::Result<(Node, Node)> {
    let (ours, theirs) = (Net::new()?, Net::new()?);
    ours.connect(&theirs, "eth0", "192.0.2.1/24", "192.0.2.2/24")?;
    let arguments = ["--listen=192.0.2.1:6443"].map(str::to_owned).to_vec();
    let options = NodeOptions { name: "server".into(), command: "server".into(), arguments };
    let mut server = Node::new(ours, options)?;
    server.start()?;
    let token = server.ask(&["token"]);
    let arguments = vec![
        "--server=https://192.0.2.1:6443".to_owned(),
        format!("--token={}", token.trim()),
        "--node-ip=192.0.2.2".to_owned(),
    ];
    let options = NodeOptions { name: "worker".into(), command: "agent".into(), arguments };
    let mut agent = Node::new(theirs, options)?;
    agent.start()?;
    Ok((server, agent))
}

/// Wait until the machine holds what so many pods are made of, and nothing else.
fn settled(node: &Node, pods: usize) {
    within(LIMIT, &format!("as much as {pods} pods are made of"), || {
        let found = node.pod_traces();
        let limits = found.limit_cgroups > 0;
        if found == PodTraces::of(pods, limits) { Ok(()) } else { Err(format!("{found:?}")) }
    });
}

/// The process that holds a pod.
fn shim(node: &Node, pod: &str) -> String {
    let place = beeline_test_cluster::place(node, pod);
    place["netns"].as_str().and_then(|path| path.split('/').nth(2)).unwrap_or_default().to_owned()
}

/// The root of a pod's container, seen from outside.
fn container_root(node: &Node, pod: &str) -> PathBuf {
    let shim = shim(node, pod);
    let children =
        std::fs::read_to_string(format!("/proc/{shim}/task/{shim}/children")).unwrap_or_default();
    let child = children.split(' ').next().unwrap_or_default();
    assert!(!child.is_empty(), "the shim {shim} of {pod} has no container");
    format!("/proc/{child}/root").into()
}

fn node_ready(node: &Value) -> Value {
    let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|one| one["type"] == "Ready").unwrap_or_default()["lastTransitionTime"]
        .clone()
}

#[test]
fn a_first_start_that_is_killed_leaves_nothing_and_the_next_one_works() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    for round in 0..16_u64 {
        let mut node = Node::new(Net::new()?, NodeOptions::default())?;
        node.spawn()?;
        std::thread::sleep(Duration::from_millis(round * 23));
        node.kill();
        if round % 4 == 3 {
            node.start()?;
        }
        // Dropping the node checks that `beeline stop --kill` leaves nothing.
    }
    Ok(())
}
