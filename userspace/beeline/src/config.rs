//! From flags and a file to one resolved configuration. Unknown keys are refused.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

mod check;
mod cidrs;
pub mod dataplane;
pub mod store;

pub use cidrs::{Cidrs, PortRange};
use dataplane::{Edge, LbMode, MapSize, NodePorts};
use store::StoreArgs;

/// Everything that a server or an agent can be told; flags win over the file.
#[derive(Clone, Debug, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NodeOptions {
    /// Read further settings from this YAML file; its keys are the names of these flags
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Where state is kept [default: /var/lib/beeline]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Where sockets and process ids are kept [default: /run/beeline]
    #[arg(long, value_name = "DIR")]
    pub run_dir: Option<PathBuf>,
    /// Where programs and maps are pinned [default: /sys/fs/bpf/beeline]
    #[arg(long, value_name = "DIR")]
    pub bpf_root: Option<PathBuf>,
    /// The cgroup v2 folder whose processes are served [default: the root of the v2 mount]
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Run in this network namespace: a name under /run/netns or a path
    #[arg(long, value_name = "NAME|PATH")]
    pub netns: Option<String>,
    /// The name of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node_name: Option<String>,
    /// The address at which other nodes reach this one [default: that of the default route]
    #[arg(long, value_name = "IP")]
    pub node_ip: Option<Ipv4Addr>,
    /// Where the API is served [default: 127.0.0.1:6443]
    #[arg(long, value_name = "IP:PORT")]
    pub listen: Option<SocketAddr>,
    /// A further name or address for the API's certificate; may be repeated
    #[arg(long, value_name = "NAME|IP")]
    pub tls_san: Vec<String>,
    /// The addresses of Pods; with an IPv6 range after a comma, of both families [default: 10.42.0.0/16]
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub pod_cidr: Option<Cidrs>,
    /// The addresses of Services; with an IPv6 range after a comma, of both families [default: 10.43.0.0/16]
    #[arg(long, value_name = "CIDR[,CIDR]")]
    pub service_cidr: Option<Cidrs>,
    /// The ports of nodes that Services may have [default: 30000-32767]
    #[arg(long, value_name = "FIRST-LAST")]
    pub service_node_port_range: Option<PortRange>,
    /// Give Services of type LoadBalancer the addresses of the nodes [default: true]
    #[arg(long, value_name = "BOOL")]
    pub service_lb: Option<bool>,
    /// The interfaces by which the world is reached: packets for Services that arrive there are balanced
    /// [default: that of the default route]
    #[arg(long, value_name = "IFNAME,..", value_delimiter = ',')]
    pub uplink: Vec<String>,
    /// How packets from outside reach a backend on another node: with this node's address, so that answers come back
    /// this way, or with the client's, so that the backend's node answers directly [default: snat]
    #[arg(long, value_enum)]
    pub lb_mode: Option<LbMode>,
    /// Whether packets from outside are translated by the interface's driver (XDP), before the kernel has made anything
    /// of them [default: off]
    #[arg(long, value_enum)]
    pub edge: Option<Edge>,
    /// Node ports and health checks answer at this node's addresses in these ranges only; with a range that holds it, at
    /// the loopback address too; `primary`: at the node's own address [default: at all but loopback]
    #[arg(long, value_name = "CIDR,..", value_delimiter = ',')]
    pub nodeport_addresses: Vec<String>,
    /// Pods that leave the cluster take this node's address [default: true]
    #[arg(long, value_name = "BOOL")]
    pub masquerade: Option<bool>,
    /// Record flows: without, `beeline flows` has nothing to show [default: true]
    #[arg(long, value_name = "BOOL")]
    pub flow_records: Option<bool>,
    /// The size of a map of the dataplane, such as CONNTRACK=524288; may be repeated. A map that exists keeps its size
    #[arg(long, value_name = "NAME=ENTRIES")]
    pub map_size: Vec<MapSize>,
    /// How many requests the API answers at once; priority levels share them out, and others wait
    /// [default: 20 per processor, 40 to 600]
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_requests_inflight: Option<u32>,
    /// What of which request is recorded: an audit.k8s.io/v1 Policy. Goes with --audit-log
    #[arg(long, value_name = "FILE")]
    pub audit_policy: Option<PathBuf>,
    /// Where requests are recorded, one JSON object a line
    #[arg(long, value_name = "FILE")]
    pub audit_log: Option<PathBuf>,
    /// The size at which the audit log is renamed and begun anew [default: 100]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub audit_log_max_size: Option<u64>,
    /// How many former audit logs are kept; 0 for all [default: 10]
    #[arg(long, value_name = "FILES")]
    pub audit_log_max_backups: Option<usize>,
    /// The days after which former audit logs are removed; 0 for never [default: 0]
    #[arg(long, value_name = "DAYS")]
    pub audit_log_max_age: Option<u64>,
    /// Which kinds are encrypted in the store and by which keys: an apiserver.config.k8s.io/v1 EncryptionConfiguration
    #[arg(long, value_name = "FILE")]
    pub encryption_config: Option<PathBuf>,
    /// How long requests are still taken after /readyz has begun to fail, when the server stops [default: 0]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub shutdown_delay: Option<u64>,
    /// The cluster's DNS domain [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub cluster_domain: Option<String>,
    /// The server to join, e.g. https://192.0.2.1:6443 (agent)
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// The token to join with, from `beeline token` on the server (agent)
    #[arg(long, value_name = "TOKEN", env = "BEELINE_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Where objects are kept: `embedded`, in the data directory, or `etcd=URL,..`, an etcd that is this cluster's alone
    /// [default: embedded]
    #[arg(long, value_name = "STORE")]
    pub store: Option<store::Engine>,
    /// Who vouches for etcd's certificate: a PEM file
    #[arg(long, value_name = "FILE")]
    pub store_ca: Option<PathBuf>,
    /// The certificate to show to etcd: a PEM file
    #[arg(long, value_name = "FILE")]
    pub store_cert: Option<PathBuf>,
    /// Its key: a PEM file
    #[arg(long, value_name = "FILE")]
    pub store_key: Option<PathBuf>,
    /// How large all objects may be together in the embedded store [default: 2048]
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub store_size_mib: Option<u64>,
    /// The size of a segment of the store's log [default: 64]
    #[arg(long, hide = true, value_name = "MIB", value_parser = clap::value_parser!(u64).range(4..=1024))]
    #[serde(skip)]
    pub store_segment_mib: Option<u64>,
    /// What to log: a level, or a filter such as `info,beeline_datapath=debug` [default: info]
    #[arg(long, value_name = "FILTER", env = "BEELINE_LOG")]
    pub log: Option<String>,
    /// End when this process, which started this one, ends
    #[arg(long, hide = true, value_name = "PID")]
    #[serde(skip)]
    pub die_with_parent: Option<u32>,
    /// How to log: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl From<LogFormat> for beeline_kit::telemetry::LogFormat {
    fn from(format: LogFormat) -> Self {
        match format {
            LogFormat::Text => Self::Text,
            LogFormat::Json => Self::Json,
        }
    }
}

