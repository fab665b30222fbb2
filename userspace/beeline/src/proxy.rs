//! `beeline proxy`: the dataplane alone, for the Services of any Kubernetes cluster, in the place of kube-proxy.
//!
//! In: an API server to read from. Out: programs in force for every process and pod of this machine, kube-proxy's health
//! and metrics ports, health-check ports of Services. Stopping it stops no traffic; the next start adopts what it finds.
//! Refuses to run pods, to make links, and to write to the API server.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use beeline_datapath::Datapath;
use beeline_healthcheck::{Addresses, Answer, Ask, HealthChecks};
use beeline_informer::{Access, Cluster, Informer};
use beeline_kit::{Backoff, Tasks, telemetry};
use beeline_netdev::Net;
use beeline_tables::{NodeName, Tables};

use crate::{
    instance::Instance,
    local, output, privilege, process,
    stop::{Footprint, Roots},
    up,
};

mod endpoints;
mod ledger;
mod look;
mod metrics;
mod options;

use endpoints::Endpoints;
use ledger::{Ledger, Now};
use options::Options;
pub use options::ProxyArgs;

use crate::config::dataplane::NodePorts;

/// Between two attempts to have a port that is taken: that of a proxy which is being replaced, perhaps.
const PORT_RETRY: Duration = Duration::from_secs(5);
/// How long this node may take to be registered, where its primary addresses are asked for.
const NODE_LIMIT: Duration = Duration::from_secs(60);

/// Run until a signal says to stop.
pub fn run(args: ProxyArgs) -> anyhow::Result<()> {
    let options = Options::resolve(args)?;
    telemetry::init(options.args.log_format.into(), &options.args.log);
    privilege::check(privilege::Work::Proxy)?;
    process::enter(options.netns.as_deref())?;
    let instance = Instance::open(&options.args.data_dir, &options.args.run_dir)?;
    process::on_threads(serve(options, instance))
}

async fn serve(options: Options, instance: Instance) -> anyhow::Result<()> {
    let started = Instant::now();
    let tasks = Tasks::new();
    let mut stop = process::StopSignal::new()?;
    let socket = options.args.run_dir.join(crate::config::SOCKET);
    let outcome = tokio::select! {
        // Once it is built it waits for ever: only its failure comes this way.
        outcome = work(&options, &instance, started, &tasks) => outcome,
        reason = stop.wait() => {
            tracing::info!(reason, "stopping; connections stay");
            Ok(())
        }
    };
    up::notify("STOPPING=1");
    tasks.stop(process::DRAIN).await;
    let _ = std::fs::remove_file(socket);
    outcome
}

async fn work(
    options: &Options,
    instance: &Instance,
    started: Instant,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let access = match &options.args.kubeconfig {
        Some(path) => Access::Kubeconfig(path.clone()),
        None => Access::ServiceAccount,
    };
    let cluster = Cluster::reach(&access).await.context("find the API server")?;
    let url = cluster.url().to_owned();
    let own = own_addresses(options, &cluster).await?;
    let asked_at = match &options.node_ports {
        NodePorts::All => Addresses::all(),
        NodePorts::Primary => Addresses::OfNode,
        NodePorts::Within(_) => Addresses::These(own.node_ports.clone()),
    };
    let datapath = start_datapath(options, instance, own, tasks).await?;
    let node = NodeName(options.node.as_str().into());
    let (writer, reader) = Tables::new();
    let ledger = Ledger::shared();
    let queued = Arc::clone(&ledger);
    let config = beeline_informer::Config {
        node: node.clone(),
        after: datapath.in_force().borrow().epoch,
        on_batch: Arc::new(move |batch| ledger::lock(&queued).queue(batch, Now::read())),
    };
    follow_epochs(&datapath, &ledger, tasks);
    datapath.follow(reader.clone(), tasks);
    let informer = Informer::start(cluster, config, writer, tasks);
    let endpoints = Arc::new(Endpoints::new(
        node,
        ledger,
        informer.standing(),
        datapath.clone(),
        reader.clone(),
    ));
    check_health(options, asked_at, &endpoints, reader, tasks);
    open_ports(options, &endpoints, tasks);
    let look = look::Look::new(options, instance, &url, Arc::clone(&endpoints));
    let socket = options.args.run_dir.join(crate::config::SOCKET);
    local::serve(&socket, Arc::new(look), tasks)?;

    let mut in_force = datapath.in_force();
    in_force.changed().await.context("wait for the dataplane")?;
    output::line(&format!(
        "beeline: proxy of node {} ready in {:.2} s; server: {url}",
        options.node,
        started.elapsed().as_secs_f64()
    ));
    up::notify("READY=1");
    std::future::pending().await
}

