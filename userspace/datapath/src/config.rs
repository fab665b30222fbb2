//! What the owner of a datapath decides.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use beeline_abi::{limits, maps};
use beeline_tables::NodeName;
use ipnet::IpNet;

/// Where one agent's datapath lives, and what it does there.
#[derive(Clone, Debug)]
pub struct Config {
    /// A bpffs, or where one is to be mounted.
    pub bpf_root: PathBuf,
    /// The cgroup whose processes are served: a directory in a cgroup v2 mount.
    pub cgroup_root: PathBuf,
    /// Six hex digits that name everything this agent creates.
    pub instance: String,
    /// This node.
    pub node: NodeName,
    /// This node's own addresses.
    pub host_addresses: Vec<IpAddr>,
    /// Those at which node ports answer.
    pub node_port_addresses: Vec<IpAddr>,
    /// Whether node ports answer at the loopback addresses too, for callers on the node.
    pub loopback_node_ports: bool,
    /// Every caller below the cgroup is served, whatever its network namespace: for nodes whose pods others make.
    pub every_caller: bool,
    /// Links by which the world is reached: packets of Services that arrive there are translated. By name, in the network
    /// namespace of this process.
    pub uplinks: Vec<String>,
    /// Whether the links' drivers are asked to translate, before the kernel has made a packet of what arrives.
    pub edge: Edge,
    /// How answers from backends on other nodes find back.
    pub lb_mode: LbMode,
    /// Whether pods that leave the cluster take the node's address.
    pub masquerade: bool,
    /// Whether flows are recorded: what `beeline flows` shows, at the price that the proxy benchmark measures.
    pub flow_records: bool,
    /// What belongs to the cluster, beside what its nodes say.
    pub cluster_ranges: Vec<IpNet>,
    /// Source ports for those who take the node's address: first and last. Outside the range from which the kernel takes its own.
    pub snat_ports: (u16, u16),
    /// How much fits into maps that are made anew.
    pub sizes: Sizes,
    /// How programs get onto links.
    pub link_hook: LinkHook,
}

/// How programs get onto links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinkHook {
    /// tcx where the kernel has it, clsact elsewhere.
    #[default]
    Newest,
    /// clsact, also where there is tcx.
    Clsact,
}

/// How answers from backends on other nodes find back to callers outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LbMode {
    /// Through this node, whose address the backend sees.
    #[default]
    Snat,
    /// Straight from the backend's node, which must run beeline too; the backend sees the caller's address.
    Dsr,
}

/// Whether packets are translated in the driver (XDP).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// No: at the link's tc hook only.
    #[default]
    Off,
    /// In the driver; links whose driver cannot are refused.
    Native,
}

/// How many entries fit into maps, where that is a matter of taste. Maps that exist keep the size they were made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Addresses and ports at which Services are reached.
    pub frontends: u32,
    /// Places in backend lists.
    pub slots: u32,
    /// Backends.
    pub backends: u32,
    /// Sockets with a translated connection.
    pub connections: u32,
    /// Directions of tracked connections.
    pub conntrack: u32,
    /// Clients that stay with their backend.
    pub affinity: u32,
    /// Directions of flows.
    pub flows: u32,
    /// Addresses with an identity.
    pub endpoints: u32,
    /// Bytes of the event ring; a power of two.
    pub event_bytes: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            frontends: limits::FRONTENDS_MAX,
            slots: limits::SLOTS_MAX,
            backends: limits::BACKENDS_MAX,
            connections: limits::CONNECTIONS_MAX,
            conntrack: limits::CONNTRACK_MAX,
            affinity: limits::AFFINITY_MAX,
            flows: limits::FLOWS_MAX,
            endpoints: limits::ENDPOINTS_MAX,
            event_bytes: limits::EVENTS_BYTES,
        }
    }
}

impl Sizes {
    /// Sets the size of one map by its name; `false` when it is none whose size is a matter of taste.
    pub fn set(&mut self, map: &str, entries: u32) -> bool {
        let size = match map {
            maps::SERVICES => &mut self.frontends,
            maps::BACKEND_SLOTS => &mut self.slots,
            maps::BACKENDS => &mut self.backends,
            maps::CONNECTIONS => &mut self.connections,
            maps::CONNTRACK => &mut self.conntrack,
            maps::AFFINITY => &mut self.affinity,
            maps::FLOWS => &mut self.flows,
            maps::ENDPOINTS => &mut self.endpoints,
            maps::EVENTS => &mut self.event_bytes,
            _ => return false,
        };
        *size = entries;
        true
    }

    /// The names that [`Sizes::set`] knows.
    pub const NAMES: [&'static str; 9] = [
        maps::SERVICES,
        maps::BACKEND_SLOTS,
        maps::BACKENDS,
        maps::CONNECTIONS,
        maps::CONNTRACK,
        maps::AFFINITY,
        maps::FLOWS,
        maps::ENDPOINTS,
        maps::EVENTS,
    ];

    /// The maps that these sizes are about.
    pub(crate) fn by_map(&self) -> [(&'static str, u32); 10] {
        [
            (maps::SERVICES, self.frontends),
            (maps::BACKEND_SLOTS, self.slots),
            (maps::BACKENDS, self.backends),
            (maps::BACKEND_COUNTERS, self.backends),
            (maps::CONNECTIONS, self.connections),
            (maps::CONNTRACK, self.conntrack),
            (maps::AFFINITY, self.affinity),
            (maps::FLOWS, self.flows),
            (maps::ENDPOINTS, self.endpoints),
            (maps::EVENTS, self.event_bytes),
        ]
    }
}

impl Config {
    /// Without addresses and links; they are fields.
    pub fn new(
        bpf_root: impl Into<PathBuf>,
        cgroup_root: impl Into<PathBuf>,
        instance: &str,
        node: &str,
    ) -> Self {
        Self {
            bpf_root: bpf_root.into(),
            cgroup_root: cgroup_root.into(),
            instance: instance.to_owned(),
            node: NodeName(node.into()),
            host_addresses: Vec::new(),
            node_port_addresses: Vec::new(),
            loopback_node_ports: false,
            every_caller: false,
            uplinks: Vec::new(),
            edge: Edge::Off,
            lb_mode: LbMode::Snat,
            masquerade: false,
            flow_records: true,
            cluster_ranges: Vec::new(),
            snat_ports: SNAT_PORTS,
            sizes: Sizes::default(),
            link_hook: LinkHook::default(),
        }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        instance_directory(&self.bpf_root, &self.instance)
    }
}

/// Below the node ports (30000-32767) and the kernel's own (32768-60999), above what servers listen on as a rule.
pub const SNAT_PORTS: (u16, u16) = (10_000, 29_999);

pub(crate) fn instance_directory(bpf_root: &Path, instance: &str) -> PathBuf {
    bpf_root.join(instance)
}

/// A pod's link that is to carry our programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAttach {
    /// The pod's unique id.
    pub uid: Arc<str>,
    /// Its addresses: one of each family at most.
    pub addresses: Vec<IpAddr>,
    /// Host-side link, in the network namespace of this process.
    pub ifindex: u32,
    /// Hardware address of the pod's link.
    pub pod_mac: [u8; 6],
    /// Hardware address of the host-side link.
    pub host_mac: [u8; 6],
    /// Cookie of the pod's network namespace.
    pub netns_cookie: u64,
}