/// Where a running beeline is found.
#[derive(Clone, Debug, Args)]
pub struct LookOptions {
    /// Where its state is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/beeline")]
    pub data_dir: PathBuf,
    /// Where its socket is
    #[arg(long, value_name = "DIR", default_value = "/run/beeline")]
    pub run_dir: PathBuf,
}

impl LookOptions {
    /// The socket on which the agent answers.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join(SOCKET)
    }
}

/// The name of the agent's socket in the run directory.
pub const SOCKET: &str = "beeline.sock";

/// What runs in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Both.
    Up,
    /// Control only.
    Server,
    /// Node only.
    Agent,
}

impl Role {
    /// Whether control runs here.
    pub fn serves(self) -> bool {
        matches!(self, Self::Up | Self::Server)
    }

    /// Whether a node runs here.
    pub fn works(self) -> bool {
        matches!(self, Self::Up | Self::Agent)
    }
}

/// The configuration in effect.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Config {
    /// What runs in this process.
    #[serde(skip)]
    pub role: Role,
    /// Where state is kept.
    pub data_dir: PathBuf,
    /// Where sockets and process ids are kept.
    pub run_dir: PathBuf,
    /// Where programs and maps are pinned.
    pub bpf_root: PathBuf,
    /// The cgroup v2 folder whose processes are served; `None`: the mount's root.
    pub cgroup_root: Option<PathBuf>,
    /// The network namespace to run in, as a path.
    pub netns: Option<PathBuf>,
    /// The name of this node.
    pub node_name: String,
    /// Its address, if it was given.
    pub node_ip: Option<Ipv4Addr>,
    /// Where the API is served.
    pub listen: SocketAddr,
    /// Further names for the API's certificate.
    pub tls_san: Vec<String>,
    /// The addresses of Pods.
    pub pod_cidr: Cidrs,
    /// The addresses of Services.
    pub service_cidr: Cidrs,
    /// The ports of nodes that Services may have.
    pub service_node_port_range: PortRange,
    /// Services of type LoadBalancer get the addresses of the nodes.
    pub service_lb: bool,
    /// The interfaces by which the world is reached; none: that of the default route.
    pub uplink: Vec<String>,
    /// How packets from outside reach a backend on another node.
    pub lb_mode: LbMode,
    /// Where packets from outside are translated.
    pub edge: Edge,
    /// Where node ports answer, as given.
    pub nodeport_addresses: Vec<String>,
    /// Pods that leave the cluster take this node's address.
    pub masquerade: bool,
    /// Flows are recorded.
    pub flow_records: bool,
    /// Sizes of maps that are not the usual ones.
    pub map_size: Vec<MapSize>,
    /// How many requests the API answers at once.
    pub max_requests_inflight: u32,
    /// What of which request is recorded.
    pub audit_policy: Option<PathBuf>,
    /// Where requests are recorded.
    pub audit_log: Option<PathBuf>,
    /// The size at which that is begun anew.
    pub audit_log_max_size: u64,
    /// How many former ones are kept.
    pub audit_log_max_backups: usize,
    /// The days after which these are removed.
    pub audit_log_max_age: u64,
    /// Which kinds are encrypted in the store.
    pub encryption_config: Option<PathBuf>,
    /// Seconds for which requests are still taken when the server stops.
    pub shutdown_delay: u64,
    /// The cluster's DNS domain.
    pub cluster_domain: String,
    /// The server to join.
    pub server: Option<String>,
    /// The token to join with.
    #[serde(skip)]
    pub token: Option<String>,
    /// Where objects are kept.
    #[serde(rename = "store", serialize_with = "engine")]
    pub store: StoreArgs,
    /// How large all objects may be together, if not the usual.
    pub store_size_mib: Option<u64>,
    /// The size of a segment of the store's log, if not the usual one.
    #[serde(skip)]
    pub store_segment_mib: Option<u64>,
    /// End with this process, which is the parent.
    #[serde(skip)]
    pub die_with_parent: Option<u32>,
    /// What to log.
    pub log: String,
    /// How to log.
    pub log_format: LogFormat,
}