async fn start_datapath(
    options: &Options,
    instance: &Instance,
    own: OwnAddresses,
    tasks: &Tasks,
) -> anyhow::Result<Datapath> {
    let args = &options.args;
    let cgroup_root: PathBuf = match &args.cgroup_root {
        Some(path) => path.clone(),
        None => beeline_sys::cgroup::find_v2_mount().context("find a cgroup v2 mount")?,
    };
    let roots = Roots {
        data_dir: &args.data_dir,
        run_dir: &args.run_dir,
        bpf_root: &args.bpf_root,
        cgroup_root: &cgroup_root,
        netns: options.netns.as_deref(),
    };
    Footprint::record(&instance.id, &roots)?;
    let config = beeline_datapath::Config {
        host_addresses: own.all,
        node_port_addresses: own.node_ports,
        loopback_node_ports: options.loopback_node_ports,
        // Others make the pods: whoever is below the cgroup is to be served.
        every_caller: true,
        uplinks: uplinks(options).await?,
        edge: args.edge.into(),
        lb_mode: args.lb_mode.into(),
        cluster_ranges: args.cluster_cidr.clone(),
        ..beeline_datapath::Config::new(&args.bpf_root, &cgroup_root, &instance.id, &options.node)
    };
    Datapath::start(config, tasks).await.with_context(|| {
        format!(
            "start the dataplane with --bpf-root {} and --cgroup-root {}",
            args.bpf_root.display(),
            cgroup_root.display()
        )
    })
}

async fn uplinks(options: &Options) -> anyhow::Result<Vec<String>> {
    if !options.args.uplink.is_empty() {
        return Ok(options.args.uplink.clone());
    }
    let found = Net::new().uplink().await.context("find the interface of the default route")?;
    if found.is_none() {
        tracing::warn!("no interface leads to the world: only callers on this node are served");
    }
    Ok(found.into_iter().map(|uplink| uplink.name).collect())
}

/// This node's addresses, and those of them at which node ports and health checks answer.
struct OwnAddresses {
    all: Vec<IpAddr>,
    node_ports: Vec<IpAddr>,
}

async fn own_addresses(options: &Options, cluster: &Cluster) -> anyhow::Result<OwnAddresses> {
    let all = Net::new().outside_ips().await.context("list this node's addresses")?;
    let node_ports = match &options.node_ports {
        NodePorts::All => all.clone(),
        NodePorts::Primary => primary_addresses(options, cluster).await?,
        NodePorts::Within(ranges) => {
            let within = |address: &&IpAddr| ranges.iter().any(|range| range.contains(*address));
            all.iter().filter(within).copied().collect()
        }
    };
    Ok(OwnAddresses { all, node_ports })
}

/// A node may be registered a little later than its proxy starts.
async fn primary_addresses(options: &Options, cluster: &Cluster) -> anyhow::Result<Vec<IpAddr>> {
    let (node, mut backoff) = (NodeName(options.node.as_str().into()), Backoff::default());
    let asked = Instant::now();
    loop {
        let found = cluster.internal_ips(&node).await;
        match found {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            _ if asked.elapsed() < NODE_LIMIT => tokio::time::sleep(backoff.next()).await,
            Ok(_) => anyhow::bail!(
                "node {} has no address in the cluster: is it registered by that name? See --hostname-override",
                options.node
            ),
            Err(error) => return Err(error).context("find this node's primary addresses"),
        }
    }
}

fn follow_epochs(datapath: &Datapath, ledger: &ledger::Shared, tasks: &Tasks) {
    let (mut in_force, token, ledger) = (datapath.in_force(), tasks.token(), Arc::clone(ledger));
    tasks.spawn("proxy-epochs", async move {
        while let Some(Ok(())) = token.run_until_cancelled(in_force.changed()).await {
            let held = *in_force.borrow_and_update();
            ledger::lock(&ledger).hold(&held, Now::read());
        }
    });
}

fn check_health(
    options: &Options,
    addresses: Addresses,
    endpoints: &Arc<Endpoints>,
    reader: beeline_tables::Reader,
    tasks: &Tasks,
) {
    let asked = Arc::clone(endpoints);
    let config = beeline_healthcheck::Config {
        node: NodeName(options.node.as_str().into()),
        addresses,
        healthy: Arc::new(move || asked.keeps_up()),
    };
    // The proxy writes nothing to the API server: of a refused port the log tells.
    drop(HealthChecks::start(config, reader, tasks));
}

fn open_ports(options: &Options, endpoints: &Arc<Endpoints>, tasks: &Tasks) {
    let health = Arc::clone(endpoints);
    let health = move |ask: Ask| {
        let said = health.health(&ask.path);
        async move { said }
    };
    let metrics = Arc::clone(endpoints);
    let metrics = move |ask: Ask| {
        let metrics = Arc::clone(&metrics);
        async move { metrics.metrics(&ask.path).await }
    };
    open("healthz", options.healthz, health, tasks);
    open("metrics", options.metrics, metrics, tasks);
}

/// As kube-proxy does: a port that is taken is no reason to serve no traffic.
fn open<F, A>(name: &'static str, at: Option<SocketAddr>, answer: F, tasks: &Tasks)
where
    F: Fn(Ask) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let Some(at) = at else { return };
    let (owner, token) = (tasks.clone(), tasks.token());
    tasks.spawn(name, async move {
        loop {
            match beeline_healthcheck::bind(at) {
                Ok(listener) => return beeline_healthcheck::serve(name, listener, answer, &owner),
                Err(error) => tracing::error!(%at, %error, "cannot serve {name}, tried again"),
            }
            if token.run_until_cancelled(tokio::time::sleep(PORT_RETRY)).await.is_none() {
                return;
            }
        }
    });
}
