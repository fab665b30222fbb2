//! Three nodes: a server and agents that joined it, each in a namespace of its own, joined by a switch.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use beeline_test_cluster::{HELLO, LIMIT, backends, import_image, place, service_ip};
use beeline_test_support::{Cluster, Node, beeline, eventually, skip, within};
use serde_json::{Value, json};

/// A node whose agent is silent is given up after its Lease has lapsed, 40 s, and a round of the controller.
const NOT_READY_LIMIT: Duration = Duration::from_secs(120);
/// The body that crosses nodes whole.
const BODY_BYTES: usize = 1 << 20;

/// The example app on every node with an agent, and a UDP port beside its HTTP.
fn deploy(cluster: &Cluster, workers: &[usize]) -> anyhow::Result<()> {
    for worker in workers {
        import_image(&cluster.nodes[*worker], "hello:1")?;
    }
    let kubectl = cluster.nodes[0].kubectl();
    kubectl.apply(HELLO);
    kubectl.apply(
        r"
apiVersion: v1
kind: Service
metadata: { name: datagrams }
spec:
  selector: { app: hello }
  ports: [{ name: ask, port: 53, targetPort: 9953, protocol: UDP }]
",
    );
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    for worker in workers {
        let node = &cluster.nodes[*worker];
        for service in ["default/hello", "default/datagrams"] {
            eventually(LIMIT, &format!("{service} in the kernel of {}", node.name), || {
                backends(node, service) == 3
            });
        }
    }
    Ok(())
}

