//! The server under test: the process that serves, and the handle of it that the clients have.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use beeline_apiserver::{Options, Server};
use beeline_auth::{Authority, ClientCertificates, ServerNames, server_config};
use beeline_kit::Tasks;
use beeline_registry::Registry;
use beeline_store::Embedded;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};

/// Serves until its standard input ends; says its address in one line as soon as it is ready.
pub(crate) async fn serve(dir: &Path) -> anyhow::Result<()> {
    let (tasks, now) = (Tasks::new(), SystemTime::now());
    let options = beeline_store::Options::default();
    let store = Embedded::open(&dir.join("store"), options, &tasks).await?;
    let registry = Registry::open(store, beeline_registry::Options::default(), &tasks).await?;
    let authority = Authority::open(dir, now)?;
    let names = ServerNames::standard(IpAddr::from([10, 43, 0, 1]), "bench");
    let ca = authority.certificate_pem().to_owned();
    let certified = authority.server(&names, now)?;
    let tls = server_config(&ca, &certified, ClientCertificates::Optional)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::new(Options::new(registry, ca), &tasks);
    server.listen(listener, tls);
    println!("{address}");
    tokio::task::spawn_blocking(|| std::io::copy(&mut std::io::stdin(), &mut std::io::sink()))
        .await??;
    server.stop(Duration::from_secs(5)).await;
    tasks.stop(Duration::from_secs(30)).await;
    Ok(())
}

/// A server that runs. It ends with this.
pub(crate) struct Serving {
    child: Child,
    pub(crate) address: SocketAddr,
    /// From the start of the process to its first word.
    pub(crate) ready_after: Duration,
    /// Shows the administrator's certificate.
    pub(crate) tls: Arc<rustls::ClientConfig>,
}

impl Serving {
    pub(crate) async fn start(dir: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let own = std::env::current_exe()?;
        let started = Instant::now();
        let mut command = Command::new(own);
        command.arg("serve").arg(dir).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no output of the server")?);
        let mut line = String::new();
        output.read_line(&mut line).await?;
        let address = line.trim().parse().context("the server did not start")?;
        let ready_after = started.elapsed();
        let authority = Authority::open(dir, SystemTime::now())?;
        let admin = authority.admin(SystemTime::now())?;
        let tls = beeline_auth::client_config(authority.certificate_pem(), Some(&admin))?;
        Ok(Self { child, address, ready_after, tls })
    }

    /// Ends it as a user would.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        let ended = self.child.wait().await?;
        anyhow::ensure!(ended.success(), "the server ended with {ended}");
        Ok(())
    }

    /// Resident memory now and at its highest since [`Self::forget_peak`], in bytes.
    pub(crate) fn memory(&self) -> anyhow::Result<(usize, usize)> {
        let status = std::fs::read_to_string(self.proc("status")?)?;
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            number.map(|kib: usize| kib * 1024).with_context(|| format!("no {name} of the server"))
        };
        Ok((of("VmRSS:")?, of("VmHWM:")?))
    }

    /// Begins to look for the highest memory anew.
    pub(crate) fn forget_peak(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(self.proc("clear_refs")?, "5")?)
    }

    fn proc(&self, file: &str) -> anyhow::Result<PathBuf> {
        let id = self.child.id().context("the server has ended")?;
        Ok(PathBuf::from(format!("/proc/{id}/{file}")))
    }
}
