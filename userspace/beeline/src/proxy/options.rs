//! The flags of `beeline proxy`: kube-proxy's where it has one, ours beside them.
//!
//! In: what was typed. Out: one resolved configuration. What cannot be right is refused with the flag's name.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use beeline_kit::telemetry;
use clap::Args;
use ipnet::IpNet;

use crate::config::{
    self, LogFormat,
    dataplane::{Edge, LbMode, NodePorts, with_loopback},
};

/// kube-proxy's port for health.
const HEALTHZ_PORT: u16 = 10256;
/// kube-proxy's port for metrics.
const METRICS_PORT: u16 = 10249;

/// `beeline proxy`.
#[derive(Clone, Debug, Args)]
pub struct ProxyArgs {
    /// The API server and who to be there [default: the service account of the pod that this runs in]
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
    /// The name of this node in the cluster [default: the host name]
    #[arg(long, value_name = "NAME", visible_alias = "node-name")]
    pub hostname_override: Option<String>,
    /// Where /healthz and /livez are served; empty: nowhere
    #[arg(long, value_name = "IP[:PORT]", default_value = "0.0.0.0:10256")]
    pub healthz_bind_address: String,
    /// Where /metrics and /proxyMode are served; empty: nowhere
    #[arg(long, value_name = "IP[:PORT]", default_value = "127.0.0.1:10249")]
    pub metrics_bind_address: String,
    /// Node ports and health checks answer at this node's addresses in these ranges only; `primary`: at those that the
    /// Node object names [default: at all]
    #[arg(long, value_name = "CIDR,..", value_delimiter = ',')]
    pub nodeport_addresses: Vec<String>,
    /// How packets from outside reach a backend on another node: with this node's address, so that answers come back
    /// this way, or with the client's, so that the backend answers directly
    #[arg(long, value_enum, default_value = "snat")]
    pub lb_mode: LbMode,
    /// Whether packets from outside are translated by the interface's driver (XDP), before the kernel has made anything
    /// of them
    #[arg(long, value_enum, default_value = "off")]
    pub edge: Edge,
    /// What belongs to the cluster, beside the pod ranges and addresses that Node objects name
    #[arg(long, value_name = "CIDR,..", value_delimiter = ',')]
    pub cluster_cidr: Vec<IpNet>,
    /// The interfaces at which packets from outside arrive [default: that of the default route]
    #[arg(long, value_name = "IFNAME,..", value_delimiter = ',')]
    pub uplink: Vec<String>,
    /// Where programs and maps are pinned
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/beeline")]
    pub bpf_root: PathBuf,
    /// The cgroup v2 folder whose processes are served [default: the root of the v2 mount]
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Where the id of what this made in the kernel is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/beeline")]
    pub data_dir: PathBuf,
    /// Where the socket and the process id are kept
    #[arg(long, value_name = "DIR", default_value = "/run/beeline")]
    pub run_dir: PathBuf,
    /// Run in this network namespace: a name under /run/netns or a path
    #[arg(long, value_name = "NAME|PATH")]
    pub netns: Option<String>,
    /// What to log: a level, or a filter such as `info,beeline_datapath=debug`
    #[arg(long, value_name = "FILTER", env = "BEELINE_LOG", default_value = "info")]
    pub log: String,
    /// How to log
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

/// What is in effect.
#[derive(Clone, Debug)]
pub struct Options {
    /// As given; the rest needs no second look.
    pub args: ProxyArgs,
    /// The name of this node.
    pub node: String,
    /// Where /healthz and /livez are served.
    pub healthz: Option<SocketAddr>,
    /// Where /metrics and /proxyMode are served.
    pub metrics: Option<SocketAddr>,
    /// Where node ports answer.
    pub node_ports: NodePorts,
    /// Whether they answer at the loopback address too.
    pub loopback_node_ports: bool,
    /// The network namespace to run in, as a path.
    pub netns: Option<PathBuf>,
}

impl Options {
    /// Check what can be checked without the machine.
    pub fn resolve(args: ProxyArgs) -> anyhow::Result<Self> {
        if let Err(why) = telemetry::check(&args.log) {
            bail!("--log {:?} cannot be understood ({why}): give a level such as debug", args.log);
        }
        Ok(Self {
            node: config::node_name(args.hostname_override.clone())?,
            healthz: address("--healthz-bind-address", &args.healthz_bind_address, HEALTHZ_PORT)?,
            metrics: address("--metrics-bind-address", &args.metrics_bind_address, METRICS_PORT)?,
            node_ports: NodePorts::parse(&args.nodeport_addresses)?,
            loopback_node_ports: with_loopback(&args.nodeport_addresses),
            netns: args.netns.clone().map(config::netns_path),
            args,
        })
    }
}

/// As kube-proxy takes it: with the usual port if none is given.
fn address(flag: &str, given: &str, port: u16) -> anyhow::Result<Option<SocketAddr>> {
    if given.is_empty() {
        return Ok(None);
    }
    let bare = given.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(Some((ip, port).into()));
    }
    let parsed = given.parse();
    parsed.map(Some).with_context(|| {
        format!(
            "{flag} {given:?} is no address: give one such as 127.0.0.1:{port}, or \"\" for none"
        )
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{LbMode, NodePorts, Options, ProxyArgs};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: ProxyArgs,
    }

    fn resolve(line: &str) -> anyhow::Result<Options> {
        let words = std::iter::once("proxy").chain(line.split_whitespace());
        Options::resolve(Line::try_parse_from(words)?.args)
    }

    #[test]
    fn defaults_are_kube_proxys() {
        let options = resolve("").unwrap();
        assert_eq!(options.healthz.unwrap().to_string(), "0.0.0.0:10256");
        assert_eq!(options.metrics.unwrap().to_string(), "127.0.0.1:10249");
        assert_eq!((options.node_ports, options.args.lb_mode), (NodePorts::All, LbMode::Snat));
        assert!(!options.node.is_empty());
    }

    #[test]
    fn addresses_may_lack_their_port_or_be_nothing() {
        let options = resolve("--healthz-bind-address=192.0.2.1 --metrics-bind-address=").unwrap();
        assert_eq!(options.healthz.unwrap().to_string(), "192.0.2.1:10256");
        assert_eq!(options.metrics, None);
        let options = resolve("--healthz-bind-address=[::] --metrics-bind-address=[::1]:99");
        let options = options.unwrap();
        assert_eq!(options.healthz.unwrap().to_string(), "[::]:10256");
        assert_eq!(options.metrics.unwrap().to_string(), "[::1]:99");
        let refused = resolve("--healthz-bind-address=everywhere").unwrap_err().to_string();
        assert!(refused.contains("--healthz-bind-address \"everywhere\""), "{refused}");
    }

    #[test]
    fn node_ports_can_be_kept_to_some_addresses() {
        let options = resolve("--nodeport-addresses=192.0.2.0/24,2001:db8::/64").unwrap();
        assert!(matches!(options.node_ports, NodePorts::Within(ranges) if ranges.len() == 2));
        assert!(!options.loopback_node_ports);
        let with = |ranges: &str| {
            resolve(&format!("--nodeport-addresses={ranges}")).unwrap().loopback_node_ports
        };
        assert!(with("192.0.2.0/24,127.0.0.0/8") && with("::/0"));
        let options = resolve("--nodeport-addresses=primary --node-name=N1").unwrap();
        assert_eq!((options.node_ports, options.node.as_str()), (NodePorts::Primary, "n1"));
        assert_eq!(
            resolve("--nodeport-addresses=0.0.0.0/0,::/0").unwrap().node_ports,
            NodePorts::All
        );
        let refused = resolve("--nodeport-addresses=primary,10.0.0.0/8").unwrap_err().to_string();
        assert!(refused.contains("no range"), "{refused}");
    }
}
