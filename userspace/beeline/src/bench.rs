//! `beeline bench`: figures of this host, each in a throwaway world like the demo's.

use std::{
    net::SocketAddrV4,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::Serialize;

use crate::{
    cli::{BenchCommand, Output},
    demo::{
        app::{self, App},
        world::{self, World},
    },
    local::{Ask, ask_one},
    output::{self, Table},
    probe, process,
    status::Status,
};

/// How long an idle process is watched.
const IDLE: Duration = Duration::from_secs(10);
/// How long it may settle before.
const SETTLE: Duration = Duration::from_secs(3);
/// Where the connect probe listens.
const PROBE_PORT: u16 = 9999;
/// Rounds of the connect benchmark: the spread is over these.
const CONNECT_ROUNDS: u32 = 5;

/// Carry out the command.
pub fn run(command: &BenchCommand) -> anyhow::Result<()> {
    match *command {
        BenchCommand::Boot { runs, output } => process::block_on(boot(runs, output)),
        BenchCommand::Connect { connects, output } => process::block_on(connect(connects, output)),
    }
}

/// One run of the boot benchmark.
#[derive(Clone, Copy, Debug, Serialize)]
struct Boot {
    ready_s: f64,
    deployment_s: f64,
    rss_mib: f64,
    idle_cpu_percent: f64,
}

async fn boot(runs: u32, how: Output) -> anyhow::Result<()> {
    let bar = indicatif::ProgressBar::new(runs.into()).with_message("boot");
    let mut all = Vec::new();
    for _ in 0..runs {
        all.push(boot_once().await?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if how == Output::Json {
        output::line(&serde_json::to_string(&all)?);
        return Ok(());
    }
    let mut table = Table::new(&["FIGURE", "MEDIAN", "MIN", "MAX", "WANTED"]);
    let mut row = |name: &str, wanted: &str, pick: fn(&Boot) -> f64| {
        let values = sorted(all.iter().map(pick).collect());
        let text = |value: Option<&f64>| value.map_or("-".into(), |value| format!("{value:.2}"));
        table.row(vec![
            name.into(),
            text(values.get(values.len() / 2)),
            text(values.first()),
            text(values.last()),
            wanted.into(),
        ]);
    };
    row("empty disk to Ready, s", "<= 3", |run| run.ready_s);
    row("3 replicas applied to all Ready, s", "<= 3", |run| run.deployment_s);
    row("idle memory (RSS), MiB", "<= 80", |run| run.rss_mib);
    row("idle processor time, % of a core", "<= 1", |run| run.idle_cpu_percent);
    table.print();
    Ok(())
}

async fn boot_once() -> anyhow::Result<Boot> {
    world::remove_leftovers()?;
    let mut world = World::prepare()?;
    let image = world.folder().join("hello.tar");
    crate::image::example(app::IMAGE, &image)?;
    let start = Instant::now();
    world.start(1).await?;
    let ready_s = start.elapsed().as_secs_f64();
    world.import(&image).await?;
    let app = App::new(world.api()?, 0);
    let pid = world.node_pid(0).context("the node's process")?;
    tokio::time::sleep(SETTLE).await;
    let before = processor_ticks(pid)?;
    tokio::time::sleep(IDLE).await;
    let ticks = processor_ticks(pid)? - before;
    let rss_mib = rss_kib(pid)? / 1024.0;
    let start = Instant::now();
    app.deploy_one("hello", 3).await?;
    let deployment_s = start.elapsed().as_secs_f64();
    world.remove()?;
    // USER_HZ is 100 on every architecture that we run on (sysconf(3), _SC_CLK_TCK).
    let idle_cpu_percent = ticks / IDLE.as_secs_f64();
    Ok(Boot { ready_s, deployment_s, rss_mib, idle_cpu_percent })
}

/// User and system time of a process so far, in hundredths of a second: fields 14 and 15 of proc(5)'s stat.
fn processor_ticks(pid: u32) -> anyhow::Result<f64> {
    let text =
        std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read the process's times")?;
    let (_, after_name) = text.rsplit_once(')').context("understand the process's times")?;
    let fields: Vec<f64> =
        after_name.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    Ok(fields.iter().sum())
}

fn rss_kib(pid: u32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .context("read the process's memory")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("find VmRSS")?;
    line.trim().trim_end_matches(" kB").trim().parse().context("understand VmRSS")
}

/// One round of the connect benchmark.
#[derive(Clone, Copy, Debug, Serialize)]
struct Connect {
    direct: probe::Latency,
    service: probe::Latency,
    ratio_p50: f64,
}

async fn connect(connects: u32, how: Output) -> anyhow::Result<()> {
    world::remove_leftovers()?;
    let mut world = World::prepare()?;
    let image = world.folder().join("hello.tar");
    crate::image::example(app::IMAGE, &image)?;
    world.start(1).await?;
    world.import(&image).await?;
    let app = App::new(world.api()?, 0);
    app.deploy_one("hello", 1).await?;
    app.deploy_one("single", 1).await?;
    let status: Status =
        ask_one(&world.run_dir(0).join(crate::config::SOCKET), &Ask::Status).await?;
    let pod = |name: &str| {
        let found = status.pods.iter().find(|pod| pod.name.starts_with(name));
        found.with_context(|| format!("find the pod of {name}"))
    };
    let server = pod("single-")?;
    let _listener = probe::Listener::start(&server.place(), PROBE_PORT)?;
    let direct: SocketAddrV4 =
        format!("{}:{PROBE_PORT}", server.address).parse().context("the pod's address")?;
    let service: SocketAddrV4 =
        app.probe_address().await?.parse().context("the Service's address")?;
    let bar = indicatif::ProgressBar::new(CONNECT_ROUNDS.into()).with_message("connect");
    let mut rounds = Vec::new();
    for _ in 0..CONNECT_ROUNDS {
        let found =
            probe::measure(&pod("hello-")?.place(), &[direct, service], connects / CONNECT_ROUNDS)
                .await?;
        let [direct, service] = found[..] else { bail!("the probe gave {} figures", found.len()) };
        rounds.push(Connect { direct, service, ratio_p50: service.p50_us / direct.p50_us });
        bar.inc(1);
    }
    bar.finish_and_clear();
    world.remove()?;
    report(&rounds, how)
}

fn report(rounds: &[Connect], how: Output) -> anyhow::Result<()> {
    if how == Output::Json {
        output::line(&serde_json::to_string(rounds)?);
        return Ok(());
    }
    let mut table = Table::new(&["FIGURE", "MEDIAN", "MIN", "MAX", "WANTED"]);
    let mut row = |name: &str, wanted: &str, pick: fn(&Connect) -> f64| {
        let values = sorted(rounds.iter().map(pick).collect());
        let text = |value: Option<&f64>| value.map_or("-".into(), |value| format!("{value:.3}"));
        table.row(vec![
            name.into(),
            text(values.get(values.len() / 2)),
            text(values.first()),
            text(values.last()),
            wanted.into(),
        ]);
    };
    row("direct to the pod, p50 us", "", |round| round.direct.p50_us);
    row("through the Service, p50 us", "", |round| round.service.p50_us);
    row("direct to the pod, p99 us", "", |round| round.direct.p99_us);
    row("through the Service, p99 us", "", |round| round.service.p99_us);
    row("through / direct at p50", "<= 1.05", |round| round.ratio_p50);
    table.print();
    Ok(())
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}
