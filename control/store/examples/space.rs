//! Overwrites, and what the store takes on the disk meanwhile: never more than four times the live data and one segment.
//!
//! `cargo run --release -p beeline-store --example space -- DIR [PERCENT]`: so much of 1,000,000 overwrites of 10,000
//! keys and of 4,000 overwrites of 20 values of 400 KiB. Fails when the bound is broken at any look, 50 times a second.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use beeline_kit::Tasks;
use beeline_store::{Embedded, Options, Store};
use rand::{Rng as _, RngCore as _, SeedableRng as _, rngs::StdRng};

/// How many write at once.
const WRITERS: u64 = 64;

struct Case {
    name: &'static str,
    keys: u64,
    value_bytes: usize,
    overwrites: u64,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().context("usage: space DIR [PERCENT]")?;
    let percent: u64 = arguments.next().map_or(Ok(100), |text| text.parse())?;
    let dir = tempfile::Builder::new().prefix("beeline-space").tempdir_in(parent)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let cases = [
        Case { name: "1 KiB", keys: 10_000, value_bytes: 1_024, overwrites: 1_000_000 },
        Case { name: "400 KiB", keys: 20, value_bytes: 400 << 10, overwrites: 4_000 },
    ];
    println!(
        "OVERWRITES          SECONDS   LIVE MB   MOST MB    LOG  SNAPS  INDEX   END MB  BOUND MB"
    );
    for case in cases {
        let case = Case { overwrites: case.overwrites * percent / 100, ..case };
        runtime.block_on(measure(&dir.path().join(case.name.replace(' ', "")), &case))?;
    }
    Ok(())
}

async fn measure(dir: &Path, case: &Case) -> anyhow::Result<()> {
    let (tasks, options) = (Tasks::new(), Options::default());
    let segment_bytes = options.segment_bytes;
    let store = Embedded::open(dir, options, &tasks).await?;
    let start = Instant::now();
    let most = Arc::new([const { AtomicU64::new(0) }; 4]);
    let looking = Tasks::new();
    looking.spawn("look", look(dir.to_owned(), Arc::clone(&most)));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS.min(case.keys) {
        let (keys, value_bytes) = (case.keys, case.value_bytes);
        let writes = (case.keys + case.overwrites) / WRITERS.min(case.keys);
        writers.spawn(overwrite(Arc::clone(&store), writer, keys, value_bytes, writes));
    }
    for result in writers.join_all().await {
        result?;
    }
    let seconds = start.elapsed().as_secs_f64();
    looking.stop(Duration::ZERO).await;
    let live = store.status().live_bytes;
    tasks.stop(Duration::from_secs(60)).await;
    let bound = 4 * live + segment_bytes;
    let mb = |bytes: u64| bytes >> 20;
    let parts: Vec<u64> = most.iter().map(|most| mb(most.load(Ordering::Relaxed))).collect();
    let end = disk_bytes(dir);
    println!(
        "{:>9} x {:<7} {seconds:>7.1} {:>9} {:>9} {:>6} {:>6} {:>6} {:>8} {:>9}",
        case.overwrites,
        case.name,
        mb(live),
        parts[0],
        parts[1],
        parts[2],
        parts[3],
        mb(end),
        mb(bound)
    );
    let most = most[0].load(Ordering::Relaxed);
    ensure!(most <= bound, "{most} bytes on the disk are more than {bound}");
    Ok(())
}

async fn overwrite(
    store: Arc<Embedded>,
    writer: u64,
    keys: u64,
    value_bytes: usize,
    writes: u64,
) -> anyhow::Result<()> {
    let mut random = StdRng::seed_from_u64(writer);
    let writers = WRITERS.min(keys);
    // Each has its own keys, so that nobody loses a race.
    let own: Vec<String> = (0..keys)
        .filter(|key| key % writers == writer)
        .map(|key| format!("/space/{key}"))
        .collect();
    for n in 0..writes {
        let next = usize::try_from(n).unwrap_or(usize::MAX);
        let key = own.get(next).unwrap_or(&own[random.random_range(0..own.len())]);
        let mut value = vec![0; value_bytes];
        random.fill_bytes(&mut value);
        match store.get(key).await? {
            Some(entry) => store.update(key, value.into(), entry.mod_revision).await?,
            None => store.create(key, value.into()).await?,
        };
    }
    Ok(())
}

/// The most there ever is: all, log, snapshots, index.
async fn look(dir: PathBuf, most: Arc<[AtomicU64; 4]>) {
    loop {
        let parts = [dir.clone(), dir.join("log"), dir.join("snapshots"), dir.join("index")];
        for (part, most) in parts.iter().zip(most.iter()) {
            most.fetch_max(disk_bytes(part), Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn disk_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => disk_bytes(&entry.path()),
            Ok(found) => found.blocks() * 512,
            // Removed in this moment.
            Err(_) => 0,
        })
        .sum()
}
