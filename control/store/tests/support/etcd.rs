//! Real etcds on loopback, gone with the test.
#![expect(clippy::unwrap_used, reason = "helpers of tests, where a panic is the report")]
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "each test program uses another part of these"
)]

use std::io::ErrorKind;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub struct Member {
    child: Child,
    dir: tempfile::TempDir,
    place: Place,
    initial_cluster: String,
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

    /// Some that are one cluster.
    pub async fn cluster(count: usize) -> Vec<Self> {
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
                Self { child: run(&dir, &place, &initial_cluster), dir, place, initial_cluster }
            })
            .collect();
        for member in &members {
            member.ready().await;
        }
        members
    }

    pub fn url(&self) -> String {
        self.place.client_url()
    }

    /// kill -9, and the same again on the same data.
    pub async fn restart(&mut self) {
        self.stop();
        self.child = run(&self.dir, &self.place, &self.initial_cluster);
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
    fn client_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    fn peer_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.peer_port)
    }
}

fn run(dir: &tempfile::TempDir, place: &Place, initial_cluster: &str) -> Child {
    let (client, peer) = (place.client_url(), place.peer_url());
    let mut command = Command::new("etcd");
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
