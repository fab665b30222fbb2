//! What a connection from a pod costs through a Service, beside the same connection straight to the backend.

use std::net::SocketAddrV4;

use anyhow::{Context as _, bail};

use super::{Figure, Progress, Report};
use crate::{
    cli::Output,
    demo::{
        app::{self, App},
        world::{self, World},
    },
    local::{Ask, ask_one},
    probe::{self, Latency},
    status::Status,
};

/// Where the probe listens.
const PORT: u16 = 9999;
/// The spread is over these. Within a round, direct connections and those through the Service alternate.
const ROUNDS: u32 = 10;

/// One round.
#[derive(Clone, Copy, Debug)]
struct Round {
    direct: Latency,
    service: Latency,
}

/// Measure and print.
pub async fn run(connects: u32, how: Output) -> anyhow::Result<()> {
    let progress = Progress::new(ROUNDS as usize + 1);
    progress.step("start a cluster");
    world::remove_leftovers()?;
    let mut world = World::prepare()?;
    let image = world.folder().join("hello.tar");
    crate::image::example(app::IMAGE, &image)?;
    world.start(1).await?;
    world.import(&image).await?;
    let app = App::new(world.api()?, 0);
    app.deploy_idle("client", 1).await?;
    app.deploy_one("single", 1).await?;
    let socket = world.run_dir(0).join(crate::config::SOCKET);
    let status: Status = ask_one(&socket, &Ask::Status).await?;
    let pod = |name: &str| {
        let found = status.pods.iter().find(|pod| pod.name.starts_with(name));
        found.with_context(|| format!("find the pod of {name}"))
    };
    let (client, server) = (pod("client-")?.place(), pod("single-")?);
    let _listener = probe::Listener::start(&server.place(), PORT)?;
    let direct: SocketAddrV4 =
        format!("{}:{PORT}", server.address).parse().context("the pod's address")?;
    let service: SocketAddrV4 =
        app.probe_address().await?.parse().context("the Service's address")?;
    let each = connects.div_ceil(ROUNDS);
    let mut rounds = Vec::new();
    for number in 1..=ROUNDS {
        progress.step(&format!("round {number} of {ROUNDS}: {each} connections each way"));
        let found = probe::measure(&client, &[direct, service], each).await?;
        let [direct, service] = found[..] else { bail!("the probe gave {} figures", found.len()) };
        rounds.push(Round { direct, service });
    }
    progress.finish();
    world.remove()?;
    Report::new("connect", rounds.len(), figures(&rounds)).print(how)
}

fn figures(rounds: &[Round]) -> Vec<Figure> {
    let figure = |name: &str, unit: &'static str, at_most: Option<f64>, pick: fn(&Round) -> f64| {
        Figure::new(name, unit, at_most, rounds.iter().map(pick).collect())
    };
    vec![
        figure("direct to the pod, p50", "us", None, |round| round.direct.p50_us),
        figure("through the Service, p50", "us", None, |round| round.service.p50_us),
        figure("direct to the pod, p99", "us", None, |round| round.direct.p99_us),
        figure("through the Service, p99", "us", None, |round| round.service.p99_us),
        figure("through / direct at p50", "ratio", Some(1.05), |round| {
            round.service.p50_us / round.direct.p50_us
        }),
    ]
}
