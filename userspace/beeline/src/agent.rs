//! A node in this process: line to control, tables, dataplane, pods, flows.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use beeline_container::{Embedded, ImageStore, Runtime};
use beeline_datapath::{Datapath, State};
use beeline_healthcheck::Addresses;
use beeline_kit::{SystemClock, Tasks};
use beeline_netdev::{AddressPair, Net};
use beeline_observe::Observer;
use beeline_pods::{NodeNetwork, Pods, node::Machine, ports::Ports};
use beeline_registry::{Caller, Registry};
use beeline_tables::{NodeName, Reader, Tables};
use beeline_uplink::{LineState, Uplink};
use k8s_openapi::api::core::v1::Node;

use crate::{
    config::{
        Config, Role,
        dataplane::{NodePorts, sizes, with_loopback},
    },
    image,
    instance::Instance,
    server::Server,
    status::AgentSide,
    stop::{Footprint, Roots},
};

mod dial;
mod health;
mod lines;
mod network;
mod peers;
mod ports;
mod pressure;
mod streams;
mod warning;

use network::Network;
use ports::{DatapathAdapter, NetAdapter, UplinkReporter};

/// A running node.
pub struct Agent {
    /// What looking commands ask.
    pub side: AgentSide,
    datapath: Datapath,
    registry: Option<Registry>,
    node_name: String,
}

/// What is there before the line to control is up.
struct Ground {
    cgroup_root: PathBuf,
    net: Net,
    node_ips: AddressPair,
    images: Arc<ImageStore>,
    runtime: Arc<Embedded>,
    machine: Machine,
}

impl Agent {
    /// Start everything that a node does; pods of an earlier process are taken over.
    pub async fn start(
        config: Arc<Config>,
        instance: &Instance,
        server: Option<&Server>,
        tasks: &Tasks,
    ) -> anyhow::Result<Self> {
        let mut ground = prepare(&config, instance, tasks).await?;
        let (writer, reader) = Tables::new();
        let observer = Observer::new(NodeName(config.node_name.as_str().into()));
        observer.follow_tables(reader.clone(), tasks);
        let streams = Arc::new(streams::Streams::new(
            Arc::clone(&ground.runtime) as Arc<dyn Runtime>,
            observer.clone(),
        ));
        let dialer = dial::dialer(&config, server).await?;
        let uplink = Uplink::start(
            uplink_config(&config, instance, &ground),
            dialer,
            streams,
            writer,
            tasks,
        );
        let network = Network::find(&config, &uplink).await?;
        network.follow(&config, &uplink, tasks);
        ground.net.install_guards(network.guarded()).await?;
        ground.join(&network).await?;
        let range_v6 = network.v6.map(|v6| v6.pod_cidr);
        let links =
            NodeNetwork::start(ground.net.clone(), &instance.id, network.pod_cidr, range_v6)
                .await
                .context("take over the pods' links")?;
        let facts = datapath_config(&config, instance, &ground, &network, &links).await?;
        let datapath = start_datapath(facts, tasks).await?;
        datapath.follow(reader.clone(), tasks);
        let asked_at = health_addresses(&config, &ground).await?;
        let node = &config.node_name;
        health::start(node, asked_at, &reader, &datapath, uplink.clone(), tasks);
        peers::follow(ground.net.clone(), &config.node_name, reader.clone(), tasks);
        pressure::follow(&datapath, uplink.clone(), &config.node_name, tasks);
        follow_events(&datapath, &observer, tasks).await?;

        let adapter = Arc::new(DatapathAdapter::start(datapath.clone(), uplink.clone(), tasks));
        let ports = Ports {
            runtime: Arc::clone(&ground.runtime) as Arc<dyn Runtime>,
            images: Arc::clone(&ground.images) as Arc<dyn beeline_pods::ports::Images>,
            net: Arc::new(NetAdapter::new(
                links,
                ground.net.clone(),
                &instance.id,
                datapath.clone(),
            )),
            datapath: adapter,
            tokens: Arc::new(UplinkReporter::new(uplink.clone())),
            reporter: Arc::new(UplinkReporter::new(uplink.clone())),
            clock: Arc::new(SystemClock),
        };
        let pods_config = pods_config(&config, &ground);
        let pods = Pods::start(pods_config, ports.clone(), reader.clone(), tasks).await?;
        beeline_pods::node::start(ground.machine.clone(), config.data_dir.clone(), ports, tasks);

        let side = side(&ground, instance, &datapath, observer, reader, &pods, &uplink);
        Ok(Self {
            side,
            datapath,
            registry: server
                .filter(|_| config.role == Role::Up)
                .map(|server| server.registry.clone()),
            node_name: config.node_name.clone(),
        })
    }