/// The pods of the app and the nodes that they run on.
fn spread(cluster: &Cluster) -> BTreeMap<String, String> {
    let pods = cluster.nodes[0].kubectl().json(&["get", "pods", "-l", "app=hello"]);
    let pods = pods["items"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    pods.iter()
        .map(|pod| (text(&pod["metadata"]["name"]), text(&pod["spec"]["nodeName"])))
        .collect()
}

/// A probe in the place of a pod, told by closing its input to end.
struct Probe {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Probe {
    fn start(node: &Node, pod: &str, work: &Value) -> anyhow::Result<Self> {
        let orders = json!({ "place": place(node, pod), "work": work });
        let mut child = Command::new(beeline())
            .args(["probe", &orders.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        Ok(Self { child, output })
    }

    fn ready(mut self) -> anyhow::Result<Self> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        anyhow::ensure!(line.trim() == "ready", "the probe said {line:?}");
        Ok(self)
    }

    /// Let it end, and read the last line that it printed.
    fn end(mut self) -> anyhow::Result<Value> {
        drop(self.child.stdin.take());
        let lines: Vec<_> = self.output.by_ref().lines().collect::<Result<_, _>>()?;
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "the probe failed: {status}");
        Ok(serde_json::from_str(lines.last().map_or("null", String::as_str))?)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Who answered requests that a node's own process sent to an address.
fn answers(node: &Node, ip: &str, requests: u32) -> BTreeMap<String, u32> {
    let script =
        format!("for i in $(seq {requests}); do curl -sf -m 10 http://{ip}/ || echo failed; done");
    let output = node.host_command(&script).output().expect("bash runs");
    let mut answers = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        *answers.entry(line.to_owned()).or_default() += 1;
    }
    answers
}

/// What `beeline status` of the server says of a part.
fn part(server: &Node, name: &str) -> Option<(bool, String)> {
    let status: Value = serde_json::from_str(&server.ask(&["status", "-o", "json"])).ok()?;
    let parts = status["parts"].as_array()?.clone();
    let part = parts.iter().find(|part| part["name"] == name)?;
    Some((part["healthy"].as_bool()?, part["detail"].as_str()?.to_owned()))
}

/// Wait until every node has acknowledged all that it was sent.
fn all_in_force(cluster: &Cluster, nodes: &[&str]) {
    for node in nodes {
        within(LIMIT, &format!("{node} acknowledges"), || {
            let (_, detail) =
                part(&cluster.nodes[0], &format!("feed to {node}")).ok_or("no line")?;
            let numbers: Vec<u64> =
                detail.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            match numbers[..] {
                [in_force, sent]
                    if in_force == sent && sent > 0 && detail.starts_with("connected") =>
                {
                    Ok(())
                }
                _ => Err(detail),
            }
        });
    }
}

#[test]
fn pods_services_logs_and_flows_reach_across_nodes() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let cluster = Cluster::up(2)?;
    deploy(&cluster, &[0, 1, 2])?;
    let kubectl = cluster.nodes[0].kubectl();
    let listed = kubectl.run(&["get", "nodes", "-o", "wide"]);
    for (index, node) in cluster.nodes.iter().enumerate() {
        assert!(
            listed.contains(&node.name) && listed.contains(&format!("192.0.2.{}", index + 1)),
            "{listed}"
        );
    }
    assert_eq!(listed.matches(" Ready ").count(), 3, "{listed}");
    let pods = spread(&cluster);
    assert_eq!(pods.values().collect::<BTreeSet<_>>().len(), 3, "one on each node: {pods:?}");
    all_in_force(&cluster, &["n1", "n2", "n3"]);

    // Requests from every node are balanced over all pods, wherever they run.
    let ip = service_ip(&cluster.nodes[0], "hello");
    for node in &cluster.nodes {
        let answers = answers(node, &ip, 60);
        assert_eq!(
            answers.keys().collect::<Vec<_>>(),
            pods.keys().collect::<Vec<_>>(),
            "{answers:?}"
        );
        assert!(answers.values().all(|count| *count >= 5), "from {}: {answers:?}", node.name);
    }
    bodies(&cluster, &pods)?;
    datagrams(&cluster, &pods)?;

    // Logs come from whichever node the pod is on.
    for (pod, node) in &pods {
        kubectl.run(&["label", "pod", pod, &format!("on={node}")]);
        let said = kubectl.run(&["logs", pod]);
        assert!(said.is_empty(), "the server prints nothing: {said}");
    }
    talkers(&cluster);
    flows(&cluster);
    strangers(&cluster)
}

/// A pod on each node that prints where it is; its log is read through the server.
fn talkers(cluster: &Cluster) {
    let kubectl = cluster.nodes[0].kubectl();
    for node in &cluster.nodes {
        kubectl.apply(&format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{ name: talker-{0} }}
spec:
  nodeName: {0}
  restartPolicy: Never
  containers:
    - name: talker
      image: hello:1
      command: [sh, -c, "for i in $(seq 2000); do echo line $i of {0}; done"]
"#,
            node.name
        ));
    }
    for node in &cluster.nodes {
        let pod = format!("talker-{}", node.name);
        let log = kubectl.run(&["logs", "-f", "--pod-running-timeout=60s", &pod]);
        assert_eq!(log.lines().count(), 2000, "{pod}");
        assert!(log.ends_with(&format!("line 2000 of {}\n", node.name)), "{pod}");
        assert_eq!(
            kubectl.run(&["logs", &pod, "--tail=1"]),
            format!("line 2000 of {}\n", node.name)
        );
    }
}

