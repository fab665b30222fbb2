//! Kill -9 at any moment: nothing acknowledged is lost, no pod ends, no connection drops, nothing is left.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use beeline_test_cluster::{LIMIT, backends, deploy_hello, node_with_image, place, service_ip};
use beeline_test_support::{Kubectl, Node, beeline, eventually, skip};
use serde_json::{Value, json};

/// How often the process is killed.
const KILLS: u32 = 50;

#[test]
fn fifty_kills_under_writes_lose_nothing() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = node_with_image()?;
    deploy_hello(&node);
    let kubectl = node.kubectl();
    let before = undisturbed(&kubectl);
    let acknowledged = Mutex::new(Vec::new());
    let over = AtomicBool::new(false);

    std::thread::scope(|scope| -> anyhow::Result<()> {
        for writer in 0..2 {
            let (kubectl, acknowledged, over) = (node.kubectl(), &acknowledged, &over);
            scope.spawn(move || write_until(&kubectl, writer, over, acknowledged));
        }
        let outcome = (0..KILLS).try_for_each(|round| {
            // Not always at the same point: from the middle of the start to long after it.
            std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 400)));
            node.kill();
            if round % 5 == 4 { node.start() } else { node.spawn() }
        });
        over.store(true, Ordering::Relaxed);
        outcome
    })?;
    node.kill();
    node.start()?;

    let kubectl = node.kubectl();
    let stored = kubectl.run(&["get", "configmaps", "-o", "name"]);
    let acknowledged = acknowledged.into_inner().expect("no writer panicked");
    assert!(acknowledged.len() >= 10, "only {} writes were acknowledged", acknowledged.len());
    let missing: Vec<_> = acknowledged
        .iter()
        .filter(|name| !stored.lines().any(|line| line == format!("configmap/{name}")))
        .collect();
    assert!(missing.is_empty(), "acknowledged, then lost: {missing:?}");

    eventually(LIMIT, "all backends in the kernel", || backends(&node, "default/hello") == 3);
    let after = undisturbed(&kubectl);
    let was: Vec<_> = before.iter().filter(|line| !after.contains(line)).collect();
    let is: Vec<_> = after.iter().filter(|line| !before.contains(line)).collect();
    assert!(before == after, "pods and node were touched; before: {was:#?}, now: {is:#?}");
    let ip = service_ip(&node, "hello");
    let answer = node.host_command(&format!("curl -sf -m 5 http://{ip}/")).output()?;
    assert!(String::from_utf8_lossy(&answer.stdout).starts_with("hello-"));
    Ok(())
    // Dropping the node checks that `beeline stop --kill` leaves nothing.
}

#[test]
fn traffic_flows_on_while_the_agent_is_dead() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = node_with_image()?;
    deploy_hello(&node);
    let ip = service_ip(&node, "hello");
    let work = json!({ "request": { "target": format!("{ip}:80"), "per_second": 100 } });
    let probe = Probe::start(&node, "hello-", &work)?;
    for _ in 0..3 {
        node.kill();
        std::thread::sleep(Duration::from_millis(500)); // the time under test: nobody is there
        node.start()?;
    }
    let load = probe.end()?;
    assert_eq!(load["failed"], 0, "{load}");
    assert!(load["sent"].as_u64() > Some(150), "{load}");
    Ok(())
}

/// A server that echoes whatever it is sent, behind a Service, and a client.
const ECHO: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: echo, labels: { app: echo } }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - { name: echo, image: "hello:1", command: [/bin/busybox, nc, -ll, -p, "7000", -e, /bin/busybox, cat] }
---
apiVersion: v1
kind: Service
metadata: { name: echo }
spec:
  selector: { app: echo }
  ports: [{ port: 7, targetPort: 7000 }]
---
apiVersion: v1
kind: Pod
metadata: { name: client }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - { name: client, image: "hello:1", command: [sleep, "600"] }
"#;

