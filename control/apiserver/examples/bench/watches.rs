//! Watches: many of one kind, from a write to its last delivery, and how many events they take.
#![expect(clippy::cast_precision_loss, reason = "figures to read")]

use std::time::{Duration, Instant};

use anyhow::Context as _;
use beeline_kit::Tasks;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;

use crate::Size;
use crate::client::{Client, Shared};
use crate::figures::{self, Latencies};
use crate::server::Serving;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";
/// Watches of one connection.
const STREAMS: usize = 100;
/// Writes whose deliveries are timed, one at a time.
const PACED: usize = 100;
/// Writes as fast as they go.
const BURST: usize = 1_000;

pub(crate) async fn measure(serving: &Serving, size: Size, tasks: &Tasks) -> anyhow::Result<()> {
    let path = format!("{LEASES}?watch=true&resourceVersion=0");
    let (told, mut seen) = mpsc::channel(64 * 1024);
    for _ in 0..size.watchers.div_ceil(STREAMS) {
        let connection = Shared::connect(serving, tasks).await?;
        for _ in 0..STREAMS.min(size.watchers) {
            let body = connection.stream(&path).await?;
            tasks.spawn("bench-watch", follow(body, told.clone()));
        }
    }
    let watchers = size.watchers.div_ceil(STREAMS) * STREAMS.min(size.watchers);
    let mut writer = Client::connect(serving, tasks).await?;
    let mut latencies = Latencies::default();
    for n in 0..PACED {
        let start = Instant::now();
        writer.ask("POST", LEASES, lease(&format!("paced-{n}"))).await?;
        expect(&mut seen, watchers).await?;
        latencies.push(start.elapsed());
    }
    let of = format!("{watchers} watchers, write to last delivery, p50 and p99, ms");
    let both = format!("{:.1} {:.1}", latencies.quantile(0.5), latencies.quantile(0.99));
    figures::line(&of, &both, "p99 <= 20");
    let start = Instant::now();
    let mut writers = tokio::task::JoinSet::new();
    for part in 0..16 {
        let mut writer = Client::connect(serving, tasks).await?;
        writers.spawn(async move {
            for n in (part..BURST).step_by(16) {
                writer.ask("POST", LEASES, lease(&format!("burst-{n}"))).await?;
            }
            anyhow::Ok(())
        });
    }
    expect(&mut seen, watchers * BURST).await?;
    let rate = (watchers * BURST) as f64 / start.elapsed().as_secs_f64();
    while let Some(one) = writers.join_next().await {
        one??;
    }
    figures::line("  events delivered per second", &format!("{rate:.0}"), ">= 500000");
    Ok(())
}

/// Says how many events came with each piece of the stream.
async fn follow(mut body: hyper::body::Incoming, told: mpsc::Sender<usize>) {
    while let Some(Ok(frame)) = body.frame().await {
        let lines = frame.data_ref().map_or(0, |data| data.iter().filter(|b| **b == b'\n').count());
        if lines > 0 && told.send(lines).await.is_err() {
            return;
        }
    }
}

async fn expect(seen: &mut mpsc::Receiver<usize>, events: usize) -> anyhow::Result<()> {
    let mut left = events;
    let all = async {
        while left > 0 {
            left = left.saturating_sub(seen.recv().await.context("all watches have ended")?);
        }
        anyhow::Ok(())
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), all).await;
    waited.unwrap_or_else(|_| anyhow::bail!("events are missing after 60 s"))
}

fn lease(name: &str) -> Bytes {
    Bytes::from(format!(
        r#"{{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{{"name":"{name}"}},"spec":{{"holderIdentity":"bench"}}}}"#
    ))
}
