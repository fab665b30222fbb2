//! An etcd of one member, for benchmarks that stand beside it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A process that ends with this.
pub struct Etcd {
    child: Child,
    url: String,
}

impl Etcd {
    /// Starts one on loopback, with its data in that folder; it may take a moment to answer. `None` if there is no etcd here.
    pub fn start(data: &Path) -> anyhow::Result<Option<Self>> {
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

    /// Where clients reach it.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
