//! The listeners, one for each Service and address, brought in line with the checks.
//!
//! In: snapshots. Out: open ports, and which could not be had. A port that is taken is an error in the log, once for each
//! cause, and is tried again with growing pauses (1 to 30 s) until it is free or no longer asked for.

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, ErrorKind},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use beeline_kit::{Backoff, Tasks};
use beeline_tables::{NodeName, ObjectName, Reader, Snapshot};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::watch,
};

use crate::{
    answer::answer,
    checks::{Check, Checks, Local},
    http_server::serve,
};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;
/// How long answers under way may take when a port is closed.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);
/// Between two attempts to open a port that is taken.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Whether the dataplane is well, asked with each answer.
type Healthy = Arc<dyn Fn() -> bool + Send + Sync>;

/// Where to listen, and for whom.
#[derive(Clone)]
pub struct Config {
    /// This node: its endpoints are counted.
    pub node: NodeName,
    /// At which addresses of it.
    pub addresses: Addresses,
    /// Whether the dataplane does what the tables say.
    pub healthy: Healthy,
}

/// Where load balancers may ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// At these; the wildcards stand for all of their family.
    These(Vec<IpAddr>),
    /// At those that the Node object names.
    OfNode,
}

/// The running checks.
#[derive(Debug)]
pub struct HealthChecks;

/// A port that could not be had so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub at: SocketAddr,
    /// As the kernel says it.
    pub why: String,
}

/// By Service, the first port of it that could not be had.
pub type Refusals = BTreeMap<ObjectName, Refusal>;

/// One Service's listeners.
struct Open {
    port: u16,
    counts: Arc<Counts>,
    tasks: Tasks,
    /// Addresses that could not be had so far, and why; of those not tried yet, nothing.
    refused: BTreeMap<IpAddr, Option<io::Error>>,
}

#[derive(Debug, Default)]
struct Counts {
    ipv4: AtomicUsize,
    ipv6: AtomicUsize,
}

struct Listeners {
    config: Config,
    addresses: Vec<IpAddr>,
    open: BTreeMap<ObjectName, Open>,
    tasks: Tasks,
    refusals: watch::Sender<Refusals>,
}

impl Config {
    /// On all addresses, with a dataplane that is always well.
    pub fn new(node: NodeName) -> Self {
        Self { node, addresses: Addresses::all(), healthy: Arc::new(|| true) }
    }
}

impl Addresses {
    /// Everywhere.
    pub fn all() -> Self {
        Self::These(vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()])
    }

    fn now(&self, snapshot: &Snapshot, node: &NodeName) -> Vec<IpAddr> {
        match self {
            Self::These(addresses) => addresses.clone(),
            Self::OfNode => {
                snapshot.nodes.get(node).map(|own| own.internal_ips.clone()).unwrap_or_default()
            }
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut config = f.debug_struct("Config");
        config.field("node", &self.node).field("addresses", &self.addresses).finish()
    }
}

impl HealthChecks {
    /// Follow the tables in a task of its own until `tasks` stop. What is returned says which ports could not be had.
    pub fn start(config: Config, reader: Reader, tasks: &Tasks) -> watch::Receiver<Refusals> {
        let token = tasks.token();
        let refusals = watch::Sender::default();
        let told = refusals.subscribe();
        let (addresses, open, owner) = (Vec::new(), BTreeMap::new(), tasks.child());
        let listeners = Listeners { config, addresses, open, tasks: owner, refusals };
        tasks.spawn("health-checks", async move {
            let _ = token.run_until_cancelled(follow(listeners, reader)).await;
        });
        told
    }
}

