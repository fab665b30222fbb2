//! What a newcomer does, with the real kubectl: apply, look, change, follow, delete.

use beeline_test_cluster::{
    Following, LIMIT, backends, deploy_hello, import_image, node_with_image, service_ip,
};
use beeline_test_support::{Node, beeline, eventually, skip};

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
    let described = kubectl.run(&["describe", "service/hello"]);
    assert!(described.contains("Endpoints:") && described.contains(":8080"), "{described}");
    let described = kubectl.run(&["describe", "node"]);
    for words in ["KubeletReady", "Allocatable:", "default                     hello-"] {
        assert!(described.contains(words), "{words} in {described}");
    }
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

/// Containers that write, one that waits, and one that fails again and again.
const WRITERS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: two }
spec:
  terminationGracePeriodSeconds: 1
  initContainers:
    - { name: first, image: "hello:1", command: [echo, prepared] }
  containers:
    - { name: a, image: "hello:1", command: [sh, -c, "for i in 1 2 3 4 5; do echo a$i; done; until [ -e /go ]; do sleep 0.1; done; echo a6; sleep 600"] }
    - { name: b, image: "hello:1", command: [sh, -c, "echo b1 >&2; sleep 600"] }
---
apiVersion: v1
kind: Pod
metadata: { name: crash }
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - { name: c, image: "hello:1", command: [sh, -c, "echo I fail; exit 3"] }
"#;

#[test]
fn logs_are_read_in_every_way() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = node_with_image()?;
    let kubectl = node.kubectl();
    kubectl.apply(WRITERS);
    kubectl.run(&["wait", "--for=condition=Ready", "pod/two", "--timeout=60s"]);
    let all = kubectl.wait(LIMIT, &["logs", "two", "-c", "a"], |text| text.contains("a5"));
    assert_eq!(all, "a1\na2\na3\na4\na5\n");
    assert_eq!(kubectl.run(&["logs", "two", "-c", "first"]), "prepared\n");
    assert_eq!(kubectl.run(&["logs", "two", "-c", "b"]), "b1\n", "standard error, too");
    assert_eq!(kubectl.run(&["logs", "two", "--tail=2"]), "a4\na5\n");
    assert_eq!(kubectl.run(&["logs", "two", "--since=1h", "--limit-bytes=3"]), "a1\n");
    assert_eq!(kubectl.run(&["logs", "two", "--since-time=2100-01-01T00:00:00Z"]), "");
    let stamped = kubectl.run(&["logs", "two", "--timestamps", "--tail=1"]);
    let (stamp, line) = stamped.split_once(' ').expect("a time and a line");
    assert!(stamp.starts_with("20") && stamp.ends_with('Z') && line == "a5\n", "{stamped}");
    let prefixed = kubectl.run(&["logs", "two", "--all-containers", "--prefix", "--tail=1"]);
    assert!(prefixed.contains("[pod/two/b] b1"), "{prefixed}");

    // Followed: what is there, then what comes.
    let follower =
        Following::start(kubectl.command(&["logs", "-f", "two", "-c", "a", "--tail=1"]))?;
    follower.wait("the last line", |text| text == "a5\n");
    let status: serde_json::Value = serde_json::from_str(&node.ask(&["status", "-o", "json"]))?;
    assert_eq!(status["ready"], true);
    touch_in_container(&node, "two")?;
    follower.wait("the next line", |text| text == "a5\na6\n");

    // Crashed: this attempt, and the one before.
    kubectl.wait(LIMIT, &["get", "pod", "crash"], |text| text.contains("CrashLoopBackOff"));
    assert_eq!(kubectl.run(&["logs", "crash"]), "I fail\n");
    assert_eq!(kubectl.run(&["logs", "crash", "--previous"]), "I fail\n");
    let described = kubectl.run(&["describe", "pod", "crash"]);
    assert!(described.contains("Exit Code:    3"), "{described}");
    assert!(
        described.contains("Back-off restarting failed container c in pod crash"),
        "{described}"
    );

    let said = kubectl.fail(&["logs", "nobody"]);
    assert!(said.contains("pods \"nobody\" not found"), "{said}");
    let said = kubectl.fail(&["logs", "two", "-c", "b", "--previous"]);
    assert!(
        said.contains("previous terminated container \"b\" in pod \"two\" not found"),
        "{said}"
    );
    Ok(())
}

/// Make the file that container `a` waits for, through its process's view of the file system.
fn touch_in_container(node: &Node, pod: &str) -> anyhow::Result<()> {
    let place = beeline_test_cluster::place(node, pod);
    let cgroup = place["cgroup"].as_str().expect("a pod has a cgroup").to_owned();
    let waits = |pid: &str| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains("until [ -e /go ]")
    };
    let processes = all_processes(std::path::Path::new(&cgroup));
    let pid = processes.iter().find(|pid| waits(pid));
    let pid = pid.unwrap_or_else(|| panic!("none of {processes:?} in {cgroup} waits"));
    std::fs::write(format!("/proc/{pid}/root/go"), "")?;
    Ok(())
}

