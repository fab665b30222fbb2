//! Real etcds on loopback, gone with the test.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses another part of these"
)]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Member {
    child: Child,
    dir: tempfile::TempDir,
    place: Place,
    initial_cluster: String,
    /// Files of certificates, if it wants them.
    secure: Option<Secure>,
}

/// PEM files: who vouches for both sides, and the member's own.
#[derive(Clone)]
pub struct Secure {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// Where a member is.
#[derive(Clone)]
struct Place {
    name: String,
    client_port: u16,
    peer_port: u16,
}

impl Member {
    /// One for itself.
    pub async fn start() -> Self {
        Self::cluster(1).await.remove(0)
    }

    /// One that speaks to those alone who have a certificate.
    pub async fn start_secure(secure: Secure) -> Self {
        Self::cluster_with(1, Some(secure)).await.remove(0)
    }

    /// Some that are one cluster.
    pub async fn cluster(count: usize) -> Vec<Self> {
        Self::cluster_with(count, None).await
    }

    async fn cluster_with(count: usize, secure: Option<Secure>) -> Vec<Self> {
        let places: Vec<Place> = (0..count)
            .map(|number| {
                let [client_port, peer_port] = free_ports();
                Place { name: format!("m{number}"), client_port, peer_port }
            })
            .collect();
        let peers: Vec<String> =
            places.iter().map(|place| format!("{}={}", place.name, place.peer_url())).collect();
        let members: Vec<Self> = places
            .into_iter()
            .map(|place| {
                let (dir, initial_cluster) = (tempfile::tempdir().unwrap(), peers.join(","));
                let secure = secure.clone();
                let child = run(&dir, &place, &initial_cluster, secure.as_ref());
                Self { child, dir, place, initial_cluster, secure }
            })
            .collect();
        for member in &members {
            member.ready().await;
        }
        members
    }

    pub fn url(&self) -> String {
        self.place.client_url(self.secure.is_some())
    }

    /// kill -9, and the same again on the same data.
    pub async fn restart(&mut self) {
        self.stop();
        self.child = run(&self.dir, &self.place, &self.initial_cluster, self.secure.as_ref());
        self.ready().await;
    }

    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// It listens once there is a leader.
    async fn ready(&self) {
        let start = Instant::now();
        while std::net::TcpStream::connect(("127.0.0.1", self.place.client_port)).is_err() {
            assert!(start.elapsed() < Duration::from_secs(30), "etcd does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Place {
    fn client_url(&self, secure: bool) -> String {
        let scheme = if secure { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.client_port)
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }
}

fn run(
    dir: &tempfile::TempDir,
    place: &Place,
    initial_cluster: &str,
    secure: Option<&Secure>,
) -> Child {
    let (client, peer) = (place.client_url(secure.is_some()), place.peer_url());
    let mut command = Command::new("etcd");
    if let Some(Secure { ca, certificate, key }) = secure {
        command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(ca);
        command.arg("--cert-file").arg(certificate).arg("--key-file").arg(key);
    }
    command.args(["--name", &place.name, "--data-dir"]).arg(dir.path());
    command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
    command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
    command.args(["--initial-cluster", initial_cluster]);
    // They are on one machine, and must take the largest value and what is around it.
    command.args(["--heartbeat-interval", "20", "--election-timeout", "200"]);
    command.args(["--max-request-bytes", "2097152", "--logger", "zap", "--log-level", "error"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.spawn() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!(
                "there is no etcd on the PATH: `cargo xtask setup` installs it (Debian's etcd-server)"
            )
        }
        other => other.unwrap(),
    }
}

/// Ports that nobody has now; whoever takes one meanwhile makes the test fail loudly.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