impl Config {
    /// Merge flags and file, fill in defaults, and check what can be checked without the machine.
    pub fn resolve(role: Role, flags: NodeOptions) -> anyhow::Result<Self> {
        let file = match &flags.config {
            Some(path) => read(path)?,
            None => NodeOptions::default(),
        };
        let options = merge(flags, file);
        let path = |given: Option<PathBuf>, default: &str| given.unwrap_or_else(|| default.into());
        let config = Self {
            role,
            data_dir: path(options.data_dir, "/var/lib/beeline"),
            run_dir: path(options.run_dir, "/run/beeline"),
            bpf_root: path(options.bpf_root, "/sys/fs/bpf/beeline"),
            cgroup_root: options.cgroup_root,
            netns: options.netns.map(netns_path),
            node_name: node_name(options.node_name)?,
            node_ip: options.node_ip,
            listen: options.listen.unwrap_or((Ipv4Addr::LOCALHOST, 6443).into()),
            tls_san: options.tls_san,
            pod_cidr: options.pod_cidr.unwrap_or(cidr([10, 42, 0, 0])),
            service_cidr: options.service_cidr.unwrap_or(cidr([10, 43, 0, 0])),
            service_node_port_range: options
                .service_node_port_range
                .unwrap_or(PortRange { first: 30_000, last: 32_767 }),
            service_lb: options.service_lb.unwrap_or(true),
            uplink: options.uplink,
            lb_mode: options.lb_mode.unwrap_or_default(),
            edge: options.edge.unwrap_or_default(),
            nodeport_addresses: options.nodeport_addresses,
            masquerade: options.masquerade.unwrap_or(true),
            flow_records: options.flow_records.unwrap_or(true),
            map_size: options.map_size,
            max_requests_inflight: options.max_requests_inflight.unwrap_or_else(requests_at_once),
            audit_policy: options.audit_policy,
            audit_log: options.audit_log,
            audit_log_max_size: options.audit_log_max_size.unwrap_or(100),
            audit_log_max_backups: options.audit_log_max_backups.unwrap_or(10),
            audit_log_max_age: options.audit_log_max_age.unwrap_or(0),
            encryption_config: options.encryption_config,
            shutdown_delay: options.shutdown_delay.unwrap_or(0),
            cluster_domain: options.cluster_domain.unwrap_or_else(|| "cluster.local".into()),
            server: options.server,
            token: options.token,
            store: StoreArgs {
                store: Some(options.store.unwrap_or_default()),
                store_ca: options.store_ca,
                store_cert: options.store_cert,
                store_key: options.store_key,
            },
            store_size_mib: options.store_size_mib,
            store_segment_mib: options.store_segment_mib,
            die_with_parent: options.die_with_parent,
            log: options.log.unwrap_or_else(|| "info".into()),
            log_format: options.log_format.unwrap_or_default(),
        };
        config.node_ports()?;
        config.check()?;
        Ok(config)
    }

