//! The command line as text: what was typed, not yet what it means.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::{
    config::{LookOptions, NodeOptions, store::StoreArgs},
    proxy::ProxyArgs,
};

/// Kubernetes with its network in the kernel.
#[derive(Debug, Parser)]
#[command(name = "beeline", version = crate::version::LONG, propagate_version = false)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a whole cluster on this machine: server and agent in one process
    Up(NodeOptions),
    /// Run the API server, store, scheduler and controllers
    Server(NodeOptions),
    /// Run a node that joins a server
    Agent(NodeOptions),
    /// Run the dataplane alone, in the place of kube-proxy, for any Kubernetes cluster
    Proxy(ProxyArgs),
    /// Run a throwaway three-node cluster in namespaces, with an example app
    Demo(DemoArgs),
    /// Show connections and packets, with the names of pods and Services
    Flows(FlowsArgs),
    /// Show what the kernel holds: frontends, backends, open connections
    Services(ServicesArgs),
    /// Show health, the kernel features in use, and what is missing
    Status(StatusArgs),
    /// Import, list and remove images on this node
    Image {
        /// Which.
        #[command(subcommand)]
        command: ImageCommand,
    },
    /// Save, check and restore what the API server has stored
    Snapshot {
        /// Which.
        #[command(subcommand)]
        command: SnapshotCommand,
    },
    /// Print the token with which nodes join
    Token(LookOptions),
    /// Print the admin kubeconfig
    Kubeconfig(LookOptions),
    /// Stop the beeline of this data directory; pods and connections stay unless told otherwise
    Stop(StopArgs),
    /// Print the configuration in effect
    Config(NodeOptions),
    /// Measure on this host
    Bench {
        /// Which.
        #[command(subcommand)]
        command: BenchCommand,
    },
    /// Print the version
    Version {
        /// How.
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Print a completion script for a shell
    Completion {
        /// Which.
        shell: clap_complete::Shell,
    },
    /// Write man pages into a folder
    Man {
        /// Where to.
        folder: PathBuf,
    },
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For machines: one JSON document, or one a line where results keep coming.
    Json,
}