async fn follow(mut listeners: Listeners, mut reader: Reader) {
    let mut checks = Checks::new(listeners.config.node.clone());
    let mut snapshot = reader.snapshot();
    let mut backoff = Backoff::new(RETRY.0, RETRY.1);
    loop {
        if snapshot.complete {
            listeners.move_to(&snapshot).await;
            listeners.bring_to(checks.update(Arc::clone(&snapshot))).await;
        }
        let wait = if listeners.all_open() {
            backoff.reset();
            Duration::MAX
        } else {
            backoff.next()
        };
        match tokio::time::timeout(wait, reader.changed()).await {
            Ok(Some(newer)) => snapshot = newer,
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

impl Listeners {
    /// A node that changed its addresses is asked at the new ones.
    async fn move_to(&mut self, snapshot: &Snapshot) {
        let addresses = self.config.addresses.now(snapshot, &self.config.node);
        if addresses == self.addresses {
            return;
        }
        self.addresses = addresses;
        for open in std::mem::take(&mut self.open).into_values() {
            open.tasks.stop(CLOSE_LIMIT).await;
        }
    }

    /// Closes first: the port that one Service gives up may be what another asks for.
    async fn bring_to(&mut self, checks: &BTreeMap<ObjectName, Check>) {
        let kept = |name: &ObjectName, open: &Open| {
            checks.get(name).is_some_and(|check| check.port == open.port)
        };
        let (keep, close): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.open).into_iter().partition(|(name, open)| kept(name, open));
        self.open = keep;
        for (name, open) in close {
            tracing::debug!(service = %name, port = open.port, "health check closed");
            open.tasks.stop(CLOSE_LIMIT).await;
        }
        for (name, check) in checks {
            let fresh = || Open {
                port: check.port,
                counts: Arc::default(),
                tasks: self.tasks.child(),
                refused: self.addresses.iter().map(|address| (*address, None)).collect(),
            };
            let open = self.open.entry(name.clone()).or_insert_with(fresh);
            open.counts.set(check.local);
            open.listen(name, &self.config.healthy);
        }
        let refusals =
            self.open.iter().filter_map(|(name, it)| Some((name.clone(), it.refusal()?)));
        let now: Refusals = refusals.collect();
        self.refusals.send_if_modified(|known| std::mem::replace(known, now.clone()) != now);
    }

    fn all_open(&self) -> bool {
        self.open.values().all(|open| open.refused.is_empty())
    }
}

impl Open {
    /// Opens what is not open yet.
    fn listen(&mut self, name: &ObjectName, healthy: &Healthy) {
        for (address, known) in std::mem::take(&mut self.refused) {
            let at = SocketAddr::new(address, self.port);
            match bind(at) {
                Ok(listener) => {
                    tracing::debug!(service = %name, %at, "health check opened");
                    self.serve(name, address, listener, healthy);
                }
                // A machine without this family has nobody who could ask.
                Err(error) if address.is_unspecified() && no_family(&error) => {}
                Err(error) => {
                    if known.is_none_or(|known| known.kind() != error.kind()) {
                        tracing::error!(
                            service = %name, %at, %error,
                            "cannot answer health checks: load balancers will send nothing to this node; tried again"
                        );
                    }
                    self.refused.insert(address, Some(error));
                }
            }
        }
    }

    fn refusal(&self) -> Option<Refusal> {
        let (address, why) = self.refused.first_key_value()?;
        let why = why.as_ref()?.to_string();
        Some(Refusal { at: SocketAddr::new(*address, self.port), why })
    }

    fn serve(&self, name: &ObjectName, address: IpAddr, listener: TcpListener, healthy: &Healthy) {
        let (name, counts, healthy) = (name.clone(), Arc::clone(&self.counts), Arc::clone(healthy));
        let said = move |_| {
            let said = answer(&name, counts.of(address), healthy());
            async move { said }
        };
        serve("health-check", listener, said, &self.tasks);
    }
}

impl Counts {
    fn set(&self, local: Local) {
        self.ipv4.store(local.ipv4, Ordering::Relaxed);
        self.ipv6.store(local.ipv6, Ordering::Relaxed);
    }

    fn of(&self, address: IpAddr) -> usize {
        match address {
            IpAddr::V4(_) => self.ipv4.load(Ordering::Relaxed),
            IpAddr::V6(_) => self.ipv6.load(Ordering::Relaxed),
        }
    }
}

/// A listener that leaves the other family alone, so that both wildcards can be had.
pub fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = match at {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
            socket
        }
    };
    // Connections of an earlier process may linger.
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

fn no_family(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::AFNOSUPPORT))
        || error.kind() == ErrorKind::AddrNotAvailable
}

#[cfg(test)]
mod tests;
