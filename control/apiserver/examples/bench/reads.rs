//! Reads: one object by name, and a list of many pods with the memory that it takes.
#![expect(clippy::cast_precision_loss, reason = "figures to read")]

use std::time::{Duration, Instant};

use beeline_kit::Tasks;
use bytes::Bytes;
use serde_json::json;

use crate::Size;
use crate::client::Client;
use crate::figures;
use crate::server::Serving;

const CLIENTS: usize = 32;
const PODS: &str = "/api/v1/namespaces/default/pods";

pub(crate) async fn measure(serving: &Serving, size: Size, tasks: &Tasks) -> anyhow::Result<()> {
    fill(serving, size.pods, tasks).await?;
    let mut rates = Vec::new();
    for _ in 0..size.rounds {
        rates.push(gets(serving, Duration::from_secs(size.seconds), tasks).await?);
    }
    figures::line("GET by name, 32 clients, per second", &figures::spread(&rates, 0), ">= 30000");
    let (mut speeds, mut grown) = (Vec::new(), Vec::new());
    for _ in 0..size.rounds {
        let (speed, share) = list(serving, tasks).await?;
        speeds.push(speed);
        grown.push(share);
    }
    let of = format!("LIST of {} pods, MB/s", size.pods);
    figures::line(&of, &figures::spread(&speeds, 0), ">= 200");
    let grown = figures::spread(&grown, 2);
    figures::line("  memory it takes, in sizes of the answer", &grown, "<= 2");
    Ok(())
}

async fn fill(serving: &Serving, pods: usize, tasks: &Tasks) -> anyhow::Result<()> {
    let mut running = tokio::task::JoinSet::new();
    for part in 0..CLIENTS {
        let mut client = Client::connect(serving, tasks).await?;
        running.spawn(async move {
            for n in (part..pods).step_by(CLIENTS) {
                client.ask("POST", PODS, pod(n)).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(one) = running.join_next().await {
        one??;
    }
    Ok(())
}

fn pod(n: usize) -> Bytes {
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": format!("p-{n}"), "labels": { "app": "bench", "part": format!("{}", n % 10) } },
        "spec": { "containers": [{
            "name": "main", "image": "example.test/app:1", "args": ["--listen", ":8080"],
            "ports": [{ "name": "http", "containerPort": 8080 }],
            "env": [{ "name": "MODE", "value": "bench" }],
            "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
            "readinessProbe": { "httpGet": { "path": "/ready", "port": "http" } },
        }] },
    });
    Bytes::from(pod.to_string())
}

async fn gets(serving: &Serving, run: Duration, tasks: &Tasks) -> anyhow::Result<f64> {
    let mut connections = Vec::new();
    for _ in 0..CLIENTS {
        connections.push(Client::connect(serving, tasks).await?);
    }
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for (number, mut client) in connections.into_iter().enumerate() {
        running.spawn(async move {
            let mut count = 0;
            while start.elapsed() < run {
                let path = format!("{PODS}/p-{}", (number + count * 7) % 1_000);
                client.ask("GET", &path, Bytes::new()).await?;
                count += 1;
            }
            anyhow::Ok(count)
        });
    }
    let mut count = 0;
    while let Some(one) = running.join_next().await {
        count += one??;
    }
    Ok(figures::per_second(count, start.elapsed()))
}

/// Megabytes per second, and the growth of the server's memory meanwhile over the answer's size.
async fn list(serving: &Serving, tasks: &Tasks) -> anyhow::Result<(f64, f64)> {
    let mut client = Client::connect(serving, tasks).await?;
    serving.forget_peak()?;
    let (before, _) = serving.memory()?;
    let start = Instant::now();
    let length = client.ask("GET", PODS, Bytes::new()).await?;
    let took = start.elapsed();
    let (_, peak) = serving.memory()?;
    let grown = peak.saturating_sub(before) as f64 / length as f64;
    Ok((figures::per_second(length, took) / 1e6, grown))
}