/// `beeline flows`.
#[derive(Debug, Args)]
pub struct FlowsArgs {
    /// Where beeline runs.
    #[command(flatten)]
    pub look: LookOptions,
    /// Keep printing flows as they come
    #[arg(short, long)]
    pub follow: bool,
    /// At most this many of the newest flows
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// From or to this pod; the name may be the beginning of one
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub pod: Option<String>,
    /// Through this Service
    #[arg(long, value_name = "NAMESPACE/NAME")]
    pub service: Option<String>,
    /// With this verdict: forwarded, translated, redirected, dropped or refused
    #[arg(long)]
    pub verdict: Option<String>,
    /// With this protocol: tcp, udp, icmp
    #[arg(long)]
    pub protocol: Option<String>,
    /// Not older than this, e.g. `30s`, `5m`, `2h`
    #[arg(long, value_name = "DURATION")]
    pub since: Option<String>,
    /// Of this connection: 16 hex digits
    #[arg(long, value_name = "ID")]
    pub flow_id: Option<String>,
    /// Ask every node through the API server with this kubeconfig instead of the agent of this machine
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// How to print
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `beeline services`.
#[derive(Debug, Args)]
pub struct ServicesArgs {
    /// Where beeline runs.
    #[command(flatten)]
    pub look: LookOptions,
    /// How to print
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `beeline status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where beeline runs.
    #[command(flatten)]
    pub look: LookOptions,
    /// How to print
    #[arg(short, long, default_value = "table")]
    pub output: Output,
}

/// `beeline image`.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Import an archive made by `docker save`, or an OCI layout in a tar file
    Import {
        /// Where beeline runs.
        #[command(flatten)]
        look: LookOptions,
        /// The archive
        archive: PathBuf,
    },
    /// Write an example image around Debian's static busybox, as `docker save` would
    Example {
        /// The image's name
        #[arg(long, default_value = "hello:1")]
        name: String,
        /// The archive to write
        archive: PathBuf,
    },
    /// List images
    #[command(visible_alias = "ls")]
    List {
        /// Where beeline runs.
        #[command(flatten)]
        look: LookOptions,
        /// How to print
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Remove an image's name, and what no other image needs
    #[command(visible_alias = "rm")]
    Remove {
        /// Where beeline runs.
        #[command(flatten)]
        look: LookOptions,
        /// The image, e.g. `hello:1`
        image: String,
    },
}

/// `beeline snapshot`.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Save all objects in a file, while the server serves or from the data directory of one that does not run
    Save {
        /// Where beeline runs.
        #[command(flatten)]
        look: LookOptions,
        /// What is saved.
        #[command(flatten)]
        store: StoreArgs,
        /// The file to write
        file: PathBuf,
    },
    /// Read all of a saved file, or of the store of a server that does not run, and say whether it is sound
    Verify {
        /// Where beeline's data is.
        #[command(flatten)]
        look: LookOptions,
        /// The file; without it, the store in the data directory
        file: Option<PathBuf>,
    },
    /// Make a store of a saved file: in the data directory, which must hold none, or in an etcd without keys
    Restore {
        /// Where beeline's data is.
        #[command(flatten)]
        look: LookOptions,
        /// Where to.
        #[command(flatten)]
        store: StoreArgs,
        /// By how much revisions rise above those saved, so that clients who saw what is lost list again
        #[arg(long, value_name = "N", default_value_t = beeline_store::backup::REVISION_BUMP)]
        bump_revision: u64,
        /// The file to read
        file: PathBuf,
    },
}

/// `beeline stop`.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// Where beeline runs.
    #[command(flatten)]
    pub look: LookOptions,
    /// Also end every pod and remove everything that beeline made on this machine, but the data
    #[arg(long)]
    pub kill: bool,
}

/// `beeline demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Requests sent to the example Service
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub requests: u32,
    /// Connections measured, each way, for the latency comparison
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..))]
    pub connects: u32,
    /// Leave the cluster running until Ctrl-C, and say how to use it
    #[arg(long)]
    pub keep: bool,
}

/// `beeline bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Empty disk to Ready, Deployments to running, a restart, idle memory and processor time
    Boot {
        /// How many runs
        #[arg(long, default_value_t = 5)]
        runs: u32,
        /// How many pods are started at once, beside the Deployment of three
        #[arg(long, default_value_t = 20)]
        pods: u64,
        /// How to print
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// Connect latency from a pod through a Service beside the direct one, interleaved
    Connect {
        /// How many connections each way
        #[arg(long, default_value_t = 20_000)]
        connects: u32,
        /// How to print
        #[arg(short, long, default_value = "table")]
        output: Output,
    },
    /// The proxy beside iptables and nftables in kube-proxy's layouts, in namespaces of its own
    Proxy(BenchProxyArgs),
}

/// `beeline bench proxy`.
#[derive(Debug, Args)]
pub struct BenchProxyArgs {
    /// A first look that ends within two minutes: 1 and 1,000 Services
    #[arg(long)]
    pub quick: bool,
    /// How many Services, one size after the other; 30,000 and more take nft minutes to load
    #[arg(long, value_name = "N", value_delimiter = ',', value_parser = service_count)]
    pub services: Vec<usize>,
    /// Which of direct, iptables-legacy, iptables-nft, nftables, beeline, beeline-xdp, beeline-no-flows; all without it,
    /// of a quick run all but the last
    #[arg(long, value_name = "MODE", value_delimiter = ',')]
    pub modes: Vec<beeline_bench::ModeName>,
    /// Write all figures as JSON; `-` is standard output, in place of the tables
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write a self-contained page with plots
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Compare with the JSON of an earlier run, and fail if ours is worse beyond the spread
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
}

/// So many Services have addresses in the measured world.
fn service_count(text: &str) -> Result<usize, String> {
    let count: usize = text.parse().map_err(|error| format!("{error}"))?;
    match count {
        1..=200_000 => Ok(count),
        _ => Err("from 1 to 200000".to_owned()),
    }
}
