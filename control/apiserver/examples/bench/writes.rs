//! Durable creates of 1 KiB objects, beside what etcd itself takes from as many clients, interleaved.

use std::path::Path;
use std::time::{Duration, Instant};

use beeline_kit::Tasks;
use bytes::Bytes;

use crate::Size;
use crate::client::Client;
use crate::figures::{self, Latencies};
use crate::peer::Peer;
use crate::server::Serving;

const CLIENTS: usize = 32;
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// A ConfigMap that is stored in about 1 KiB.
pub(crate) fn object(name: &str) -> Bytes {
    let filling = "x".repeat(800);
    Bytes::from(format!(
        r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"a":"{filling}"}}}}"#
    ))
}

pub(crate) async fn measure(
    serving: &Serving,
    dir: &Path,
    size: Size,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let peer = Peer::start(&dir.join("etcd"), tasks).await?;
    let run = Duration::from_secs(size.seconds);
    let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let (mut tails, mut single) = (Vec::new(), Vec::new());
    for round in 0..size.rounds {
        let (rate, mut all) = creates(serving, round, CLIENTS, run, tasks).await?;
        ours.push(rate);
        tails.push(all.quantile(0.99));
        if let Some(peer) = &peer {
            let (raw, _) = peer.creates(round, CLIENTS, run, &[1; 1024]).await?;
            theirs.push(raw);
            ratios.push(rate / raw);
        }
        let (_, mut alone) = creates(serving, size.rounds + round, 1, run, tasks).await?;
        single.push(alone.quantile(0.5));
    }
    figures::line("creates of 1 KiB, 32 clients, per second", &figures::spread(&ours, 0), "");
    figures::line("etcd's own creates, 32 clients, per second", &figures::spread(&theirs, 0), "");
    figures::line("  ratio", &figures::spread(&ratios, 2), ">= 0.6");
    figures::line("  p99, ms", &figures::spread(&tails, 1), "<= 15");
    figures::line("create, one client, p50, ms", &figures::spread(&single, 2), "<= 1");
    Ok(())
}

async fn creates(
    serving: &Serving,
    round: usize,
    clients: usize,
    run: Duration,
    tasks: &Tasks,
) -> anyhow::Result<(f64, Latencies)> {
    let mut connections = Vec::new();
    for _ in 0..clients {
        connections.push(Client::connect(serving, tasks).await?);
    }
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for (number, mut client) in connections.into_iter().enumerate() {
        running.spawn(async move {
            let (mut all, mut n) = (Latencies::default(), 0);
            while start.elapsed() < run {
                let body = object(&format!("w-{round}-{number}-{n}"));
                let asked = Instant::now();
                client.ask("POST", MAPS, body).await?;
                all.push(asked.elapsed());
                n += 1;
            }
            anyhow::Ok(all)
        });
    }
    let mut all = Latencies::default();
    while let Some(one) = running.join_next().await {
        all.extend(one??);
    }
    Ok((figures::per_second(all.len(), start.elapsed()), all))
}
