//! The place where one mode is measured: four network namespaces around a node, joined by veth pairs.
//!
//! ```text
//!   client (a pod) ── pod0 ┐
//!                          ├ node ── be0 ── backend (all endpoints)
//!   outside        ── up0 ─┘
//! ```
//!
//! A namespace lives as long as a descriptor of this process, so nothing is left when it ends, however it ends.
//! Refuses default routes: nothing has a way to anywhere else.

mod leftovers;
mod namespace;
mod tools;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

pub use leftovers::Folder;
pub use namespace::Namespace;
pub use tools::{Tool, run as run_tool};

use crate::BenchError;

/// The client's address; a pod of the node.
pub const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 128, 0, 2);
/// The node's address.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// Hardware addresses: the last byte tells them apart.
const fn mac(last: u8) -> [u8; 6] {
    [0x02, 0, 0, 0, 0, last]
}
/// Of the node's link to the client.
pub const POD0_MAC: [u8; 6] = mac(0x11);
/// Of the client's link.
pub const CLIENT_MAC: [u8; 6] = mac(0x12);
/// Of the node's link to the outside.
pub const UP0_MAC: [u8; 6] = mac(0x21);
/// Of the outside's link.
pub const OUTSIDE_MAC: [u8; 6] = mac(0x22);
const BE0_MAC: [u8; 6] = mac(0x31);
const BACKEND_MAC: [u8; 6] = mac(0x32);

/// One world.
#[derive(Debug)]
pub struct World {
    /// A pod.
    pub client: Namespace,
    /// Whoever is not in the cluster.
    pub outside: Namespace,
    /// The node whose proxy is measured.
    pub node: Namespace,
    /// Where all endpoints are.
    pub backend: Namespace,
    /// A cgroup for the processes of this world.
    pub cgroup: Option<PathBuf>,
    /// Where files of this world may be.
    pub folder: PathBuf,
}

impl World {
    /// Make one; `name` is used for its folder and cgroup.
    pub fn new(name: &str, folder: &Folder) -> Result<Self, BenchError> {
        let world = Self {
            client: Namespace::new("client")?,
            outside: Namespace::new("outside")?,
            node: Namespace::new("node")?,
            backend: Namespace::new("backend")?,
            cgroup: folder.cgroup(name)?,
            folder: folder.subfolder(name)?,
        };
        for namespace in [&world.client, &world.outside, &world.node, &world.backend] {
            namespace.sysctl("net/ipv6/conf/all/disable_ipv6", "1")?;
            namespace.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
            namespace.sysctl("net/ipv4/conf/default/rp_filter", "0")?;
        }
        world.client.sysctl("net/ipv4/ip_local_port_range", "1024 65535")?;
        world.node.sysctl("net/ipv4/ip_forward", "1")?;
        world.forget_connections()?;
        world.link()?;
        world.node.inside(|| beeline_sys::netns::set_receive_offload("up0", true))?;
        Ok(world)
    }

    /// How long the node's connection tracking remembers datagrams that nobody answers. No-op where it is not there.
    pub fn remember_datagrams(&self, seconds: u32) -> Result<(), BenchError> {
        for what in ["udp_timeout", "udp_timeout_stream"] {
            self.conntrack(what, seconds)?;
        }
        Ok(())
    }

    /// Connections that are over are forgotten soon, so that no round finds the table full of the one before.
    fn forget_connections(&self) -> Result<(), BenchError> {
        for what in ["tcp_timeout_time_wait", "tcp_timeout_close"] {
            self.conntrack(what, 2)?;
        }
        Ok(())
    }

    fn conntrack(&self, what: &str, seconds: u32) -> Result<(), BenchError> {
        let name = format!("net/netfilter/nf_conntrack_{what}");
        if !Path::new("/proc/sys").join(&name).exists() {
            return Ok(());
        }
        self.node.sysctl(&name, &seconds.to_string())
    }

    fn link(&self) -> Result<(), BenchError> {
        let pair = |name: &str, ours: [u8; 6], theirs: [u8; 6], other: &Namespace| {
            format!(
                "link add {name} address {} type veth peer name eth0 address {} netns {}\n",
                show(ours),
                show(theirs),
                other.path().display()
            )
        };
        self.node.ip(&format!(
            "{}{}{}",
            pair("pod0", POD0_MAC, CLIENT_MAC, &self.client),
            pair("up0", UP0_MAC, OUTSIDE_MAC, &self.outside),
            pair("be0", BE0_MAC, BACKEND_MAC, &self.backend),
        ))?;
        self.node.ip(&format!(
            "addr add 10.128.0.1/30 dev pod0\naddr add {NODE}/30 dev up0\naddr add 10.64.1.1/30 dev be0\n\
             link set pod0 up\nlink set up0 up\nlink set be0 up\n\
             neigh replace {CLIENT} lladdr {} dev pod0 nud permanent\n\
             neigh replace 10.64.0.2 lladdr {} dev up0 nud permanent\n\
             neigh replace 10.64.1.2 lladdr {} dev be0 nud permanent\n\
             route add 10.144.0.0/12 via 10.64.1.2 dev be0\n\
             route add 198.18.0.0/15 via 10.64.0.2 dev up0\n",
            show(CLIENT_MAC),
            show(OUTSIDE_MAC),
            show(BACKEND_MAC)
        ))?;
        self.leaf(&self.client, &format!("{CLIENT}/30"), "10.128.0.1", POD0_MAC)?;
        self.leaf(&self.outside, "10.64.0.2/30", "10.64.0.1", UP0_MAC)?;
        self.leaf(&self.backend, "10.64.1.2/30", "10.64.1.1", BE0_MAC)?;
        // Every address of the range is an endpoint that answers.
        self.backend.ip("route add local 10.144.0.0/12 dev lo\n")
    }

    /// A namespace with one link and a way to the world's addresses, and to no other.
    fn leaf(
        &self,
        namespace: &Namespace,
        address: &str,
        gateway: &str,
        mac: [u8; 6],
    ) -> Result<(), BenchError> {
        namespace.ip(&format!(
            "addr add {address} dev eth0\nlink set eth0 up\n\
             neigh replace {gateway} lladdr {} dev eth0 nud permanent\n\
             route add 10.0.0.0/8 via {gateway} dev eth0\nroute add 198.18.0.0/15 via {gateway} dev eth0\n",
            show(mac)
        ))
    }
}

fn show(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
