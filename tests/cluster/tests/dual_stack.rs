//! A cluster of both families: pods with an address of each, and Services that are reached by either.

use std::{collections::BTreeSet, process::Output};

use beeline_test_cluster::{HELLO, LIMIT, import_image, place};
use beeline_test_support::{Cluster, Kubectl, Net, Node, NodeOptions, eventually, skip};
use serde_json::{Value, json};

/// The node's addresses, on a link that leads nowhere.
const NODE_V4: &str = "192.168.77.2";
const NODE_V6: &str = "2001:db8::2";

const RANGES: [&str; 4] =
    ["--pod-cidr", "10.42.0.0/16,fd42::/48", "--service-cidr", "10.43.0.0/16,fd43::/108"];

/// A pod that says what it knows of itself, and one that shares the node's network.
const CLIENTS: &str = r#"
apiVersion: v1
kind: Pod
metadata: { name: client }
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: client
      image: hello:1
      command: [sh, -c, "echo ips=$IPS; cat /etc/hosts; sleep 600"]
      env:
        - { name: IPS, valueFrom: { fieldRef: { fieldPath: status.podIPs } } }
---
apiVersion: v1
kind: Pod
metadata: { name: shares }
spec:
  terminationGracePeriodSeconds: 0
  hostNetwork: true
  containers:
    - { name: shares, image: "hello:1", command: [sleep, "600"] }
"#;

#[test]
fn services_are_reached_by_both_families_and_pods_keep_their_addresses() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = node_of_both_families(&RANGES)?;
    let kubectl = node.kubectl();
    kubectl.apply(&HELLO.replace("  selector: { app: hello }\n  ports:", PREFER_DUAL));
    kubectl.apply(CLIENTS);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=60s"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    for (kind, start) in [("IPv4", "10.42.0."), ("IPv6", "fd42:")] {
        eventually(LIMIT, "a slice with all three", || {
            let found = sliced(&kubectl, kind);
            found.len() == 3 && found.iter().all(|address| address.starts_with(start))
        });
    }

    let service = kubectl.json(&["get", "service", "hello"]);
    let ips = texts(&service["spec"]["clusterIPs"]);
    assert_eq!(ips.len(), 2, "{service}");
    assert!(ips[0].starts_with("10.43.") && ips[1].starts_with("fd43::"), "{ips:?}");
    let urls = [format!("http://{}/", ips[0]), format!("http://[{}]/", ips[1])];
    for url in &urls {
        eventually(LIMIT, "everybody is answered", || everybody_is_answered(&node, url));
    }
    by_containers(&node, &urls);
    pods_know_their_addresses(&kubectl);
    only_own_sources_pass(&node)?;

    let before = addresses(&kubectl);
    node.kill();
    for url in &urls {
        assert!(everybody_is_answered(&node, url), "{url} while nobody is there");
    }
    node.start()?;
    for url in &urls {
        assert!(everybody_is_answered(&node, url), "{url} after a restart");
    }
    assert_eq!(addresses(&kubectl), before);
    // Who comes now is given nobody else's.
    kubectl.run(&["scale", "deploy/hello", "--replicas=5"]);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=60s"]);
    eventually(LIMIT, "two more", || sliced(&kubectl, "IPv6").len() == 5);
    let mut all: Vec<String> = addresses(&kubectl).into_iter().flat_map(|(_, ips)| ips).collect();
    all.retain(|ip| ![NODE_V4, NODE_V6].contains(&ip.as_str()));
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), count), (12, 12), "{all:?}");
    Ok(())
    // Dropping the node checks that `beeline stop --kill` leaves nothing.
}

#[test]
fn a_cluster_of_one_family_knows_nothing_of_the_other() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let node = node_of_both_families(&[])?;
    let kubectl = node.kubectl();
    kubectl.apply(&HELLO.replace("  selector: { app: hello }\n  ports:", PREFER_DUAL));
    kubectl.apply(CLIENTS);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=60s"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    for (name, ips) in addresses(&kubectl) {
        assert_eq!(ips.len(), 1, "{name}: {ips:?}");
    }
    assert!(sliced(&kubectl, "IPv6").is_empty());
    let told = kubectl.json(&["get", "nodes"])["items"][0]["status"]["addresses"].to_string();
    assert!(told.contains(NODE_V4) && !told.contains(NODE_V6), "{told}");
    assert_eq!(node.net.ip("-6 route show proto 190")?, "");
    assert!(!node.net.ip("-6 address show dev lo")?.contains("fd"), "only ::1 is there");
    Ok(())
}