/// A body of a megabyte arrives whole from every pod at every node, also where links take smaller packets.
fn bodies(cluster: &Cluster, pods: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let of_node = |name: &str| cluster.nodes.iter().find(|node| node.name == name);
    for (pod, name) in pods {
        let node = of_node(name).expect("pods run on nodes");
        let status: Value = serde_json::from_str(&node.ask(&["status", "-o", "json"]))?;
        let lines = status["pods"].as_array().cloned().unwrap_or_default();
        let line = lines.iter().find(|line| line["name"] == pod.as_str()).expect("it runs here");
        // The pod's server is a child of the process that holds the pod.
        let script = format!(
            "for pid in $(cat {}/cgroup.procs $(find {} -name cgroup.procs)); do \
             test -d /proc/$pid/root/tmp/www && head -c {BODY_BYTES} /dev/zero > /proc/$pid/root/tmp/www/body && exit 0; done; exit 1",
            line["cgroup"].as_str().unwrap_or_default(),
            line["cgroup"].as_str().unwrap_or_default(),
        );
        let made = Command::new("bash").args(["-c", &script]).output()?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
    let ip = service_ip(&cluster.nodes[0], "hello");
    for mtu in [1500, 1280] {
        for node in &cluster.nodes {
            node.net.ip(&format!("link set eth0 mtu {mtu}"))?;
        }
        for node in &cluster.nodes {
            let script = format!(
                "for i in $(seq 12); do curl -sf -m 20 http://{ip}/body | wc -c; done | sort | uniq -c"
            );
            let output = node.host_command(&script).output()?;
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let counts: Vec<_> = said.split_whitespace().collect();
            assert_eq!(
                counts,
                ["12", &BODY_BYTES.to_string()],
                "at {}, links of {mtu}: {said}",
                node.name
            );
        }
        pod_to_pod(cluster, &ip, mtu);
    }
    for node in &cluster.nodes {
        node.net.ip("link set eth0 mtu 1500")?;
    }
    Ok(())
}

/// The same from pods: their packets are forwarded, not sent, by their node.
fn pod_to_pod(cluster: &Cluster, ip: &str, mtu: u32) {
    let kubectl = cluster.nodes[0].kubectl();
    for node in &cluster.nodes {
        kubectl.apply(&format!(
            r#"
apiVersion: v1
kind: Pod
metadata: {{ name: reader-{mtu}-{0} }}
spec:
  nodeName: {0}
  restartPolicy: Never
  containers:
    - name: reader
      image: hello:1
      command: [sh, -c, "for i in $(seq 12); do wget -q -O - http://{ip}/body | wc -c; done | sort | uniq -c"]
"#,
            node.name
        ));
    }
    for node in &cluster.nodes {
        let pod = format!("reader-{mtu}-{}", node.name);
        kubectl.wait(LIMIT, &["get", "pod", &pod], |text| text.contains("Completed"));
        let said = kubectl.run(&["logs", &pod]);
        let counts: Vec<_> = said.split_whitespace().collect();
        assert_eq!(counts, ["12", &BODY_BYTES.to_string()], "{pod}: {said}");
    }
}

/// UDP: from a pod on each node, to all pods, small and large.
fn datagrams(cluster: &Cluster, pods: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let node_of = |name: &str| cluster.nodes.iter().find(|node| node.name == name);
    let mut servers = Vec::new();
    for (pod, node) in pods {
        let work = json!({ "answer": { "port": 9953, "text": pod } });
        let node = node_of(node).expect("pods run on nodes");
        servers.push(Probe::start(node, pod, &work)?.ready()?);
    }
    let ip = service_ip(&cluster.nodes[0], "datagrams");
    for node in &cluster.nodes {
        for bytes in [1, 1400, 8000] {
            let work = json!({ "datagrams": { "target": format!("{ip}:53"), "count": 60, "bytes": bytes } });
            let counts = Probe::start(node, "hello-", &work)?.end()?;
            let counts = counts.as_object().cloned().unwrap_or_default();
            assert_eq!(
                counts.keys().collect::<Vec<_>>(),
                pods.keys().collect::<Vec<_>>(),
                "{counts:?}"
            );
            let total: u64 = counts.values().filter_map(Value::as_u64).sum();
            assert_eq!(total, 60, "from {}: {counts:?}", node.name);
        }
    }
    servers.into_iter().try_for_each(|server| server.end().map(drop))
}

/// What `beeline flows --kubeconfig` prints, and what it complains of.
fn merged_flows(cluster: &Cluster, last: usize) -> (Vec<Value>, String) {
    let server = &cluster.nodes[0];
    let output = server
        .net
        .command(&beeline().to_string_lossy())
        .args(["flows", "--service=default/hello", "-o", "json", &format!("--last={last}")])
        .arg("--kubeconfig")
        .arg(server.data_dir().join("admin.kubeconfig"))
        .output()
        .expect("the binary was found before");
    let text = String::from_utf8_lossy(&output.stdout);
    let flows = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (flows, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// All nodes are asked, and the answers merged by time.
fn flows(cluster: &Cluster) {
    within(LIMIT, "flows of all nodes", || {
        let (flows, complaint) = merged_flows(cluster, 2000);
        let text = |flow: &Value, field: &str| flow[field].as_str().unwrap_or_default().to_owned();
        let nodes: BTreeSet<_> = flows.iter().map(|flow| text(flow, "node_name")).collect();
        let whole = |flow: &Value| text(flow, "time").trim_end_matches('Z').to_owned();
        assert!(flows.iter().is_sorted_by_key(whole), "by time");
        let wanted = cluster.nodes.iter().all(|node| nodes.contains(&node.name));
        if wanted { Ok(()) } else { Err(format!("{nodes:?} of {} flows {complaint}", flows.len())) }
    });
}

/// Nodes on one kernel: each has its own pods, links, cgroups and maps, and the end of one is nothing to the others.
fn strangers(cluster: &Cluster) -> anyhow::Result<()> {
    let mut instances = BTreeSet::new();
    let mut everywhere = BTreeMap::<String, Vec<String>>::new();
    for node in &cluster.nodes {
        let status: Value = serde_json::from_str(&node.ask(&["status", "-o", "json"]))?;
        let instance = status["instance"].as_str().unwrap_or_default().to_owned();
        let links = node.net.ip("-o link show")?;
        let ours: Vec<_> = links.lines().filter(|line| line.contains(": bl")).collect();
        let prefix = format!(": bl{}", &instance[..4]);
        assert!(ours.iter().all(|line| line.contains(&prefix)), "{instance}: {ours:#?}");
        let pods = status["pods"].as_array().cloned().unwrap_or_default();
        assert_eq!(ours.len(), pods.len(), "a link for each pod: {ours:#?} {pods:#?}");
        for pod in pods {
            let name = pod["name"].as_str().unwrap_or_default().to_owned();
            everywhere.entry(name).or_default().push(node.name.clone());
            assert!(pod["cgroup"].as_str().is_some_and(|path| path.contains(&instance)), "{pod}");
        }
        assert!(instances.insert(instance), "every node is an instance of its own");
    }
    assert!(
        everywhere.values().all(|nodes| nodes.len() == 1),
        "seen by one node each: {everywhere:?}"
    );

    // Connections that one node's processes make are counted by that node alone.
    let ip = service_ip(&cluster.nodes[0], "hello");
    let before: Vec<_> = cluster.nodes.iter().map(opened).collect();
    answers(&cluster.nodes[1], &ip, 30);
    let after: Vec<_> = cluster.nodes.iter().map(opened).collect();
    let more: Vec<_> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    assert_eq!(more, [0, 30, 0], "counted by the node of the caller");

    // One ends with all it has; the others do not notice.
    let others = [&cluster.nodes[0], &cluster.nodes[1]];
    let running = |node: &Node| node.ask(&["status", "-o", "json"]).matches("\"uid\"").count();
    let before = others.map(running);
    cluster.nodes[2].ask(&["stop", "--kill"]);
    assert_eq!(others.map(running), before);
    for node in others {
        let status: Value = serde_json::from_str(&node.ask(&["status", "-o", "json"]))?;
        let sandbox = status["pods"].as_array().and_then(|pods| {
            pods.iter()
                .find(|pod| pod["name"].as_str().is_some_and(|name| name.starts_with("hello-")))
                .cloned()
        });
        let address =
            sandbox.and_then(|pod| pod["address"].as_str().map(str::to_owned)).unwrap_or_default();
        let said = node.host_command(&format!("curl -sf -m 10 http://{address}:8080/")).output()?;
        assert!(
            String::from_utf8_lossy(&said.stdout).starts_with("hello-"),
            "{address} on {}",
            node.name
        );
    }
    Ok(())
}

/// Connections to the example app that a node has counted.
fn opened(node: &Node) -> u64 {
    let services: Value =
        serde_json::from_str(&node.ask(&["services", "-o", "json"])).unwrap_or_default();
    let frontends = services["frontends"].as_array().cloned().unwrap_or_default();
    let hello = frontends.iter().filter(|frontend| frontend["service"] == "default/hello");
    let backends =
        hello.flat_map(|frontend| frontend["backends"].as_array().cloned().unwrap_or_default());
    backends.filter_map(|backend| backend["total"].as_u64()).sum()
}

#[test]
fn an_agent_comes_back_with_its_certificate_or_is_missed() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut cluster = Cluster::up(2)?;
    deploy(&cluster, &[0, 1, 2])?;
    let kubectl = cluster.nodes[0].kubectl();
    let columns = "custom-columns=NAME:.metadata.name,UID:.metadata.uid,IP:.status.podIP,RESTARTS:.status.containerStatuses[0].restartCount";
    let pods = || kubectl.run(&["get", "pods", "--sort-by=.metadata.name", "-o", columns]);
    let before = pods();

    // Killed: its pods answer on, from other nodes too.
    cluster.nodes[1].kill();
    let ip = service_ip(&cluster.nodes[0], "hello");
    let while_dead = answers(&cluster.nodes[0], &ip, 60);
    assert_eq!(while_dead.len(), 3, "pods of the dead agent answer: {while_dead:?}");
    eventually(LIMIT, "the server notices", || {
        part(&cluster.nodes[0], "feed to n2").is_some_and(|(healthy, _)| !healthy)
    });

    // Back without a token: the certificate is enough.
    cluster.nodes[1].set_arguments(&["--server=https://192.0.2.1:6443", "--node-ip=192.0.2.2"]);
    cluster.nodes[1].start()?;
    all_in_force(&cluster, &["n1", "n2", "n3"]);
    assert_eq!(pods(), before, "the same pods, without a restart");
    kubectl.run(&["scale", "deploy/hello", "--replicas=6"]);
    kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
    let on: BTreeSet<_> = spread(&cluster).into_values().collect();
    assert_eq!(on.len(), 3, "the node that came back takes pods: {on:?}");

    // Gone for good: its Lease lapses, and nothing new goes there.
    cluster.nodes[2].terminate();
    kubectl.wait(NOT_READY_LIMIT, &["get", "node", "n3"], |text| text.contains("NotReady"));
    let ready = kubectl.run(&["get", "nodes"]);
    assert_eq!(ready.matches(" Ready ").count(), 2, "{ready}");
    // Pods of a node that nobody hears of are no backends any more.
    for node in &cluster.nodes[..2] {
        eventually(LIMIT, "its pods are left out", || backends(node, "default/hello") == 4);
    }
    let without = answers(&cluster.nodes[0], &ip, 60);
    assert!(!without.contains_key("failed") && without.len() == 4, "{without:?}");

    // Who asks for something of it is told, and is given what the others have.
    let pods = spread(&cluster);
    let (pod, _) = pods.iter().find(|(_, node)| *node == "n3").expect("pods outlive their agent");
    let complaint = kubectl.fail(&["logs", pod]);
    assert!(complaint.contains("node \"n3\" is not connected"), "{complaint}");
    let (flows, complaint) = merged_flows(&cluster, 100);
    assert!(!flows.is_empty() && complaint.contains("node \"n3\" is not connected"), "{complaint}");

    // And it comes back from that too.
    cluster.nodes[2].start()?;
    kubectl.wait(LIMIT, &["get", "node", "n3"], |text| text.contains(" Ready "));
    for node in &cluster.nodes {
        eventually(LIMIT, "its pods are back", || backends(node, "default/hello") == 6);
    }
    Ok(())
}

#[test]
fn the_server_restarts_and_no_request_is_lost() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut cluster = Cluster::server(2)?;
    deploy(&cluster, &[1, 2])?;
    let ip = service_ip(&cluster.nodes[0], "hello");
    let work = json!({ "request": { "target": format!("{ip}:80"), "per_second": 100 } });
    let probes = [
        Probe::start(&cluster.nodes[1], "hello-", &work)?.ready()?,
        Probe::start(&cluster.nodes[2], "hello-", &work)?.ready()?,
    ];
    for round in 0..4 {
        match round % 2 {
            0 => cluster.nodes[0].kill(),
            _ => cluster.nodes[0].terminate(),
        }
        for agent in &cluster.nodes[1..] {
            within(LIMIT, "the agent notices and goes on", || {
                let said = agent.ask(&["status", "-o", "json"]);
                let down =
                    said.contains("down, pods and connections go on") || said.contains("dialling");
                if down && said.contains("\"ready\":true") { Ok(()) } else { Err(said) }
            });
        }
        cluster.nodes[0].start()?;
        all_in_force(&cluster, &["n2", "n3"]);
        // What is asked for now arrives.
        let kubectl = cluster.nodes[0].kubectl();
        let replicas = 4 - round % 2;
        kubectl.run(&["scale", "deploy/hello", &format!("--replicas={replicas}")]);
        kubectl.run(&["rollout", "status", "deploy/hello", "--timeout=90s"]);
        for node in &cluster.nodes[1..] {
            eventually(LIMIT, "the change is in every kernel", || {
                backends(node, "default/hello") == replicas
            });
        }
    }
    for probe in probes {
        let load = probe.end()?;
        assert_eq!(load["failed"], 0, "{load}");
        assert!(load["sent"].as_u64().is_some_and(|sent| sent > 100), "{load}");
    }
    Ok(())
}

#[test]
fn tokens_that_are_wrong_are_refused_in_words() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let cluster = Cluster::server(0)?;
    let token = cluster.token();
    let parts: Vec<_> = token.split('.').collect();
    let [version, hash, secret] = parts[..] else { panic!("a token of another form") };
    let other = |text: &str| -> String {
        text.chars().map(|sign| if sign == 'a' { 'b' } else { 'a' }).collect()
    };
    for (token, complaint) in [
        ("nonsense".to_owned(), "understand --token"),
        (format!("{version}.{}.{secret}", other(hash)), "trust the server at 192.0.2.1:6443"),
        (
            format!("{version}.{hash}.{}", other(secret)),
            "join token refused: it is not this cluster's",
        ),
    ] {
        let mut agent = cluster.agent(&token)?;
        agent.spawn()?;
        within(LIMIT, "the agent gives up", || agent.ended().ok_or(agent.log()));
        assert!(agent.ended().is_some_and(|status| !status.success()));
        let log = agent.log();
        assert!(log.contains(complaint), "{complaint:?} in {log}");
        assert!(!log.contains(secret), "a token is never logged");
    }
    let nodes = cluster.nodes[0].kubectl().output(&["get", "nodes"]);
    assert!(nodes.status.success() && nodes.stdout.is_empty(), "nobody joined");

    // A second node of a name that is taken is sent away, and the first does not notice.
    let mut first = cluster.agent(&token)?;
    let mut second = cluster.agent(&token)?;
    second.name.clone_from(&first.name);
    first.start()?;
    second.spawn()?;
    within(LIMIT, "the second gives up", || second.ended().ok_or(second.log()));
    assert!(second.log().contains("is connected already"), "{}", second.log());
    let line = part(&cluster.nodes[0], &format!("feed to {}", first.name));
    assert!(line.is_some_and(|(healthy, _)| healthy), "the first is connected");

    // A certificate of another cluster opens nothing either.
    let stranger = Cluster::server(1)?;
    let mut agent = cluster.agent(&token)?;
    let folder = agent.data_dir().join("node-pki");
    std::fs::create_dir_all(&folder)?;
    for file in ["ca.crt", "node.crt", "node.key"] {
        std::fs::copy(stranger.nodes[1].data_dir().join("node-pki").join(file), folder.join(file))?;
    }
    agent.spawn()?;
    within(LIMIT, "the agent says why", || {
        let log = agent.log();
        if log.contains("certificate") { Ok(()) } else { Err(log) }
    });
    assert!(
        part(&cluster.nodes[0], &format!("feed to {}", agent.name)).is_none(),
        "it is not let in"
    );
    Ok(())
}