#[test]
fn one_connection_outlives_ten_kills() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = node_with_image()?;
    let kubectl = node.kubectl();
    kubectl.apply(ECHO);
    kubectl.run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    eventually(LIMIT, "one backend in the kernel", || backends(&node, "default/echo") == 1);
    let ip = service_ip(&node, "echo");
    let work = json!({ "hold": { "target": format!("{ip}:7"), "per_second": 200 } });
    // The server may not listen yet when its pod is ready: it has no probe.
    eventually(LIMIT, "the server listens", || {
        let tried = Probe::start(&node, "client", &work);
        tried.is_ok_and(|probe| probe.end().is_ok_and(|load| load["failed"] == 0))
    });
    let probe = Probe::start(&node, "client", &work)?;
    for round in 0..10 {
        std::thread::sleep(Duration::from_millis(round * 61 % 300));
        node.kill();
        if round % 3 == 2 { node.start()? } else { node.spawn()? }
    }
    // And an orderly end.
    node.terminate();
    node.start()?;
    let load = probe.end()?;
    assert_eq!(load["failed"], 0, "{load}");
    assert!(load["sent"].as_u64() > Some(200), "{load}");
    Ok(())
}

#[test]
fn a_rolling_update_among_kills_loses_no_request() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = node_with_image()?;
    let kubectl = node.kubectl();
    kubectl.apply(ECHO);
    deploy_hello(&node);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);
    let ip = service_ip(&node, "hello");
    let work = json!({ "request": { "target": format!("{ip}:80"), "per_second": 100 } });
    let probe = Probe::start(&node, "client", &work)?;
    kubectl.run(&["rollout", "restart", "deploy/hello"]);
    for round in 0..10 {
        std::thread::sleep(Duration::from_millis(200 + round * 173 % 500));
        node.kill();
        node.start()?;
    }
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    let load = probe.end()?;
    assert_eq!(load["failed"], 0, "{load}");
    assert!(load["sent"].as_u64() > Some(200), "{load}");
    Ok(())
}

/// A client in the place of a pod.
struct Probe {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Probe {
    /// Start it and wait until it works.
    fn start(node: &Node, pod: &str, work: &Value) -> anyhow::Result<Self> {
        let orders = json!({ "place": place(node, pod), "work": work });
        let mut child = Command::new(beeline())
            .args(["probe", &orders.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let mut probe = Self { child, stdout };
        if line.trim() != "ready" {
            anyhow::bail!("the probe did not start: {}", probe.child.wait()?);
        }
        Ok(probe)
    }

    /// End it; what it found.
    fn end(mut self) -> anyhow::Result<Value> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.stdout.read_to_string(&mut text)?;
        anyhow::ensure!(self.child.wait()?.success(), "the probe failed: {text}");
        Ok(serde_json::from_str(text.lines().last().unwrap_or_default())?)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What must be the same after a crash as before: which pods and containers there are, since when they and the node are
/// ready, and that their endpoints were not even touched.
fn undisturbed(kubectl: &Kubectl) -> Vec<String> {
    let mut lines = Vec::new();
    let pod = "{.metadata.name} {.metadata.uid} {.status.podIP} {.status.containerStatuses}";
    let condition = "{range .status.conditions[*]}{.type} {.status} {.lastTransitionTime}, {end}";
    for (kind, columns) in [
        ("pods", format!("{pod} {condition}")),
        ("nodes", format!("{{.metadata.name}} {{.spec.taints}} {condition}")),
        ("endpointslices", "{.metadata.name} {.metadata.resourceVersion}".to_owned()),
    ] {
        let each = format!("jsonpath={{range .items[*]}}{columns}{{\"\\n\"}}{{end}}");
        lines.extend(kubectl.run(&["get", kind, "-o", &each]).lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

fn write_until(
    kubectl: &Kubectl,
    writer: u32,
    over: &AtomicBool,
    acknowledged: &Mutex<Vec<String>>,
) {
    let mut number = 0;
    while !over.load(Ordering::Relaxed) {
        let name = format!("w{writer}-{number}");
        number += 1;
        let output = kubectl.output(&[
            "create",
            "configmap",
            &name,
            "--from-literal=a=b",
            "--request-timeout=5s",
        ]);
        if output.status.success() {
            acknowledged.lock().expect("no writer panicked").push(name);
        }
    }
}
