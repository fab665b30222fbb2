//! The node's way to its server: in memory where both are one process, else TLS with the node's own
//! certificate, which the join token buys once.

use std::{
    fs,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use beeline_auth::{Certified, JoinToken};
use beeline_kit::Backoff;
use beeline_uplink::{DialError, Dialer, channel_over, fetch_authority, join, tls_channel};
use rustls::{ClientConfig, pki_types::pem::PemObject as _};
use tonic::transport::Channel;

use crate::{
    client,
    config::Config,
    server::{Attach, Server},
};

/// How to dial, given what runs in this process.
pub async fn dialer(config: &Config, server: Option<&Server>) -> anyhow::Result<Arc<dyn Dialer>> {
    if let Some(server) = server {
        return Ok(Arc::new(InProcess { attach: server.attach(&config.node_name) }));
    }
    let url = config.server.as_deref().context("an agent needs --server")?;
    let (name, address) = client::host(url)?;
    let server = format!("{name}:{}", address.port());
    let folder = config.data_dir.join("node-pki");
    let credentials = match Credentials::read(&folder)? {
        Some(credentials) => {
            credentials.check(&config.node_name, &folder)?;
            credentials
        }
        None => join_cluster(config, &server, &folder).await?,
    };
    let tls = beeline_auth::client_config(&credentials.ca_pem, Some(&credentials.certified))
        .with_context(|| {
            format!(
                "use the node's certificate in {}: if it is damaged, remove the folder and join again with --token",
                folder.display()
            )
        })?;
    Ok(Arc::new(Remote { server, tls }))
}

struct InProcess {
    attach: Attach,
}

#[async_trait]
impl Dialer for InProcess {
    async fn dial(&self) -> Result<Channel, DialError> {
        channel_over((self.attach)()).await
    }
}

struct Remote {
    server: String,
    tls: Arc<ClientConfig>,
}

#[async_trait]
impl Dialer for Remote {
    async fn dial(&self) -> Result<Channel, DialError> {
        tls_channel(&self.server, Arc::clone(&self.tls)).await
    }
}

/// What a node keeps after it has joined.
struct Credentials {
    ca_pem: String,
    certified: Certified,
}

impl Credentials {
    fn read(folder: &Path) -> anyhow::Result<Option<Self>> {
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
        };
        // Written last: with it, the others are whole.
        if !folder.join("node.crt").exists() {
            return Ok(None);
        }
        let certified =
            Certified { certificate_pem: read("node.crt")?, key_pem: read("node.key")? };
        Ok(Some(Self { ca_pem: read("ca.crt")?, certified }))
    }

    /// Refuse to speak under another name than the one that the server has given this data directory.
    fn check(&self, node: &str, folder: &Path) -> anyhow::Result<()> {
        let path = folder.join("node.crt");
        let remedy = format!("remove {} and join again with --token", folder.display());
        let joined = rustls::pki_types::CertificateDer::from_pem_slice(
            self.certified.certificate_pem.as_bytes(),
        )
        .ok()
        .and_then(|der| beeline_auth::Identity::from_certificate(&der).ok());
        let Some(joined) = joined else { bail!("{} is damaged: {remedy}", path.display()) };
        match joined.node_name() {
            Some(name) if name == node => Ok(()),
            name => bail!(
                "{} is the certificate of {}, not of {node}: give --node-name as before, or {remedy}",
                path.display(),
                name.unwrap_or(&joined.user)
            ),
        }
    }

    fn write(&self, folder: &Path) -> anyhow::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        write(&folder.join("ca.crt"), &self.ca_pem)?;
        write(&folder.join("node.key"), &self.certified.key_pem)?;
        write(&folder.join("node.crt"), &self.certified.certificate_pem)
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let aside = path.with_extension("new");
    let made = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    made().with_context(|| format!("write {}", path.display()))
}

/// Try until the server answers; what it refuses stays refused.
async fn join_cluster(config: &Config, server: &str, folder: &Path) -> anyhow::Result<Credentials> {
    let Some(token) = &config.token else {
        bail!(
            "{} has not joined yet: give --token, which `beeline token` prints on the server",
            config.node_name
        );
    };
    let token = JoinToken::parse(token)
        .context("understand --token, which `beeline token` prints on the server")?;
    let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
    loop {
        match join_once(&token, server, &config.node_name).await {
            Ok(credentials) => {
                credentials.write(folder).context("keep the node's certificate")?;
                return Ok(credentials);
            }
            Err(JoinFailure::Unreachable(error)) => {
                tracing::warn!(
                    error = beeline_kit::chain(&error),
                    "the server does not answer, trying again"
                );
                tokio::time::sleep(backoff.next()).await;
            }
            Err(JoinFailure::Refused(error)) => return Err(error),
        }
    }
}

enum JoinFailure {
    Unreachable(DialError),
    Refused(anyhow::Error),
}

async fn join_once(
    token: &JoinToken,
    server: &str,
    node: &str,
) -> Result<Credentials, JoinFailure> {
    use JoinFailure::{Refused, Unreachable};
    let bootstrap =
        beeline_auth::bootstrap_client_config().map_err(|error| Refused(error.into()))?;
    let fetched = fetch_authority(server, bootstrap).await.map_err(Unreachable)?;
    let ca_pem = token.verify_authority(&fetched).map_err(|error| {
        Refused(anyhow::Error::new(error).context(format!("trust the server at {server}")))
    })?;
    let tls = beeline_auth::client_config(&ca_pem, None).map_err(|error| Refused(error.into()))?;
    let channel = tls_channel(server, tls).await.map_err(Unreachable)?;
    let request = beeline_auth::node_request(node).map_err(|error| Refused(error.into()))?;
    let joined =
        join(channel, &token.reveal(), node, request.csr_der).await.map_err(
            |error| match error {
                DialError::Join { .. } => Refused(anyhow::Error::new(error)),
                other => Unreachable(other),
            },
        )?;
    let certified = Certified { certificate_pem: joined.certificate_pem, key_pem: request.key_pem };
    Ok(Credentials { ca_pem, certified })
}
