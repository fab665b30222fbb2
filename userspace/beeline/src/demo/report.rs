//! What the demo shows: pods, balance, flows, what the kernel holds, latency.

use std::{collections::BTreeMap, net::SocketAddrV4};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{app::App, world::World};
use crate::{
    local::{Ask, ask_one},
    output::{self, Table},
    probe,
    status::Status,
};

/// Where the latency probe listens in the single pod.
const PROBE_PORT: u16 = 9999;

/// Who runs where.
pub async fn pods(app: &App) -> anyhow::Result<()> {
    output::heading("Pods");
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
    output::heading("Balance over the backends");
    let answers = app.answers().await?;
    let mut counts = BTreeMap::<&str, usize>::new();
    for answer in &answers {
        *counts.entry(answer).or_default() += 1;
    }
    let failed = counts.remove("failed").unwrap_or(0);
    let mut table = Table::new(&["POD", "ANSWERS", ""]);
    for (pod, count) in &counts {
        let bar = "#".repeat(count * 40 / answers.len().max(1));
        table.row(vec![(*pod).to_owned(), count.to_string(), bar]);
    }
    table.print();
    if failed > 0 || counts.is_empty() {
        bail!("{failed} of {} requests failed", answers.len());
    }
    Ok(())
}

/// The newest flows of the client pod, as its node tells them.
pub async fn flows(world: &World, app: &App) -> anyhow::Result<()> {
    output::heading("Flows of the client pod  (beeline flows --pod default/client --last 8)");
    let index = client_node(world, app).await?;
    let mut command = world.command(&["flows"], index);
    show(command.args(["--pod", "default/client", "--last", "8"]))
}

/// What the kernel of the client's node holds.
pub async fn services(world: &World, app: &App) -> anyhow::Result<()> {
    let index = client_node(world, app).await?;
    output::heading(&format!(
        "What the kernel of {} holds  (beeline services)",
        world.nodes[index].name
    ));
    show(&mut world.command(&["services"], index))
}

async fn client_node(world: &World, app: &App) -> anyhow::Result<usize> {
    let pods = app.pods().await?;
    let client = pods
        .iter()
        .find(|pod| pod["metadata"]["name"] == "client")
        .context("find the client pod")?;
    let node = client["spec"]["nodeName"].as_str().unwrap_or_default();
    world
        .nodes
        .iter()
        .position(|found| found.name == node)
        .context("find the node of the client pod")
}

fn show(command: &mut std::process::Command) -> anyhow::Result<()> {
    let output = command.output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    String::from_utf8_lossy(&output.stdout).lines().for_each(output::line);
    Ok(())
}

/// Connecting through a Service beside connecting to its pod.
pub async fn latency(world: &World, app: &App, connects: u32) -> anyhow::Result<()> {
    output::heading("Connect latency, pod to pod on one node, interleaved");
    let pods = app.pods().await?;
    let single = pods
        .iter()
        .find(|pod| pod["metadata"]["labels"]["app"] == "single")
        .context("find the pod of `single`")?;
    let node = single["spec"]["nodeName"].as_str().unwrap_or_default();
    let index =
        world.nodes.iter().position(|n| n.name == node).context("find the node of `single`")?;
    let status: Status =
        ask_one(&world.run_dir(index).join(crate::config::SOCKET), &Ask::Status).await?;
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
    let found = probe::measure(&client, &[direct, service], connects)?;
    let [direct, service] = found.as_slice() else {
        bail!("the probe gave {} figures", found.len())
    };
    let mut table = Table::new(&["", "p50 us", "p90 us", "p99 us"]);
    for (name, latency) in [("direct to the pod", direct), ("through the Service", service)] {
        let figure = |value: f64| format!("{value:.1}");
        table.row(vec![
            name.into(),
            figure(latency.p50_us),
            figure(latency.p90_us),
            figure(latency.p99_us),
        ]);
    }
    table.print();
    output::line(&format!(
        "through / direct at p50: {:.3} ({connects} connections each)",
        service.p50_us / direct.p50_us
    ));
    Ok(())
}

/// How to use a world that is kept.
pub fn keep(world: &World) {
    output::heading("The cluster runs until Ctrl-C");
    output::line(&format!(
        "  nsenter --net={} kubectl --kubeconfig {} get pods -o wide",
        world.netns(0).display(),
        world.kubeconfig().display()
    ));
    output::line(&format!(
        "  beeline flows -f --data-dir {} --run-dir {}",
        world.data_dir(0).display(),
        world.run_dir(0).display()
    ));
}
