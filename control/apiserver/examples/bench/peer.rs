//! The peer: an etcd of one member on the same disk, written to by as many clients.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use beeline_kit::Tasks;
use beeline_store::{Etcd, EtcdOptions, Store as _};
use tokio::process::{Child, Command};

use crate::figures::{self, Latencies};

/// An etcd that runs. It ends with this.
pub(crate) struct Peer {
    _child: Child,
    store: Arc<Etcd>,
}

impl Peer {
    /// None if there is no etcd here.
    pub(crate) async fn start(data: &Path, tasks: &Tasks) -> anyhow::Result<Option<Self>> {
        let listeners = [TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?];
        let [client, peer] = &listeners;
        let url = format!("http://{}", client.local_addr()?);
        let peer = format!("http://{}", peer.local_addr()?);
        drop(listeners);
        let mut command = Command::new("etcd");
        command.args(["--name", "m1", "--log-level", "error", "--logger", "zap", "--data-dir"]);
        command.arg(data);
        command.args(["--listen-client-urls", &url, "--advertise-client-urls", &url]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("m1={peer}")]).kill_on_drop(true);
        let child = match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            child => child?,
        };
        let start = Instant::now();
        let store = loop {
            match Etcd::connect(EtcdOptions::new(vec![url.clone()]), tasks).await {
                Ok(store) => break store,
                Err(error) => ensure!(start.elapsed() < Duration::from_secs(30), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        Ok(Some(Self { _child: child, store }))
    }

    /// Creates by so many clients, per second, and how long each took.
    pub(crate) async fn creates(
        &self,
        round: usize,
        clients: usize,
        run: Duration,
        value: &[u8],
    ) -> anyhow::Result<(f64, Latencies)> {
        let start = Instant::now();
        let mut running = tokio::task::JoinSet::new();
        for client in 0..clients {
            let (store, value) = (Arc::clone(&self.store), value.to_vec());
            running.spawn(async move {
                let (mut all, mut n) = (Latencies::default(), 0);
                while start.elapsed() < run {
                    let asked = Instant::now();
                    let key = format!("/bench/{round}/{client}/{n}");
                    store.create(&key, value.clone().into()).await?;
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
}