fn all_processes(cgroup: &std::path::Path) -> Vec<String> {
    let own = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let inner = std::fs::read_dir(cgroup).into_iter().flatten().flatten();
    let inner = inner.filter(|entry| entry.path().is_dir());
    own.lines()
        .map(str::to_owned)
        .chain(inner.flat_map(|entry| all_processes(&entry.path())))
        .collect()
}

/// One Pod for each way not to run.
const TROUBLED: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: done }
spec:
  restartPolicy: Never
  containers: [ { name: c, image: "hello:1", command: ["true"] } ]
---
apiVersion: v1
kind: Pod
metadata: { name: failed }
spec:
  restartPolicy: Never
  containers: [ { name: c, image: "hello:1", command: [sh, -c, "exit 7"] } ]
---
apiVersion: v1
kind: Pod
metadata: { name: hungry }
spec:
  restartPolicy: Never
  containers: [ { name: c, image: "hello:1", command: [tail, /dev/zero], resources: { limits: { memory: 32Mi } } } ]
---
apiVersion: v1
kind: Pod
metadata: { name: absent }
spec:
  containers: [ { name: c, image: "absent:1" } ]
---
apiVersion: v1
kind: Pod
metadata: { name: never }
spec:
  containers: [ { name: c, image: "absent:1", imagePullPolicy: Never } ]
---
apiVersion: v1
kind: Pod
metadata: { name: misnamed }
spec:
  containers: [ { name: c, image: "Absent:1" } ]
---
apiVersion: v1
kind: Pod
metadata: { name: unset }
spec:
  containers: [ { name: c, image: "hello:1", envFrom: [ { configMapRef: { name: absent } } ] } ]
---
apiVersion: v1
kind: Pod
metadata: { name: big }
spec:
  containers: [ { name: c, image: "hello:1", resources: { requests: { cpu: 1000 } } } ]
---
apiVersion: v1
kind: Pod
metadata: { name: picky }
spec:
  nodeSelector: { disk: none }
  containers: [ { name: c, image: "hello:1" } ]
"#;

#[test]
fn pods_that_do_not_run_say_why() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = node_with_image()?;
    let kubectl = node.kubectl();
    kubectl.apply(TROUBLED);
    for (pod, status) in [
        ("done", "Completed"),
        ("failed", "Error"),
        ("hungry", "OOMKilled"),
        ("absent", "ImagePullBackOff"),
        ("never", "ErrImageNeverPull"),
        ("misnamed", "InvalidImageName"),
        ("unset", "CreateContainerConfigError"),
        ("big", "Pending"),
        ("picky", "Pending"),
    ] {
        let get = ["get", "pod", pod, "--no-headers"];
        kubectl.wait(LIMIT, &get, |text| text.split_whitespace().nth(2) == Some(status));
    }
    for (pod, sentence) in [
        ("failed", "Exit Code:    7"),
        ("hungry", "Exit Code:    137"),
        ("absent", "Failed to pull image \"absent:1\""),
        ("absent", "beeline image import"),
        ("never", "is not present with pull policy of Never"),
        ("misnamed", "couldn't parse image name \"Absent:1\": invalid reference format"),
        ("unset", "configmap \"absent\" not found"),
        ("big", "0/1 nodes are available: 1 Insufficient cpu."),
        ("picky", "1 node(s) didn't match Pod's node affinity/selector."),
    ] {
        kubectl.wait(LIMIT, &["describe", "pod", pod], |text| text.contains(sentence));
    }
    let events = kubectl.run(&["get", "events"]);
    assert!(events.contains("FailedScheduling") && events.contains("pod/picky"), "{events}");

    // What was missing comes, and they run.
    kubectl.run(&["create", "configmap", "absent", "--from-literal=a=b"]);
    kubectl.run(&["label", "node", "--all", "disk=none"]);
    import_image(&node, "absent:1")?;
    let ready = ["wait", "--for=condition=Ready", "pod/absent", "pod/unset", "pod/picky"];
    kubectl.run(&[&ready[..], &["--timeout=60s"]].concat());
    kubectl.run(&["delete", "pods", "--all", "--now", "--timeout=60s"]);
    Ok(())
}

