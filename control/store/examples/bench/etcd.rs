//! The peer: an etcd of one member on the same disk, with as many clients as there are writers.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use beeline_kit::Tasks;
use beeline_store::{Etcd, EtcdOptions, Store};

/// The same puts as ours, per second; `None` if there is no etcd here.
pub async fn puts(dir: &Path, writers: u64) -> anyhow::Result<Option<f64>> {
    let data = tempfile::tempdir_in(dir)?;
    let Some(member) = Member::start(data.path())? else { return Ok(None) };
    let tasks = Tasks::new();
    let store = connect(&member.url, &tasks).await?;
    let rate = crate::puts(store as Arc<dyn Store>, writers).await?;
    tasks.stop(Duration::from_secs(5)).await;
    Ok(Some(rate))
}

async fn connect(url: &str, tasks: &Tasks) -> anyhow::Result<Arc<Etcd>> {
    let start = Instant::now();
    loop {
        match Etcd::connect(EtcdOptions::new(vec![url.to_owned()]), tasks).await {
            Ok(store) => return Ok(store),
            Err(error) => ensure!(start.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A process that ends with this.
struct Member {
    child: Child,
    url: String,
}

impl Member {
    fn start(data: &Path) -> anyhow::Result<Option<Self>> {
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
        command.args(["--initial-cluster", &format!("m1={peer}")]);
        match command.stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => Ok(Some(Self { child, url })),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
