//! kill -9 at any moment: nothing acknowledged is lost, no pod ends, no connection drops, nothing is left.

use std::{
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use beeline_test_cluster::{LIMIT, backends, deploy_hello, node_with_image, place, service_ip};
use beeline_test_support::{Kubectl, beeline, eventually, skip};

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
    let pods_before = pods(&kubectl);
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

    eventually(LIMIT, "all pods are ready", || {
        kubectl.run(&["get", "pods"]).matches("1/1").count() == 3
    });
    assert_eq!(pods(&kubectl), pods_before, "the same pods run on, with no restart");
    eventually(LIMIT, "all backends in the kernel", || backends(&node, "default/hello") == 3);
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
    let orders = serde_json::json!({
        "place": place(&node, "hello-"),
        "work": { "request": { "target": format!("{ip}:80"), "per_second": 100 } },
    });
    let mut probe = Command::new(beeline())
        .args(["probe", &orders.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    for _ in 0..3 {
        node.kill();
        std::thread::sleep(Duration::from_millis(500)); // the time under test: nobody is there
        node.start()?;
    }
    drop(probe.stdin.take());
    let output = probe.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let load: serde_json::Value = serde_json::from_str(text.lines().last().unwrap_or_default())?;
    assert_eq!(load["failed"], 0, "{load}");
    Ok(())
}

fn pods(kubectl: &Kubectl) -> String {
    let columns = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,IP:.status.podIP,ID:.status.containerStatuses[0].containerID,RESTARTS:.status.containerStatuses[0].restartCount";
    kubectl.run(&["get", "pods", "--sort-by=.metadata.name", "-o", columns])
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
