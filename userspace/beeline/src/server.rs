//! Control in this process: store, registry, API server, controllers, scheduler, feed.

use std::{
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use beeline_alloc::PodCidrs;
use beeline_apiserver::{AuditLog, AuditOptions, Check, StoreTimes};
use beeline_auth::{
    Authority, Certified, ClientCertificates, FRONT_PROXY_CLIENT, Identity, JoinToken, ServerNames,
    StaticAuthorizer, service_account::Issuer,
};
use beeline_controllers::apiservice::Authorities;
use beeline_feed::Feed;
use beeline_kit::{SystemClock, Tasks};
use beeline_registry::{Caller, Encryption, Registry};
use tokio::net::TcpListener;

use crate::{config::Config, connector::FeedConnector};

mod certificates;
mod engine;
mod ranges;

pub use engine::Engine;

/// How long requests under way may take when the server stops.
const GRACE: Duration = Duration::from_secs(5);

/// Makes connections in memory.
pub type Attach = Box<dyn Fn() -> tokio::io::DuplexStream + Send + Sync>;

/// A running server.
pub struct Server {
    /// The store.
    pub engine: Engine,
    api: beeline_apiserver::Server,
    /// The lines to nodes.
    pub feed: Feed,
    /// The one door.
    pub registry: Registry,
}

impl Server {
    /// Open the store and start everything that decides. The API answers when this returns.
    pub async fn start(config: Arc<Config>, tasks: &Tasks) -> anyhow::Result<Self> {
        // First what fails most often, before anything is written.
        let listener = TcpListener::bind(config.listen).await.with_context(|| {
            format!(
                "listen on {}: another process may have this port, or the address is not this machine's; \
                 choose another with --listen",
                config.listen
            )
        })?;
        ranges::keep(&config)?;
        let now = SystemTime::now();
        let authority = Arc::new(
            Authority::open(&config.data_dir, now).context("open the cluster's authority")?,
        );
        let token = Arc::new(JoinToken::open(&authority).context("open the join token")?);
        let audit = audit(&config)?;
        let encryption = config.encryption_config.as_deref().map(Encryption::open).transpose()?;
        let engine = Engine::open(&config, tasks).await?;
        let times = Arc::new(StoreTimes::default());
        let registry = open_registry(&config, &engine, encryption, &times, tasks).await?;
        let issuer = Issuer::open(&authority).context("open the key of service account tokens")?;
        let issuer = Arc::new(issuer);
        let feed = start_feed(&config, &registry, &authority, (&token, &issuer), tasks);
        let proxy = Authority::open_front_proxy(&config.data_dir, now)
            .context("open the front proxy's authority")?;
        let shown = proxy.front_proxy_client(now).context("issue the front proxy's certificate")?;
        let known = Known { config: &config, authority: &authority, engine: &engine, feed: &feed };
        let api = start_api(&known, &registry, (issuer, shown), (audit, times), tasks);
        let tls = tls(&config, &authority, now)?;
        api.listen(listener, tls);
        start_loops(&config, &registry, (&authority, &proxy), tasks)?;
        write_kubeconfig(&config, &authority, now)?;
        Ok(Self { engine, api, feed, registry })
    }

    /// Connections in memory for the node of this process; they speak for that node alone.
    pub fn attach(&self, node_name: &str) -> Attach {
        let api = self.api.clone();
        let user = format!("system:node:{node_name}");
        Box::new(move || {
            let (ours, theirs) = tokio::io::duplex(256 * 1024);
            let identity = Identity::new(&user, ["system:nodes"]);
            api.attach(theirs, Some(identity));
            ours
        })
    }

    /// Resolves only if the store failed for good: the process must end, as what it holds is no longer on disk.
    pub async fn fatal(&self) -> anyhow::Error {
        let error = self.engine.fatal().await;
        anyhow::Error::new(error).context("the store failed and stopped taking writes")
    }

    /// Finish what clients have begun. All else must still run: requests need it.
    pub async fn drain(&self) {
        self.api.stop(GRACE).await;
    }

    /// Close the store, so that the next start need not check it.
    pub async fn close(&self) {
        self.engine.close().await;
    }
}

async fn open_registry(
    config: &Config,
    engine: &Engine,
    encryption: Option<Encryption>,
    times: &Arc<StoreTimes>,
    tasks: &Tasks,
) -> anyhow::Result<Registry> {
    let observed = Arc::clone(times);
    let options = beeline_registry::Options {
        encryption: encryption.map(Arc::new),
        store_observed: Some(Arc::new(move |operation, kind, took| {
            observed.observe(operation, kind, took);
        })),
        service_cidrs: config.service_cidr.all().collect(),
        node_ports: (config.service_node_port_range.first, config.service_node_port_range.last),
        reserved_ips: vec![cluster_dns(config).into()],
        advertise: Some(advertised(config)),
        authorizer: Arc::new(StaticAuthorizer),
        webhooks: Some(Arc::new(beeline_apiserver::Webhooks)),
        ..beeline_registry::Options::default()
    };
    Registry::open(engine.store(), options, tasks).await.context("load the cluster's objects")
}

fn start_feed(
    config: &Config,
    registry: &Registry,
    authority: &Arc<Authority>,
    (token, issuer): (&Arc<JoinToken>, &Arc<Issuer>),
    tasks: &Tasks,
) -> Feed {
    let feed = beeline_feed::Config {
        cluster_pod_cidrs: config.pod_cidr.all().collect(),
        service_cidrs: config.service_cidr.all().collect(),
        authority: Arc::clone(authority),
        token: Arc::clone(token),
        issuer: Some(Arc::clone(issuer)),
        clock: Arc::new(SystemClock),
    };
    Feed::start(registry.client(Caller::system("feed")), feed, tasks)
}

/// Opened first: a wrong policy refuses the start.
fn audit(config: &Config) -> anyhow::Result<Option<AuditLog>> {
    let Some((policy, log)) = config.audit_policy.clone().zip(config.audit_log.clone()) else {
        return Ok(None);
    };
    let options = AuditOptions {
        policy,
        log,
        size_max_mib: config.audit_log_max_size,
        backups_max: config.audit_log_max_backups,
        age_max_days: config.audit_log_max_age,
    };
    Ok(Some(AuditLog::open(&options)?))
}

/// What the API server is told of the rest.
struct Known<'a> {
    config: &'a Config,
    authority: &'a Authority,
    engine: &'a Engine,
    feed: &'a Feed,
}

