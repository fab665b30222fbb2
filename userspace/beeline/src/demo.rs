//! `beeline demo`: a throwaway three-node cluster in namespaces, with an example app behind a Service.
//!
//! Nothing of it touches the machine's own network: each node lives in a namespace without a default
//! route, joined to the others by a bridge in a fourth. What a killed demo left is removed by the next.

pub mod app;
mod report;
pub mod world;

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::{cli::DemoArgs, output, process};
use world::World;

/// The nodes of the demo.
const NODES: usize = 3;

/// Run the demo to its end, or until Ctrl-C, and remove everything it made.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        anyhow::bail!(
            "the demo needs root: it creates namespaces and loads programs into the kernel. Run it with sudo"
        );
    }
    process::block_on(async {
        world::remove_leftovers()?;
        let mut world = World::prepare()?;
        let outcome = tokio::select! {
            outcome = play(&mut world, args) => outcome,
            signal = interrupted() => signal.map(|()| output::note("\ninterrupted")),
        };
        step("removing everything again", async { world.remove() }).await?;
        outcome
    })
}

async fn play(world: &mut World, args: &DemoArgs) -> anyhow::Result<()> {
    let image = world.folder().join("hello.tar");
    step("building the example image", async { crate::image::example(app::IMAGE, &image) }).await?;
    step("starting three nodes in namespaces", world.start(NODES)).await?;
    step("importing the image on each node", world.import(&image)).await?;
    let client = world.api()?;
    let app = app::App::new(client, args.requests);
    step("deploying hello: 3 replicas behind a Service", app.deploy()).await?;
    report::pods(&app).await?;
    step(&format!("sending {} requests from a client pod", args.requests), app.send_requests())
        .await?;
    report::balance(&app).await?;
    report::flows(world, &app).await?;
    report::services(world, &app).await?;
    report::latency(world, &app, args.connects).await?;
    if args.keep {
        report::keep(world);
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Say what is done, do it, say how long it took.
async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let start = Instant::now();
    let bar = indicatif::ProgressBar::new_spinner().with_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    let result = work.await.with_context(|| what.to_owned());
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(_) => output::line(&format!("  ok  {what} ({seconds:.1} s)")),
        Err(_) => output::line(&format!("FAIL  {what} ({seconds:.1} s)")),
    }
    result
}

async fn interrupted() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listen for SIGTERM")?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