    /// Where node ports answer.
    pub fn node_ports(&self) -> anyhow::Result<NodePorts> {
        NodePorts::parse(&self.nodeport_addresses)
    }

    /// The URL at which this machine's own clients reach the API.
    pub fn api_url(&self) -> String {
        let ip = match self.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
            ip => ip,
        };
        format!("https://{}", SocketAddr::new(ip, self.listen.port()))
    }

    /// Where the admin's kubeconfig is written.
    pub fn kubeconfig(&self) -> PathBuf {
        self.data_dir.join("admin.kubeconfig")
    }

    /// The socket on which looking commands are answered.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join(SOCKET)
    }
}

/// Which engine, as the flag has it.
fn engine<S: serde::Serializer>(args: &StoreArgs, serializer: S) -> Result<S::Ok, S::Error> {
    args.store.as_ref().unwrap_or(&store::Engine::Embedded).serialize(serializer)
}

fn read(path: &Path) -> anyhow::Result<NodeOptions> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("read the configuration file {}", path.display()))?;
    // Without the excerpt, which says the same again.
    serde_saphyr::from_str(&text).map_err(|error| {
        anyhow!("parse the configuration file {}: {}", path.display(), error.without_snippet())
    })
}

fn merge(flags: NodeOptions, file: NodeOptions) -> NodeOptions {
    NodeOptions {
        config: None,
        data_dir: flags.data_dir.or(file.data_dir),
        run_dir: flags.run_dir.or(file.run_dir),
        bpf_root: flags.bpf_root.or(file.bpf_root),
        cgroup_root: flags.cgroup_root.or(file.cgroup_root),
        netns: flags.netns.or(file.netns),
        node_name: flags.node_name.or(file.node_name),
        node_ip: flags.node_ip.or(file.node_ip),
        listen: flags.listen.or(file.listen),
        tls_san: either(flags.tls_san, file.tls_san),
        pod_cidr: flags.pod_cidr.or(file.pod_cidr),
        service_cidr: flags.service_cidr.or(file.service_cidr),
        service_node_port_range: flags.service_node_port_range.or(file.service_node_port_range),
        service_lb: flags.service_lb.or(file.service_lb),
        uplink: either(flags.uplink, file.uplink),
        lb_mode: flags.lb_mode.or(file.lb_mode),
        edge: flags.edge.or(file.edge),
        nodeport_addresses: either(flags.nodeport_addresses, file.nodeport_addresses),
        masquerade: flags.masquerade.or(file.masquerade),
        flow_records: flags.flow_records.or(file.flow_records),
        map_size: either(flags.map_size, file.map_size),
        max_requests_inflight: flags.max_requests_inflight.or(file.max_requests_inflight),
        audit_policy: flags.audit_policy.or(file.audit_policy),
        audit_log: flags.audit_log.or(file.audit_log),
        audit_log_max_size: flags.audit_log_max_size.or(file.audit_log_max_size),
        audit_log_max_backups: flags.audit_log_max_backups.or(file.audit_log_max_backups),
        audit_log_max_age: flags.audit_log_max_age.or(file.audit_log_max_age),
        encryption_config: flags.encryption_config.or(file.encryption_config),
        shutdown_delay: flags.shutdown_delay.or(file.shutdown_delay),
        cluster_domain: flags.cluster_domain.or(file.cluster_domain),
        server: flags.server.or(file.server),
        token: flags.token.or(file.token),
        store: flags.store.or(file.store),
        store_ca: flags.store_ca.or(file.store_ca),
        store_cert: flags.store_cert.or(file.store_cert),
        store_key: flags.store_key.or(file.store_key),
        store_size_mib: flags.store_size_mib.or(file.store_size_mib),
        store_segment_mib: flags.store_segment_mib,
        die_with_parent: flags.die_with_parent,
        log: flags.log.or(file.log),
        log_format: flags.log_format.or(file.log_format),
    }
}

