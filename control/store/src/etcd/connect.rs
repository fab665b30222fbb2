//! The way to etcd.

use std::time::Duration;

use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use super::convert::{outcome_unknown, sort};
use crate::StoreError;

/// How often a silent connection is asked whether it lives, and how long it may take to say so.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(5));
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Where etcd is, and how it is used.
#[derive(Clone)]
pub struct EtcdOptions {
    /// `http://` or `https://`, host and port, of one or more members.
    pub endpoints: Vec<String>,
    /// What `https` needs.
    pub tls: Option<EtcdTls>,
    /// How many batches a watcher may be behind before it is cut off.
    pub watch_queue: usize,
    /// History is kept at least so long,
    pub history_age: Duration,
    /// and at least so many changes of it: etcd 3.4 has open bugs at the revision that it has compacted.
    pub history_changes: u64,
    /// How long a server that holds etcd may be silent before another takes over.
    pub hold: Duration,
}

/// Certificates, each as PEM.
#[derive(Clone)]
pub struct EtcdTls {
    /// Who vouches for etcd.
    pub ca: Vec<u8>,
    /// Our certificate and its key, if etcd asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

// === impl EtcdOptions ===

impl EtcdOptions {
    /// The usual ones for these members.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            tls: None,
            watch_queue: 256,
            history_age: Duration::from_secs(300),
            history_changes: 1_000,
            hold: Duration::from_secs(10),
        }
    }
}

pub(super) async fn client(options: &EtcdOptions) -> Result<Client, StoreError> {
    let (interval, timeout) = KEEP_ALIVE;
    let mut connect = ConnectOptions::new()
        .with_connect_timeout(CONNECT_LIMIT)
        .with_keep_alive(interval, timeout)
        .with_keep_alive_while_idle(true)
        // A member without a leader must not answer from the past.
        .with_require_leader(true);
    if let Some(tls) = &options.tls {
        let mut config = TlsOptions::new().ca_certificate(Certificate::from_pem(&tls.ca));
        if let Some((certificate, key)) = &tls.identity {
            config = config.identity(Identity::from_pem(certificate, key));
        }
        connect = connect.with_tls(config);
    }
    let connecting = Client::connect(&options.endpoints, Some(connect));
    let client = tokio::time::timeout(2 * CONNECT_LIMIT, connecting).await;
    client.map_err(|_| outcome_unknown("no connection in time"))?.map_err(|error| sort(&error))
}