#[test]
fn rollouts_go_forth_and_back() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = node_with_image()?;
    import_image(&node, "hello:2")?;
    let kubectl = node.kubectl();
    let watch = Following::start(kubectl.command(&["get", "pods", "-w"]))?;
    deploy_hello(&node);
    kubectl.run(&["set", "image", "deploy/hello", "hello=hello:2"]);
    kubectl.run(&["annotate", "deploy/hello", "kubernetes.io/change-cause=the second"]);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    kubectl.wait(LIMIT, &["rollout", "history", "deploy/hello"], |text| {
        text.contains("1         <none>") && text.contains("2         the second")
    });
    let seen = watch.wait("the first Pods' end", |text| text.contains("Terminating"));
    for status in ["Pending", "ContainerCreating", "Running"] {
        assert!(seen.contains(status), "{status} in {seen}");
    }
    let revision = kubectl.run(&["rollout", "history", "deploy/hello", "--revision=2"]);
    assert!(revision.contains("hello:2"), "{revision}");

    kubectl.run(&["rollout", "undo", "deploy/hello"]);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    let yaml = kubectl.run(&["get", "deploy/hello", "-o", "yaml"]);
    assert!(yaml.contains("image: hello:1") && yaml.contains("revision: \"3\""), "{yaml}");
    let before = kubectl.run(&["get", "pods", "-l", "app=hello", "-o", "name"]);
    kubectl.run(&["rollout", "restart", "deploy/hello"]);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    kubectl.wait(LIMIT, &["get", "pods", "-l", "app=hello", "-o", "name"], |text| {
        text.lines().count() == 3 && text.lines().all(|pod| !before.contains(pod))
    });

    // A rollout that cannot succeed leaves the old Pods alone.
    kubectl.run(&["set", "image", "deploy/hello", "hello=absent:1"]);
    kubectl.wait(LIMIT, &["get", "pods"], |text| text.contains("ImagePullBackOff"));
    let deployment = kubectl.run(&["get", "deploy/hello"]);
    assert!(deployment.contains("3/3"), "{deployment}");
    kubectl.run(&["rollout", "undo", "deploy/hello"]);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    let all = kubectl.run(&["get", "all"]);
    for kind in ["pod/hello-", "service/hello", "deployment.apps/hello", "replicaset.apps/hello-"] {
        assert!(all.contains(kind), "{kind} in {all}");
    }
    Ok(())
}

#[test]
fn flows_answer_what_people_ask() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = node_with_image()?;
    deploy_hello(&node);
    let kubectl = node.kubectl();
    kubectl.run(&["create", "service", "clusterip", "lonely", "--tcp=80:80"]);
    eventually(LIMIT, "the kernel knows the Service", || {
        node.ask(&["services"]).contains("none: refused")
    });
    let (hello, lonely) = (service_ip(&node, "hello"), service_ip(&node, "lonely"));
    let run_dir = format!("--run-dir={}", node.run_dir().display());
    let mut live = std::process::Command::new(beeline());
    live.args(["flows", "-f", "--pod", "client", &run_dir]);
    let follower = Following::start(live)?;
    let both = format!(
        "for i in 1 2 3; do wget -q -O - http://{hello}/; done; wget -O - http://{lonely}/"
    );
    kubectl.run(&[
        "run",
        "client",
        "--image=hello:1",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        &both,
    ]);
    kubectl.wait(LIMIT, &["logs", "client"], |text| text.contains("Connection refused"));
    follower.wait("a followed refusal", |text| text.contains("REFUSED"));

    // What the socket saw and what the link saw both name the Service.
    let flows = |query: &[&str]| -> Vec<serde_json::Value> {
        let text = node.ask(&[&["flows", "-o", "json", "--last", "500"], query].concat());
        text.lines().map(|line| serde_json::from_str(line).expect("a flow")).collect()
    };
    for hook in ["connect", "from_pod", "to_pod"] {
        eventually(LIMIT, hook, || {
            flows(&["--service", "hello", "--pod", "client"]).iter().any(|flow| {
                flow["hook"] == hook
                    && flow["service"]["name"] == "hello"
                    && flow["is_reply"] == false
            })
        });
    }
    let refused = flows(&["--verdict", "refused"]);
    assert!(!refused.is_empty());
    for flow in &refused {
        assert_eq!(
            (&flow["drop_reason"], &flow["service"]["name"]),
            (&"no_backend".into(), &"lonely".into())
        );
        assert_eq!(flow["source"]["pod_name"], "client");
    }
    assert!(flows(&["--protocol", "udp", "--service", "hello"]).is_empty());
    assert!(!flows(&["--protocol", "tcp", "--since", "1h"]).is_empty());

    // Lined up, and the same from every node through the API server.
    let table = node.ask(&["flows", "--last", "200"]);
    let at = table.lines().next().and_then(|line| line.find("DESTINATION")).expect("a heading");
    assert!(table.lines().skip(1).all(|line| line.get(at - 3..at) == Some("-> ")), "{table}");
    let kubeconfig = format!("--kubeconfig={}", kubectl.kubeconfig.display());
    let mut everywhere = node.net.command(&beeline().to_string_lossy());
    everywhere.args(["flows", "--verdict", "refused", "-o", "json", &kubeconfig]);
    let merged = String::from_utf8(everywhere.output()?.stdout)?;
    assert_eq!(merged.lines().count(), refused.len(), "{merged}");

    looking_is_clear(&node);
    Ok(())
}

/// What the other looking commands say, and what they refuse.
fn looking_is_clear(node: &Node) {
    let services = node.ask(&["services"]);
    assert!(services.contains("default/hello:http") && services.contains("in force"), "{services}");
    let status = node.ask(&["status"]);
    for part in ["ready", "store", "dataplane", "ring buffer"] {
        assert!(status.contains(part), "{part} in {status}");
    }
    for (query, said) in [(["--verdict", "maybe"], "refused"), (["--since", "soon"], "duration")] {
        let output = node.beeline(&[&["flows"], &query[..]].concat());
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && complaint.contains(said), "{complaint}");
    }
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