/// A list is one word: the file's does not add to the flags'.
fn either<T>(flags: Vec<T>, file: Vec<T>) -> Vec<T> {
    if flags.is_empty() { file } else { flags }
}

/// A name under /run/netns, or a path.
pub fn netns_path(given: String) -> PathBuf {
    if given.contains('/') { given.into() } else { Path::new("/run/netns").join(given) }
}

/// Lower case, as node names are; checked as upstream checks them when the node registers.
pub fn node_name(given: Option<String>) -> anyhow::Result<String> {
    let name = match given {
        Some(name) => name,
        None => rustix::system::uname()
            .nodename()
            .to_str()
            .context("read the host name: it is not UTF-8; give --node-name")?
            .to_owned(),
    };
    Ok(name.to_ascii_lowercase())
}

/// Upstream's six hundred are for large machines; on a small one as many requests only wait for one another, out of the
/// gate's sight.
fn requests_at_once() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors).unwrap_or(30).saturating_mul(20).clamp(40, 600)
}

fn cidr(octets: [u8; 4]) -> Cidrs {
    Cidrs::v4(Ipv4Net::new_assert(Ipv4Addr::from(octets), 16))
}

#[cfg(test)]
mod tests {
    use super::{Config, NodeOptions, Role};

    #[test]
    fn flags_win_over_the_file_and_unknown_keys_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, "node-name: from-file\ndata-dir: /tmp/from-file\n").unwrap();
        let flags = NodeOptions {
            config: Some(path.clone()),
            node_name: Some("From-Flag".into()),
            ..NodeOptions::default()
        };
        let config = Config::resolve(Role::Up, flags.clone()).unwrap();
        assert_eq!(config.node_name, "from-flag");
        assert_eq!(config.data_dir.to_str(), Some("/tmp/from-file"));

        std::fs::write(&path, "node-nam: x\n").unwrap();
        let error = format!("{:#}", Config::resolve(Role::Up, flags).unwrap_err());
        assert!(error.contains("config.yaml") && error.contains("node-nam"), "{error}");
    }
}