#[test]
fn pods_that_run_gain_the_second_family() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = node_of_both_families(&[])?;
    let kubectl = node.kubectl();
    kubectl.apply(HELLO);
    kubectl.apply(CLIENTS);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=60s"]);
    kubectl.run(&["wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s"]);
    let before = addresses(&kubectl);
    node.terminate();
    node.set_arguments(&RANGES);
    node.start()?;
    eventually(LIMIT, "every pod has two addresses", || {
        addresses(&kubectl).iter().all(|(_, ips)| ips.len() == 2)
    });
    let first = |(name, ips): (String, Vec<String>)| (name, ips.into_iter().next());
    let (was, is) = (before.into_iter().map(first), addresses(&kubectl).into_iter().map(first));
    assert!(was.eq(is), "those that they had stay");
    let patch = r#"{"spec":{"ipFamilyPolicy":"PreferDualStack"}}"#;
    kubectl.run(&["patch", "service", "hello", "-p", patch]);
    let ips = texts(&kubectl.json(&["get", "service", "hello"])["spec"]["clusterIPs"]);
    for url in [format!("http://{}/", ips[0]), format!("http://[{}]/", ips[1])] {
        eventually(LIMIT, &format!("{url} answers"), || everybody_is_answered(&node, &url));
    }
    Ok(())
}

#[test]
fn pods_of_several_nodes_reach_each_other_by_both_families() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let cluster = Cluster::up_with_both_families(1, &RANGES)?;
    let [server, agent] = &cluster.nodes[..] else { anyhow::bail!("two nodes were asked for") };
    for node in [server, agent] {
        import_image(node, "hello:1")?;
    }
    let kubectl = server.kubectl();
    kubectl.apply(&HELLO.replace("  selector: { app: hello }\n  ports:", PREFER_DUAL));
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    eventually(LIMIT, "a slice with all three", || sliced(&kubectl, "IPv6").len() == 3);
    let ranges: BTreeSet<String> = sliced(&kubectl, "IPv6")
        .iter()
        .filter_map(|address| address.rsplit_once("::").map(|(range, _)| range.to_owned()))
        .collect();
    assert_eq!(ranges.len(), 2, "pods run on both nodes: {ranges:?}");

    let ips = texts(&kubectl.json(&["get", "service", "hello"])["spec"]["clusterIPs"]);
    for node in [server, agent] {
        let told = kubectl.json(&["get", "node", &node.name])["status"]["addresses"].to_string();
        let number = node.name.trim_start_matches('n');
        assert!(told.contains(&format!("\"2001:db8:77::{number}\"")), "{told}");
        let direct = sliced(&kubectl, "IPv6").into_iter().map(|ip| format!("http://[{ip}]:8080/"));
        for url in direct.chain([format!("http://{}/", ips[0]), format!("http://[{}]/", ips[1])]) {
            let curl = format!("curl -sgf -m 5 {url}");
            eventually(LIMIT, &format!("{url} from {}", node.name), || {
                let from_pod = in_pod(node, &place(node, "hello"), &curl);
                let from_node = node.host_command(&curl).output();
                let both = [from_pod.ok(), from_node.ok()].into_iter().flatten();
                both.filter(is_answer).count() == 2
            });
        }
        let curl = format!("for i in $(seq 30); do curl -sgf -m 5 http://[{}]/; done", ips[1]);
        let said = node.host_command(&curl).output()?;
        let said = String::from_utf8_lossy(&said.stdout).into_owned();
        let names: BTreeSet<&str> = said.lines().collect();
        assert_eq!((said.lines().count(), names.len()), (30, 3), "everybody answers: {said}");
    }
    Ok(())
}

/// In the place of two lines of the example's Service.
const PREFER_DUAL: &str = "  selector: { app: hello }\n  ipFamilyPolicy: PreferDualStack\n  ports:";

/// A ready node with the example image, at an address of each family.
fn node_of_both_families(arguments: &[&str]) -> anyhow::Result<Node> {
    let net = Net::new()?;
    net.ip("link add up0 type veth peer name up1")?;
    for order in ["link set up0 up", "link set up1 up"] {
        net.ip(order)?;
    }
    net.ip(&format!("address add {NODE_V4}/24 dev up0"))?;
    net.ip(&format!("address add {NODE_V6}/64 dev up0 nodad"))?;
    let arguments = arguments.iter().map(ToString::to_string).collect();
    let mut node = Node::new(net, NodeOptions { arguments, ..NodeOptions::default() })?;
    node.start()?;
    import_image(&node, "hello:1")?;
    Ok(node)
}

fn texts(list: &Value) -> Vec<String> {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(|text| text.as_str().map(str::to_owned)).collect()
}

/// The addresses of the example's Service in slices of one family.
fn sliced(kubectl: &Kubectl, kind: &str) -> Vec<String> {
    let label = "kubernetes.io/service-name=hello";
    let slices = kubectl.json(&["get", "endpointslices", "-l", label]);
    let slices = slices["items"].as_array().cloned().unwrap_or_default();
    let of_kind = slices.iter().filter(|slice| slice["addressType"] == kind);
    let endpoints = of_kind.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    endpoints.flat_map(|endpoint| texts(&endpoint["addresses"])).collect()
}

