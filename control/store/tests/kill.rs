//! kill -9 a hundred times, in the middle of writes, opening, snapshots and compaction: nothing acknowledged is missing
//! afterwards, nothing else is there by half, and revisions have no gap.
//!
//! `BEELINE_STORE_KILLS=1000` for more; `BEELINE_STORE_SEED` for the moments of a run that failed.
#![expect(clippy::print_stdout, reason = "a test with its own main reports by itself")]

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

#[path = "support/witness.rs"]
mod witness;
use witness::{Expected, Life};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("child") => witness::child(Path::new(arguments.get(2).context("no directory")?)),
        // What a test runner asks of a test binary.
        Some("--list") => Ok(()),
        _ => parent(),
    }
}

fn parent() -> anyhow::Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let rounds = number("BEELINE_STORE_KILLS").unwrap_or(100);
    let seed = number("BEELINE_STORE_SEED").unwrap_or_else(rand::random);
    println!("BEELINE_STORE_SEED={seed}");
    let dir = tempfile::tempdir()?;
    let (mut random, mut expected) = (StdRng::seed_from_u64(seed), Expected::default());
    for round in 0..rounds {
        let life = Duration::from_micros(random.random_range(0..60_000));
        // Some die before they are open, or while they are.
        let young = random.random_ratio(1, 4);
        run_and_kill(dir.path(), life, young, &mut expected).with_context(|| {
            let since = if young { "its start" } else { "it was open" };
            format!("round {round}, seed {seed}, killed {life:?} after {since}")
        })?;
    }
    let mut last = Life::begin(dir.path())?;
    last.opened(&mut expected).context("after the last kill")?;
    last.end(&mut expected)?;
    let writes = expected.acknowledged;
    ensure!(writes > rounds, "only {writes} writes in {rounds} rounds prove nothing");
    println!("{rounds} kills, {writes} writes acknowledged, none missing");
    Ok(())
}

fn run_and_kill(
    dir: &Path,
    life: Duration,
    young: bool,
    expected: &mut Expected,
) -> anyhow::Result<()> {
    let mut child = Life::begin(dir)?;
    if !young {
        child.opened(expected)?;
    }
    std::thread::sleep(life);
    child.end(expected)
}