    /// Wait until the kernel holds the first whole intent and, where control is here, the node counts as Ready.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let mut in_force = self.datapath.in_force();
        in_force.wait_for(|now| now.epoch.0 > 0).await.context("wait for the dataplane")?;
        let Some(registry) = &self.registry else { return Ok(()) };
        let client = registry.client(Caller::system("beeline"));
        while !client.cached_one::<Node>(None, &self.node_name).is_some_and(|node| is_ready(&node))
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Names of the kernel features that are missing here.
    pub fn missing(&self) -> Vec<String> {
        let features = self.datapath.features().iter();
        features
            .filter(|feature| feature.state == State::Missing)
            .map(|feature| feature.name.clone())
            .collect()
    }
}

fn is_ready(node: &Node) -> bool {
    let conditions =
        node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

async fn prepare(config: &Config, instance: &Instance, tasks: &Tasks) -> anyhow::Result<Ground> {
    let cgroup_root = match &config.cgroup_root {
        Some(path) => path.clone(),
        None => beeline_sys::cgroup::find_v2_mount().context("find a cgroup v2 mount")?,
    };
    let roots = Roots {
        data_dir: &config.data_dir,
        run_dir: &config.run_dir,
        bpf_root: &config.bpf_root,
        cgroup_root: &cgroup_root,
        netns: config.netns.as_deref(),
    };
    Footprint::record(&instance.id, &roots)?;
    let net = Net::new();
    // Before the first pod or rule exists: no address of these ranges may ever leave by the default route.
    net.install_guards(config.service_cidr.all().chain(config.pod_cidr.all()).collect()).await?;
    let node_ips = node_ips(config, &net).await?;
    let folder = config.data_dir.join(image::STORE);
    let images = Arc::new(
        ImageStore::open(&folder)
            .with_context(|| format!("open the image store {}", folder.display()))?,
    );
    let runtime = beeline_container::embedded::Config {
        run_dir: config.run_dir.clone(),
        data_dir: config.data_dir.clone(),
        log_dir: config.data_dir.join("logs"),
        cgroup_root: cgroup_root.clone(),
        instance: instance.id.clone(),
        shim_command: vec![
            std::env::current_exe().context("find this program")?.into(),
            "shim".into(),
        ],
        log_limits: beeline_container::logs::LogLimits::default(),
    };
    let runtime = Embedded::open(runtime, Arc::clone(&images), tasks)
        .await
        .context("take over the pods that run here")?;
    let machine = Machine::read(&config.node_name, node_ips, &config.data_dir);
    Ok(Ground { cgroup_root, net, node_ips, images, runtime: Arc::new(runtime), machine })
}

/// The IPv6 one only in a cluster of both families, as far as that is known before the server has said so.
async fn node_ips(config: &Config, net: &Net) -> anyhow::Result<AddressPair> {
    let v4 = match config.node_ip {
        Some(ip) => ip,
        None => net.internal_ip().await?,
    };
    let known = Network::known(config)?;
    let both = config.pod_cidr.v6.is_some() || known.is_some_and(|known| known.v6.is_some());
    Ok(AddressPair { v4, v6: if both { net.internal_ipv6(v4).await? } else { None } })
}

impl Ground {
    /// A node that hears for the first time that the cluster has both families tells its address of the second, too.
    async fn join(&mut self, network: &Network) -> anyhow::Result<()> {
        if network.v6.is_some() && self.node_ips.v6.is_none() {
            self.node_ips.v6 = self.net.internal_ipv6(self.node_ips.v4).await?;
            self.machine.internal_ips = self.node_ips;
        }
        Ok(())
    }
}

fn uplink_config(config: &Config, instance: &Instance, ground: &Ground) -> beeline_uplink::Config {
    let health = beeline_pods::node::health(&config.data_dir);
    let images = beeline_pods::ports::Images::list(&*ground.images);
    let status = ground.machine.status(health, &images, None, SystemTime::now());
    beeline_uplink::Config {
        node_name: config.node_name.clone(),
        instance: instance.id.clone(),
        // The dataplane needs the node's range, which the server gives; the first acknowledgement tells what holds.
        epoch_in_force: 0,
        node: ground.machine.node(status),
    }
}

async fn datapath_config(
    config: &Config,
    instance: &Instance,
    ground: &Ground,
    network: &Network,
    links: &NodeNetwork,
) -> anyhow::Result<beeline_datapath::Config> {
    let outside = ground.net.outside_ips().await?;
    let own: Vec<IpAddr> = ground.node_ips.all().collect();
    let mut host_addresses = outside.clone();
    host_addresses.extend(links.node_addresses());
    host_addresses.sort_unstable();
    host_addresses.dedup();
    Ok(beeline_datapath::Config {
        host_addresses,
        node_port_addresses: config.node_ports()?.of(&outside, &own),
        loopback_node_ports: with_loopback(&config.nodeport_addresses),
        uplinks: uplinks(config, ground).await?,
        edge: config.edge.into(),
        lb_mode: config.lb_mode.into(),
        masquerade: config.masquerade,
        flow_records: config.flow_records,
        // Pods and Services: whatever node they are on, they are reached without masquerade.
        cluster_ranges: network.guarded(),
        sizes: sizes(&config.map_size),
        ..beeline_datapath::Config::new(
            &config.bpf_root,
            &ground.cgroup_root,
            &instance.id,
            &config.node_name,
        )
    })
}

async fn start_datapath(
    config: beeline_datapath::Config,
    tasks: &Tasks,
) -> anyhow::Result<Datapath> {
    let roots = format!(
        "start the dataplane with --bpf-root {} and --cgroup-root {}",
        config.bpf_root.display(),
        config.cgroup_root.display()
    );
    Datapath::start(config, tasks).await.context(roots)
}

/// Health checks are answered where node ports are.
async fn health_addresses(config: &Config, ground: &Ground) -> anyhow::Result<Addresses> {
    Ok(match config.node_ports()? {
        NodePorts::All => Addresses::all(),
        some => {
            let outside = ground.net.outside_ips().await?;
            let own: Vec<IpAddr> = ground.node_ips.all().collect();
            Addresses::These(some.of(&outside, &own))
        }
    })
}

/// What was given, else the interface by which others reach the node.
async fn uplinks(config: &Config, ground: &Ground) -> anyhow::Result<Vec<String>> {
    if !config.uplink.is_empty() {
        return Ok(config.uplink.clone());
    }
    let found = ground.net.uplink().await.context("find the interface of the default route")?;
    Ok(found.into_iter().map(|uplink| uplink.name).collect())
}

async fn follow_events(
    datapath: &Datapath,
    observer: &Observer,
    tasks: &Tasks,
) -> anyhow::Result<()> {
    let mut events = datapath.events(tasks).await?;
    let observer = observer.clone();
    let token = tasks.token();
    tasks.spawn("flows", async move {
        while let Some(Some(batch)) = token.run_until_cancelled(events.recv()).await {
            observer.record(batch.clock_offset_ns, &batch.events);
        }
    });
    Ok(())
}

fn pods_config(config: &Config, ground: &Ground) -> beeline_pods::Config {
    let dns = u32::from(config.service_cidr.v4.network()).saturating_add(10);
    beeline_pods::Config {
        node_name: NodeName(config.node_name.as_str().into()),
        host_ips: ground.node_ips,
        pods_dir: config.data_dir.join("pods"),
        dns: beeline_pods::Dns {
            server: Ipv4Addr::from(dns),
            domain: config.cluster_domain.clone(),
            node_resolv_conf: std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
        },
    }
}

fn side(
    ground: &Ground,
    instance: &Instance,
    datapath: &Datapath,
    observer: Observer,
    tables: Reader,
    pods: &Pods,
    uplink: &Uplink,
) -> AgentSide {
    let changed = pods.clone();
    let state = uplink.state();
    let in_force = datapath.in_force();
    let lines = lines::Lines {
        runtime: Arc::clone(&ground.runtime) as Arc<dyn Runtime>,
        pods: pods.clone(),
        cgroups: ground.cgroup_root.join(format!("beeline-{}/pods", instance.id)),
    };
    AgentSide {
        datapath: datapath.clone(),
        observer,
        tables,
        images: Arc::clone(&ground.images),
        images_changed: Arc::new(move || changed.images_changed()),
        pods: Arc::new(lines),
        line: Arc::new(move || match &*state.borrow() {
            LineState::Connected => (true, "connected".to_owned()),
            LineState::Dialling => (false, "dialling".to_owned()),
            LineState::Down { why } => (false, format!("down, pods and connections go on: {why}")),
        }),
        ready: Arc::new(move || in_force.borrow().epoch.0 > 0),
    }
}
