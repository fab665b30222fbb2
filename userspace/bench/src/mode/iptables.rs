//! kube-proxy's rules for iptables, in either backend.

use std::time::{Duration, Instant};

use super::Mode;
use crate::{
    BenchError,
    rules::{iptables, model::Cluster},
    world::{Tool, World, run_tool},
};

/// The programs of a backend.
pub struct Backend {
    /// Adds to what is there, as kube-proxy calls it.
    restore: Tool,
    /// Replaces what is there.
    replace: Tool,
}

/// The kernel's own tables.
pub const LEGACY: Backend = Backend {
    restore: Tool {
        program: "iptables-legacy-restore",
        arguments: &["--wait", "--noflush", "--counters"],
    },
    replace: Tool { program: "iptables-legacy-restore", arguments: &["--wait"] },
};
/// Translated into nf_tables.
pub const NFT: Backend = Backend {
    restore: Tool {
        program: "iptables-nft-restore",
        arguments: &["--wait", "--noflush", "--counters"],
    },
    replace: Tool { program: "iptables-nft-restore", arguments: &["--wait"] },
};

/// Rules in one backend.
pub struct Iptables {
    backend: &'static Backend,
}

impl Iptables {
    /// If the backend's programs are installed.
    pub fn open(backend: &'static Backend) -> Result<Box<dyn Mode>, String> {
        let program = backend.restore.program;
        if !backend.restore.is_there() {
            return Err(format!("{program} is not installed: apt-get install iptables"));
        }
        Ok(Box::new(Self { backend }))
    }

    fn feed(&self, world: &World, text: &str) -> Result<Duration, BenchError> {
        world.node.run(|| {
            let start = Instant::now();
            run_tool(&self.backend.restore, text)?;
            Ok(start.elapsed())
        })
    }
}

impl Mode for Iptables {
    fn load(&mut self, world: &World, cluster: &Cluster) -> Result<Duration, BenchError> {
        self.feed(world, &iptables::load(cluster))
    }

    fn change(
        &mut self,
        world: &World,
        old: &Cluster,
        new: &Cluster,
    ) -> Result<Duration, BenchError> {
        self.feed(world, &iptables::change(old, new))
    }

    fn unload(&mut self, world: &World) -> Result<(), BenchError> {
        world.node.run(|| run_tool(&self.backend.replace, iptables::unload())).map(drop)
    }
}