fn start_api(
    known: &Known<'_>,
    registry: &Registry,
    (tokens, front_proxy): (Arc<Issuer>, Certified),
    (audit, times): (Option<AuditLog>, Arc<StoreTimes>),
    tasks: &Tasks,
) -> beeline_apiserver::Server {
    let Known { config, authority, engine, feed } = *known;
    let mut options =
        beeline_apiserver::Options::new(registry.clone(), authority.certificate_pem().to_owned());
    options.address = config.api_url().trim_start_matches("https://").to_owned();
    options.tokens = Some(tokens);
    options.front_proxy = Some(front_proxy);
    options.nodes = Some(Arc::new(FeedConnector::new(feed.clone(), registry.clone())));
    options.grpc = Some(tonic::service::Routes::new(feed.service()).prepare().into_axum_router());
    options.audit = audit.map(Arc::new);
    options.store_times = Some(times);
    options.shutdown_delay = Duration::from_secs(config.shutdown_delay);
    options.requests_inflight_max = config.max_requests_inflight;
    let engine = engine.clone();
    options.checks = vec![Check { name: "store", holds: Arc::new(move || engine.holds()) }];
    beeline_apiserver::Server::new(options, tasks)
}

fn start_loops(
    config: &Config,
    registry: &Registry,
    (authority, front_proxy): (&Arc<Authority>, &Authority),
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let networks: Result<Vec<PodCidrs>, _> = config.pod_cidr.all().map(PodCidrs::new).collect();
    let networks = networks
        .with_context(|| format!("cut --pod-cidr {} into pieces for nodes", config.pod_cidr))?;
    let ca_pem = Some(authority.certificate_pem().to_owned());
    let controllers = beeline_controllers::Config {
        load_balancer: config.service_lb,
        certificates: Some(certificates::authority(authority)),
        authorities: Some(Authorities {
            clients_pem: authority.certificate_pem().to_owned(),
            front_proxy_pem: front_proxy.certificate_pem().to_owned(),
            front_proxy_name: FRONT_PROXY_CLIENT.to_owned(),
        }),
        ..beeline_controllers::Config::new(networks, ca_pem)
    };
    beeline_controllers::Controllers::start(
        &registry.client(Caller::system("controller-manager")),
        &controllers,
        tasks,
    );
    beeline_scheduler::start(
        &registry.client(Caller::system("kube-scheduler")),
        Arc::new(SystemClock),
        tasks,
    );
    Ok(())
}

fn tls(
    config: &Config,
    authority: &Authority,
    now: SystemTime,
) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let mut extra: Vec<String> = config.tls_san.clone();
    extra.push(advertised(config).0.to_string());
    extra.extend(config.node_ip.map(|ip| ip.to_string()));
    let names =
        ServerNames::standard(first_service_ip(config).into(), &config.node_name).with(extra);
    let certified = authority.server(&names, now).context("issue the API's certificate")?;
    beeline_auth::server_config(
        authority.certificate_pem(),
        &certified,
        ClientCertificates::Optional,
    )
    .context("prepare TLS")
}

/// Where others reach the API.
fn advertised(config: &Config) -> (IpAddr, u16) {
    let ip = match (config.listen.ip(), config.node_ip) {
        (ip, Some(node)) if ip.is_unspecified() => node.into(),
        (ip, _) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        (ip, _) => ip,
    };
    (ip, config.listen.port())
}

/// The address of Service `default/kubernetes`: the first of the range.
fn first_service_ip(config: &Config) -> Ipv4Addr {
    offset(config, 1)
}

/// The address kept for the cluster's DNS: the tenth of the range.
fn cluster_dns(config: &Config) -> Ipv4Addr {
    offset(config, 10)
}

fn offset(config: &Config, by: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(config.service_cidr.v4.network()).saturating_add(by))
}

fn write_kubeconfig(config: &Config, authority: &Authority, now: SystemTime) -> anyhow::Result<()> {
    let path = config.kubeconfig();
    let text = authority
        .admin_kubeconfig(&config.api_url(), now)
        .context("issue the admin's certificate")?;
    write_private(&path, &text).with_context(|| format!("write {}", path.display()))
}

/// Written aside and renamed: a reader never sees half of it.
fn write_private(path: &Path, text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let aside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    // On a full disk what is there already is still served.
    if std::fs::read(path).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(());
    }
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&aside, path)
}