/// Every pod's addresses, as its status says.
fn addresses(kubectl: &Kubectl) -> Vec<(String, Vec<String>)> {
    let pods = kubectl.json(&["get", "pods"])["items"].as_array().cloned().unwrap_or_default();
    let ips = |pod: &Value| {
        let all = pod["status"]["podIPs"].as_array().into_iter().flatten();
        all.map(|ip| ip["ip"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    pods.iter().map(|pod| (name(pod), ips(pod))).collect()
}

/// A command in a pod's place: its network, and its cgroup as far as the kernel's translation goes.
fn in_pod(node: &Node, pod: &Value, script: &str) -> anyhow::Result<Output> {
    let (netns, cgroup) = (text(&pod["netns"]), text(&pod["cgroup"]));
    let join = format!("echo $$ > {cgroup}/cgroup.procs && exec nsenter --net={netns} {script}");
    Ok(node.net.command("bash").args(["-c", &join]).output()?)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// From the node, and from a pod that was there before.
fn everybody_is_answered(node: &Node, url: &str) -> bool {
    let curl = format!("curl -sgf -m 5 {url}");
    let from_node = node.host_command(&curl).output();
    let from_pod = in_pod(node, &remembered(node), &curl);
    [from_node.ok(), from_pod.ok()].into_iter().flatten().filter(is_answer).count() == 2
}

fn is_answer(output: &Output) -> bool {
    output.status.success() && String::from_utf8_lossy(&output.stdout).starts_with("hello-")
}

/// The client's place; when nobody can be asked any more, what was heard before.
fn remembered(node: &Node) -> Value {
    let kept = node.data_dir().join("client-of-the-test");
    if node.pid().is_some() {
        let place = place(node, "client");
        std::fs::write(&kept, place.to_string()).expect("the directory is the test's");
        return place;
    }
    let bytes = std::fs::read(&kept).expect("it was asked before");
    serde_json::from_slice(&bytes).expect("it was written whole")
}

/// By a container's own program, which knows nothing of the test.
fn by_containers(node: &Node, urls: &[String]) {
    let loops: Vec<String> =
        urls.iter().map(|url| format!("for i in $(seq 10); do wget -q -O - {url}; done")).collect();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "caller" },
        "spec": { "restartPolicy": "Never", "containers": [
            { "name": "caller", "image": "hello:1", "command": ["sh", "-c", loops.join("; ")] },
        ]},
    });
    let kubectl = node.kubectl();
    kubectl.apply(&pod.to_string());
    kubectl.wait(LIMIT, &["get", "pod", "caller"], |text| text.contains("Completed"));
    let log = kubectl.run(&["logs", "caller"]);
    assert_eq!(log.lines().filter(|line| line.starts_with("hello-")).count(), 20, "{log}");
    kubectl.run(&["delete", "pod", "caller", "--timeout=60s"]);
}

fn pods_know_their_addresses(kubectl: &Kubectl) {
    let all = addresses(kubectl);
    let of = |wanted: &str| {
        let found = all.iter().find(|(name, _)| name == wanted);
        found.map(|(_, ips)| ips.clone()).unwrap_or_default()
    };
    assert_eq!(of("shares"), [NODE_V4, NODE_V6], "it has the node's");
    let ips = of("client");
    assert_eq!(ips.len(), 2, "{all:?}");
    let log = kubectl.run(&["logs", "client"]);
    assert!(log.contains(&format!("ips={},{}\n", ips[0], ips[1])), "{log}");
    assert!(ips.iter().all(|ip| log.contains(&format!("{ip}\tclient\n"))), "{log}");
}

/// A pod's IPv6 address is its own; with another it reaches nobody, and it is said why.
fn only_own_sources_pass(node: &Node) -> anyhow::Result<()> {
    let kubectl = node.kubectl();
    let client = place(node, "client");
    let to = sliced(&kubectl, "IPv6").swap_remove(0);
    let curl = format!("curl -sgf -m 2 http://[{to}]:8080/");
    let own = in_pod(node, &client, &curl)?;
    assert!(is_answer(&own), "{own:?}");
    let other = "fd42:0:0:ffff::9";
    let added = in_pod(node, &client, &format!("ip -6 address add {other}/128 dev lo nodad"))?;
    assert!(added.status.success(), "{added:?}");
    let forged = in_pod(node, &client, &format!("{curl} --interface {other}"))?;
    assert!(!forged.status.success(), "{forged:?}");
    in_pod(node, &client, &format!("ip -6 address del {other}/128 dev lo"))?;
    eventually(LIMIT, "the flow of a forged source", || {
        let flows = node.ask(&["flows", "--last", "200"]);
        flows.lines().any(|line| line.contains(other) && line.contains("source-check"))
    });
    Ok(())
}
