//! kube-proxy's rules for nftables.

use std::time::{Duration, Instant};

use super::Mode;
use crate::{
    BenchError,
    rules::{
        model::{Cluster, Family},
        nftables,
    },
    world::{Tool, World, run_tool},
};

const NFT: Tool = Tool { program: "nft", arguments: &["-f", "-"] };

/// Table `kube-proxy`.
pub struct Nftables;

impl Nftables {
    /// If nft is installed.
    pub fn open() -> Result<Box<dyn Mode>, String> {
        if !NFT.is_there() {
            return Err("nft is not installed: apt-get install nftables".to_owned());
        }
        Ok(Box::new(Self))
    }

    fn feed(world: &World, text: &str) -> Result<Duration, BenchError> {
        world.node.run(|| {
            let start = Instant::now();
            run_tool(&NFT, text)?;
            Ok(start.elapsed())
        })
    }
}

impl Mode for Nftables {
    fn load(&mut self, world: &World, cluster: &Cluster) -> Result<Duration, BenchError> {
        Self::feed(world, &nftables::load(cluster))
    }

    fn change(
        &mut self,
        world: &World,
        old: &Cluster,
        new: &Cluster,
    ) -> Result<Duration, BenchError> {
        let took = Self::feed(world, &nftables::change(old, new))?;
        // kube-proxy deletes old chains with its next transaction, when nobody waits for it.
        Self::feed(world, &nftables::sweep(old, new))?;
        Ok(took)
    }

    fn unload(&mut self, world: &World) -> Result<(), BenchError> {
        Self::feed(world, &nftables::unload(Family::V4)).map(drop)
    }
}
