//! What is measured side by side: ways from a Service's address to an endpoint.

mod beeline;
mod direct;
mod iptables;
mod nftables;

use std::{
    net::{SocketAddr, SocketAddrV4},
    str::FromStr,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    BenchError,
    rules::model::{Cluster, ServicePort},
    worker::Launcher,
    world::{NODE, World},
};

/// The name of a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModeName {
    /// Straight to an endpoint, routed: the limit.
    Direct,
    /// kube-proxy's iptables rules in the kernel's own tables.
    IptablesLegacy,
    /// The same rules in nf_tables.
    IptablesNft,
    /// kube-proxy's nftables rules.
    Nftables,
    /// Ours: connections are translated when they are made, packets from outside at the link's tc hook.
    Beeline,
    /// The same with packets from outside translated in the link's driver.
    BeelineXdp,
    /// Ours without flow records: what they cost.
    BeelineNoFlows,
}

impl ModeName {
    /// All of them, the limit first and ours last.
    pub const ALL: [Self; 7] = [
        Self::Direct,
        Self::IptablesLegacy,
        Self::IptablesNft,
        Self::Nftables,
        Self::Beeline,
        Self::BeelineXdp,
        Self::BeelineNoFlows,
    ];

    /// As it is typed and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::IptablesLegacy => "iptables-legacy",
            Self::IptablesNft => "iptables-nft",
            Self::Nftables => "nftables",
            Self::Beeline => "beeline",
            Self::BeelineXdp => "beeline-xdp",
            Self::BeelineNoFlows => "beeline-no-flows",
        }
    }

    /// Whether it is this project's.
    #[must_use]
    pub fn is_ours(self) -> bool {
        match self {
            Self::Direct | Self::IptablesLegacy | Self::IptablesNft | Self::Nftables => false,
            Self::Beeline | Self::BeelineXdp | Self::BeelineNoFlows => true,
        }
    }
}

impl FromStr for ModeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|mode| mode.name()).collect();
            format!("no such mode; there are {}", all.join(", "))
        })
    }
}

/// A way, at work in one world.
pub trait Mode {
    /// Make all Services known. Nothing of ours may be there. How long it took from the finished text on.
    fn load(&mut self, world: &World, cluster: &Cluster) -> Result<Duration, BenchError>;

    /// Replace what changed between two clusters, the first of which is loaded. How long it took until it was in force.
    fn change(
        &mut self,
        world: &World,
        old: &Cluster,
        new: &Cluster,
    ) -> Result<Duration, BenchError>;

    /// Remove everything again.
    fn unload(&mut self, world: &World) -> Result<(), BenchError>;

    /// Bytes of memory that processes and maps of this mode use. `None`: it is the kernel's own and has to be found out.
    fn memory(&mut self) -> Result<Option<u64>, BenchError> {
        Ok(None)
    }

    /// Forget connections of earlier rounds, where a short life set for the kernel's own tracking does not do it.
    fn forget(&mut self) -> Result<(), BenchError> {
        Ok(())
    }

    /// Where a client connects to.
    fn target(&self, service: &ServicePort) -> SocketAddr {
        SocketAddr::new(service.cluster_ip, service.port)
    }

    /// Where packets from outside go to, if the Service is to be had there.
    fn outside_target(&self, service: &ServicePort) -> Option<SocketAddrV4> {
        service.node_port.map(|port| SocketAddrV4::new(NODE, port))
    }
}

/// A mode, or what to do to have it.
pub fn open(name: ModeName, launcher: &Launcher) -> Result<Box<dyn Mode>, String> {
    let ours = |in_driver, flow_records| {
        beeline::Beeline::open(launcher, beeline::Extras { in_driver, flow_records })
    };
    match name {
        ModeName::Direct => Ok(Box::new(direct::Direct)),
        ModeName::IptablesLegacy => iptables::Iptables::open(&iptables::LEGACY),
        ModeName::IptablesNft => iptables::Iptables::open(&iptables::NFT),
        ModeName::Nftables => nftables::Nftables::open(),
        ModeName::Beeline => ours(false, true),
        ModeName::BeelineXdp => ours(true, true),
        ModeName::BeelineNoFlows => ours(false, false),
    }
}
