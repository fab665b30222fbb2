//! A rolling update under steady traffic loses no request.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use beeline_test_cluster::{LIMIT, deploy_hello, import_image, node_with_image, place, service_ip};
use beeline_test_support::{beeline, skip};

/// So long is it updated again and again: an update alone may take less than a second.
const UPDATING: Duration = Duration::from_secs(6);

#[test]
fn a_rolling_update_under_200_requests_a_second_loses_none() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = node_with_image()?;
    import_image(&node, "hello:2")?;
    deploy_hello(&node);
    let kubectl = node.kubectl();
    kubectl.apply(
        r#"
apiVersion: v1
kind: Pod
metadata: { name: client }
spec:
  containers:
    - { name: client, image: "hello:1", command: [sleep, "600"] }
"#,
    );
    kubectl.run(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"]);

    let orders = serde_json::json!({
        "place": place(&node, "client"),
        "work": { "request": { "target": format!("{}:80", service_ip(&node, "hello")), "per_second": 200 } },
    });
    let mut probe = Command::new(beeline())
        .args(["probe", &orders.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut stdout = BufReader::new(probe.stdout.take().expect("it was piped"));
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    assert_eq!(line.trim(), "ready");

    let start = Instant::now();
    for image in ["hello:2", "hello:1"].iter().cycle() {
        if start.elapsed() > UPDATING {
            break;
        }
        kubectl.run(&["set", "image", "deploy/hello", &format!("hello={image}")]);
        kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    }
    // The last Pods to go are still asked until they are gone.
    kubectl.wait(LIMIT, &["get", "pods"], |text| !text.contains("Terminating"));
    drop(probe.stdin.take());
    let mut text = String::new();
    stdout.read_to_string(&mut text)?;
    probe.wait()?;
    let load: serde_json::Value = serde_json::from_str(&text)?;
    assert_eq!(load["failed"], 0, "{load}");
    assert!(load["sent"].as_u64() > Some(400), "{load}");
    Ok(())
}
