//! What the owner of a datapath decides.

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
};

use beeline_tables::NodeName;

/// Where one agent's datapath lives.
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
    pub host_addresses: Vec<Ipv4Addr>,
}

impl Config {
    /// Without host addresses; they are a field.
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
        }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        instance_directory(&self.bpf_root, &self.instance)
    }
}

pub(crate) fn instance_directory(bpf_root: &Path, instance: &str) -> PathBuf {
    bpf_root.join(instance)
}

/// A pod's link that is to carry our programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAttach {
    /// The pod's unique id.
    pub uid: Arc<str>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Host-side link, in the network namespace of this process.
    pub ifindex: u32,
    /// Hardware address of the pod's link.
    pub pod_mac: [u8; 6],
    /// Hardware address of the host-side link.
    pub host_mac: [u8; 6],
    /// Cookie of the pod's network namespace.
    pub netns_cookie: u64,
}
