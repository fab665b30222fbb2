//! What the demo shows: nodes, pods, balance, flows, what the kernel holds, latency. At most 100 columns wide.

use std::{collections::BTreeMap, net::SocketAddrV4, path::Path};

use anyhow::{Context as _, bail};
use beeline_observe::{Flow, Peer, PeerKind, Query};
use serde_json::Value;

use super::{app::App, world::World};
use crate::{
    config::SOCKET,
    local::{Ask, Conversation, ask_one},
    output::{self, Table},
    probe::{self, Latency},
    status::{BackendLine, Services, Status},
};

/// Where the latency probe listens in the single pod.
const PROBE_PORT: u16 = 9999;
/// The newest flows that are shown.
const FLOWS: usize = 8;
/// The longest bar of a chart, in characters.
const BAR_WIDTH: usize = 40;

/// A section: its title, and a line that says what one sees.
fn section(title: &str, what: &str) {
    output::heading(title);
    output::line(what);
}

/// Which nodes there are, and which version of intent each kernel holds.
pub async fn nodes(world: &World) -> anyhow::Result<()> {
    section(
        "Nodes",
        "Every change has an epoch, which a node acknowledges once it is in force in its kernel.",
    );
    let mut table = Table::new(&["NODE", "ADDRESS", "PODS", "EPOCH IN FORCE"]);
    for (index, node) in world.nodes.iter().enumerate() {
        let status: Status = ask_one(&world.run_dir(index).join(SOCKET), &Ask::Status).await?;
        table.row(vec![
            node.name.clone(),
            World::address(index),
            status.pods.len().to_string(),
            status.epoch.to_string(),
        ]);
    }
    table.print();
    Ok(())
}

/// Who runs where.
pub async fn pods(app: &App) -> anyhow::Result<()> {
    section("Pods", "Three web servers, a client that is done, and a single one to measure with.");
    let mut table = Table::new(&["NAME", "STATUS", "IP", "NODE"]);
    for pod in app.pods().await? {
        let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
        table.row(vec![
            text(&pod["metadata"]["name"]),
            text(&pod["status"]["phase"]),
            text(&pod["status"]["podIP"]),
            text(&pod["spec"]["nodeName"]),
        ]);
    }
    table.print();
    Ok(())
}

/// How the requests were spread.
pub async fn balance(app: &App) -> anyhow::Result<()> {
    let answers = app.answers().await?;
    let mut counts = BTreeMap::<&str, usize>::new();
    for answer in &answers {
        *counts.entry(answer).or_default() += 1;
    }
    let failed = counts.remove("failed").unwrap_or(0);
    let even = 100.0 / counts.len().max(1) as f64;
    section(
        "Balance",
        &format!(
            "Who answered the {} requests to the Service; an even share is {even:.1} %.",
            answers.len()
        ),
    );
    let mut table = Table::new(&["POD", "ANSWERS", "SHARE", ""]);
    for (pod, count) in &counts {
        let share = *count as f64 * 100.0 / answers.len().max(1) as f64;
        let bar = "#".repeat(count * BAR_WIDTH / answers.len().max(1));
        table.row(vec![(*pod).to_owned(), count.to_string(), format!("{share:.1} %"), bar]);
    }
    table.print();
    if failed > 0 || counts.is_empty() {
        bail!("{failed} of {} requests failed", answers.len());
    }
    Ok(())
}

/// The newest flows of the client pod, as its node tells them.
pub async fn flows(world: &World, app: &App) -> anyhow::Result<()> {
    section(
        &format!("Flows  (beeline flows --pod default/client --last {FLOWS})"),
        "What the kernel saw of the client's last connections, and which rule let it through.",
    );
    let index = client_node(world, app).await?;
    let query = Query { pod: Some("default/client".into()), last: Some(FLOWS), ..Query::default() };
    let ask = Ask::Flows { query, follow: false };
    let mut answers = Conversation::ask(&world.run_dir(index).join(SOCKET), &ask).await?;
    let mut table = Table::new(&["TIME", "FROM", "TO", "SERVICE", "VERDICT", "RULE"]);
    while let Some(flow) = answers.next::<Flow>().await? {
        let service =
            flow.service.as_ref().map_or("-".into(), |service| short(&service.to_string()));
        table.row(vec![
            flow.time.strftime("%H:%M:%S%.3f").to_string(),
            peer(&flow.source, flow.ip.source),
            peer(&flow.destination, flow.ip.destination),
            service,
            flow.verdict.name().to_owned(),
            flow.rule.to_string(),
        ]);
    }
    table.print();
    Ok(())
}

fn peer(peer: &Peer, address: std::net::IpAddr) -> String {
    match peer.kind {
        PeerKind::Pod => peer.pod_name.to_string(),
        PeerKind::Host | PeerKind::Node => peer.node_name.to_string(),
        PeerKind::World | PeerKind::Service | PeerKind::Unknown => address.to_string(),
    }
}

/// Everything of the demo is in namespace `default`; saying so in each line helps nobody.
fn short(name: &str) -> String {
    name.trim_start_matches("default/").to_owned()
}

