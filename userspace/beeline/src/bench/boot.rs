//! From an empty disk to a cluster with pods, and what it uses when it has nothing to do.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::{Figure, Progress, Report, usage};
use crate::{
    cli::Output,
    demo::{
        app::{self, App},
        world::{self, World},
    },
    local::{Ask, ask_one},
    status::Status,
};

/// How long idle processes are watched.
const IDLE: Duration = Duration::from_secs(10);
/// How long they may settle before.
const SETTLE: Duration = Duration::from_secs(3);
/// What is told apart in a run, for the progress.
const STEPS: usize = 6;

/// One run.
#[derive(Clone, Copy, Debug)]
struct Run {
    ready_s: f64,
    idle: Idle,
    deployment_s: f64,
    again_s: f64,
    many_s: f64,
    idle_with_pods: Idle,
    pod_resident_mib: f64,
    pod_share_mib: f64,
    pods_processor: f64,
}

/// A process with nothing to do.
#[derive(Clone, Copy, Debug)]
struct Idle {
    resident_mib: f64,
    processor: f64,
}

/// Measure and print.
pub async fn run(runs: u32, pods: u64, how: Output) -> anyhow::Result<()> {
    let progress = Progress::new(runs as usize * STEPS);
    let mut all = Vec::new();
    for number in 1..=runs {
        let step = |text: &str| progress.step(&format!("run {number} of {runs}: {text}"));
        all.push(once(pods, step).await?);
    }
    progress.finish();
    let figure = |name: &str, unit: &'static str, at_most: Option<f64>, pick: fn(&Run) -> f64| {
        Figure::new(name, unit, at_most, all.iter().map(pick).collect())
    };
    let many = format!("{pods} more pods applied to all Ready");
    let with = |what: &str| format!("idle with {pods} pods: {what}");
    let figures = vec![
        figure("empty disk to Ready, API answering", "s", Some(3.0), |run| run.ready_s),
        figure("Deployment of 3 applied to all Ready", "s", Some(3.0), |run| run.deployment_s),
        figure("killed, started again with 3 pods, to Ready", "s", None, |run| run.again_s),
        figure(&many, "s", None, |run| run.many_s),
        figure("idle: resident memory", "MiB", Some(80.0), |run| run.idle.resident_mib),
        figure("idle: processor", "% of a core", Some(1.0), |run| run.idle.processor),
        figure(&with("resident memory"), "MiB", None, |run| run.idle_with_pods.resident_mib),
        figure(&with("processor"), "% of a core", None, |run| run.idle_with_pods.processor),
        figure("shim of a pod: resident memory", "MiB", None, |run| run.pod_resident_mib),
        figure("shim of a pod: its share of memory", "MiB", None, |run| run.pod_share_mib),
        figure(&with("all shims' processor"), "% of a core", None, |run| run.pods_processor),
    ];
    Report::new("boot", all.len(), figures).print(how)
}

async fn once(pods: u64, step: impl Fn(&str)) -> anyhow::Result<Run> {
    world::remove_leftovers()?;
    let mut world = World::prepare()?;
    let image = world.folder().join("hello.tar");
    crate::image::example(app::IMAGE, &image)?;

    step("start on an empty disk");
    let start = Instant::now();
    world.start(1).await?;
    let app = App::new(world.api()?, 0);
    app.client.get("/readyz").await.context("ask the API whether it is ready")?;
    let ready_s = start.elapsed().as_secs_f64();

    step("idle");
    let node = world.node_pid(0).context("the node's process")?;
    let idle = watch(node).await?;

    step("a Deployment of 3");
    world.import(&image).await?;
    let start = Instant::now();
    app.deploy_one("hello", 3).await?;
    let deployment_s = start.elapsed().as_secs_f64();

    step("kill, start again");
    let start = Instant::now();
    world.restart_first().await?;
    let again_s = start.elapsed().as_secs_f64();
    app.remove("hello").await?;

    step("many pods");
    let start = Instant::now();
    app.deploy_idle("many", pods).await?;
    let many_s = start.elapsed().as_secs_f64();

    step("idle with pods");
    let node = world.node_pid(0).context("the node's process")?;
    let idle_with_pods = watch(node).await?;
    let status: Status =
        ask_one(&world.run_dir(0).join(crate::config::SOCKET), &Ask::Status).await?;
    let shims: Vec<u32> = status.pods.iter().map(|pod| pod.pid).collect();
    let pods_processor = usage::processor(&shims, IDLE).await?;
    let memory = shims.iter().map(|pid| usage::memory(*pid)).collect::<Result<Vec<_>, _>>()?;
    let count = f64::from(u32::try_from(memory.len().max(1))?);
    let pod_resident_mib = memory.iter().map(|one| one.resident).sum::<f64>() / count;
    let pod_share_mib = memory.iter().map(|one| one.share).sum::<f64>() / count;
    world.remove()?;
    Ok(Run {
        ready_s,
        idle,
        deployment_s,
        again_s,
        many_s,
        idle_with_pods,
        pod_resident_mib,
        pod_share_mib,
        pods_processor,
    })
}

async fn watch(pid: u32) -> anyhow::Result<Idle> {
    tokio::time::sleep(SETTLE).await;
    let processor = usage::processor(&[pid], IDLE).await?;
    Ok(Idle { resident_mib: usage::memory(pid)?.resident, processor })
}
