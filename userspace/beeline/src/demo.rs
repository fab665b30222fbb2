//! `beeline demo`: a throwaway three-node cluster in namespaces, with an example app behind a Service.
//!
//! Nothing of it touches the machine's own network: each node lives in a namespace without a default
//! route, joined to the others by a bridge in a fourth. What a killed demo left is removed by the next.

pub mod app;
mod report;
pub mod world;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{cli::DemoArgs, output, process};
use world::World;

/// The nodes of the demo.
const NODES: usize = 3;

/// How the demo came to its end.
enum End {
    Played,
    Interrupted(SignalKind),
}

/// Run the demo to its end, or until Ctrl-C, and remove everything it made.
pub fn run(args: &DemoArgs) -> anyhow::Result<()> {
    if !rustix::process::geteuid().is_root() {
        anyhow::bail!(
            "the demo needs root: it creates namespaces and loads programs into the kernel. Run it with sudo"
        );
    }
    output::outlive_reader();
    let mut end = End::Played;
    process::block_on(async {
        // Listened to before anything exists that only we would remove.
        let mut signals = Signals::new()?;
        world::remove_leftovers()?;
        let mut world = World::prepare()?;
        output::line(
            "Three nodes on this machine, each in a network namespace of its own; nothing outside is touched.\n",
        );
        let outcome = tokio::select! {
            outcome = play(&mut world, args) => outcome,
            kind = signals.wait() => {
                output::note("\ninterrupted");
                end = End::Interrupted(kind);
                Ok(())
            }
        };
        let outcome = match (outcome, &end) {
            (Ok(()), End::Played) if args.keep => {
                report::keep(&world).await?;
                signals.wait().await;
                output::note("");
                Ok(())
            }
            (outcome, _) => outcome,
        };
        if matches!(end, End::Played) {
            output::line("");
        }
        step("removing everything again", async { world.remove() }).await?;
        outcome
    })?;
    match end {
        End::Played => Ok(()),
        // As shells report a program that a signal ended. The world is gone by now.
        End::Interrupted(kind) => std::process::exit(128 + kind.as_raw_value()),
    }
}

async fn play(world: &mut World, args: &DemoArgs) -> anyhow::Result<()> {
    let image = world.folder().join("hello.tar");
    step("building the example image", async { crate::image::example(app::IMAGE, &image) }).await?;
    step("starting three nodes, two of them joining the first", world.start(NODES)).await?;
    step("importing the image on each node", world.import(&image)).await?;
    let app = app::App::new(world.api()?, args.requests);
    step("deploying hello: 3 replicas behind a Service", app.deploy()).await?;
    let requests = format!("sending {} requests to the Service from a client pod", args.requests);
    step(&requests, app.send_requests()).await?;
    let connects = format!("measuring {} connections, direct and through a Service", args.connects);
    let latencies = step(&connects, report::measure(world, &app, args.connects)).await?;
    report::nodes(world).await?;
    report::pods(&app).await?;
    report::balance(&app).await?;
    report::flows(world, &app).await?;
    report::services(world, &app).await?;
    report::latency(&latencies, args.connects);
    Ok(())
}

/// Say what is done, do it, say how long it took.
async fn step<T>(what: &str, work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let start = Instant::now();
    let bar = indicatif::ProgressBar::new_spinner().with_message(format!("{what} ..."));
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

/// What asks the demo to end: Ctrl-C, `kill`, a terminal that was closed.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).context("listen for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listen for SIGTERM")?,
            hangup: signal(SignalKind::hangup()).context("listen for SIGHUP")?,
        })
    }

    async fn wait(&mut self) -> SignalKind {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt(),
            _ = self.terminate.recv() => SignalKind::terminate(),
            _ = self.hangup.recv() => SignalKind::hangup(),
        }
    }
}
