//! The API over HTTPS: creates beside an etcd's own puts, reads, lists, watches, and a restart with many objects.
//!
//! `cargo run --release -p beeline-apiserver --example bench -- DIR [--quick]`: the directory decides which disk is measured.
//! The server is a process of its own, so that its memory and the clients' are told apart.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod client;
mod figures;
mod peer;
mod reads;
mod restart;
mod server;
mod watches;
mod writes;

use std::path::Path;

use anyhow::Context as _;
use beeline_kit::Tasks;

use crate::server::Serving;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Size {
    rounds: usize,
    seconds: u64,
    pods: usize,
    watchers: usize,
    objects: usize,
}

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match words[..] {
        ["serve", dir] => runtime.block_on(server::serve(Path::new(dir))),
        [dir] => {
            let size =
                Size { rounds: 5, seconds: 3, pods: 10_000, watchers: 1_000, objects: 100_000 };
            runtime.block_on(measure(Path::new(dir), size))
        }
        [dir, "--quick"] => {
            let size = Size { rounds: 3, seconds: 1, pods: 2_000, watchers: 200, objects: 20_000 };
            runtime.block_on(measure(Path::new(dir), size))
        }
        _ => anyhow::bail!("usage: bench DIR [--quick]"),
    }
}

async fn measure(parent: &Path, size: Size) -> anyhow::Result<()> {
    let dir = tempfile::Builder::new().prefix("beeline-bench").tempdir_in(parent);
    let dir = dir.with_context(|| format!("make a folder in {}", parent.display()))?;
    let tasks = Tasks::new();
    figures::head();
    let serving = Serving::start(&dir.path().join("server")).await?;
    writes::measure(&serving, dir.path(), size, &tasks).await?;
    reads::measure(&serving, size, &tasks).await?;
    watches::measure(&serving, size, &tasks).await?;
    serving.stop().await?;
    restart::measure(&dir.path().join("many"), size, &tasks).await?;
    tasks.stop(std::time::Duration::from_secs(5)).await;
    Ok(())
}