/// What the kernel of the client's node holds.
pub async fn services(world: &World, app: &App) -> anyhow::Result<()> {
    let index = client_node(world, app).await?;
    section(
        "Kernel  (beeline services)",
        &format!(
            "The Services in the maps of {}, and the connections from there to each backend.",
            world.nodes[index].name
        ),
    );
    let services: Services = ask_one(&world.run_dir(index).join(SOCKET), &Ask::Services).await?;
    let mut table = Table::new(&["SERVICE", "FRONTEND", "BACKEND", "POD", "OPEN", "TOTAL"]);
    for frontend in &services.frontends {
        let name = short(&format!("{}:{}", frontend.service, frontend.port_name));
        let mut first = [name, format!("{}/{}", frontend.address, frontend.protocol)];
        for BackendLine { address, pod, open, total, .. } in &frontend.backends {
            let mut row: Vec<String> = first.iter_mut().map(std::mem::take).collect();
            row.extend([address.clone(), short(pod), open.to_string(), total.to_string()]);
            table.row(row);
        }
    }
    table.print();
    Ok(())
}

async fn client_node(world: &World, app: &App) -> anyhow::Result<usize> {
    let pods = app.pods().await?;
    let client = pods
        .iter()
        .find(|pod| pod["metadata"]["name"] == "client")
        .context("find the client pod")?;
    let node = client["spec"]["nodeName"].as_str().unwrap_or_default();
    node_index(world, node).context("find the node of the client pod")
}

fn node_index(world: &World, name: &str) -> Option<usize> {
    world.nodes.iter().position(|node| node.name == name)
}

/// How long connecting takes.
pub struct Latencies {
    direct: Latency,
    service: Latency,
}

/// Connect through a Service beside connecting to its pod.
pub async fn measure(world: &World, app: &App, connects: u32) -> anyhow::Result<Latencies> {
    let pods = app.pods().await?;
    let single = pods
        .iter()
        .find(|pod| pod["metadata"]["labels"]["app"] == "single")
        .context("find the pod of `single`")?;
    let node = single["spec"]["nodeName"].as_str().unwrap_or_default();
    let index = node_index(world, node).context("find the node of `single`")?;
    let status: Status = ask_one(&world.run_dir(index).join(SOCKET), &Ask::Status).await?;
    let place = |name: &str| -> anyhow::Result<probe::Place> {
        let pod = status.pods.iter().find(|pod| pod.name.starts_with(name));
        let pod = pod.with_context(|| format!("find the sandbox of {name} on {node}"))?;
        Ok(pod.place())
    };
    let _listener = probe::Listener::start(&place("single-")?, PROBE_PORT)?;
    let client = place("hello-").or_else(|_| place("single-"))?;
    let direct: SocketAddrV4 =
        format!("{}:{PROBE_PORT}", single["status"]["podIP"].as_str().unwrap_or_default())
            .parse()
            .context("the address of `single`")?;
    let service: SocketAddrV4 =
        app.probe_address().await?.parse().context("the address of the Service")?;
    let found = probe::measure(&client, &[direct, service], connects).await?;
    let [direct, service] = found[..] else { bail!("the probe gave {} figures", found.len()) };
    Ok(Latencies { direct, service })
}

/// The same as a table.
pub fn latency(found: &Latencies, connects: u32) {
    section(
        "Latency",
        &format!(
            "Connecting from pod to pod on one node in microseconds: {connects} times each way, interleaved."
        ),
    );
    let mut table = Table::new(&["", "P50", "P90", "P99", "P50 / DIRECT"]);
    for (name, latency) in
        [("direct to the pod", found.direct), ("through the Service", found.service)]
    {
        let figure = |value: f64| format!("{value:.1}");
        table.row(vec![
            name.into(),
            figure(latency.p50_us),
            figure(latency.p90_us),
            figure(latency.p99_us),
            format!("{:.3}", latency.p50_us / found.direct.p50_us),
        ]);
    }
    table.print();
}

/// How to use a world that is kept: commands that work as they are printed.
pub async fn keep(world: &World) -> anyhow::Result<()> {
    let address = App::new(world.api()?, 0).service_address("hello").await?;
    let program = std::env::current_exe()?;
    let enter = format!("nsenter --net={}", world.netns(0).display());
    let kubeconfig = world.kubeconfig();
    let kubectl = format!("{enter} kubectl --kubeconfig {}", kubeconfig.display());
    let beeline = program.display();
    let look = |index: usize| {
        let path = |path: &Path| path.display().to_string();
        format!(
            "--data-dir {} --run-dir {}",
            path(&world.data_dir(index)),
            path(&world.run_dir(index))
        )
    };
    let join = world.cgroup(0).join("cgroup.procs");
    section("The cluster runs until Ctrl-C", "In another shell, as root:");
    for (what, command) in [
        ("the pods", format!("{kubectl} get pods -o wide")),
        ("more of them", format!("{kubectl} scale deploy/hello --replicas=5")),
        ("what a pod printed", format!("{kubectl} logs client --tail=3")),
        (
            "a request from node-1 itself",
            format!(
                "{enter} sh -c 'echo $$ > {}; busybox wget -q -O - http://{address}/'",
                join.display()
            ),
        ),
        (
            "connections on all nodes",
            format!("{enter} {beeline} flows --kubeconfig {}", kubeconfig.display()),
        ),
        ("connections on node-1 as they come", format!("{beeline} flows --follow {}", look(0))),
        ("what the kernel of node-2 holds", format!("{beeline} services {}", look(1))),
        ("how node-1 is", format!("{beeline} status {}", look(0))),
    ] {
        output::line(&format!("\n  # {what}\n  {command}"));
    }
    Ok(())
}
