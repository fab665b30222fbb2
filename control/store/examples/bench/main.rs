//! Durable puts per second at 1, 16 and 128 writers at once, beside what the disk gives; then a restart.
//!
//! `cargo run --release -p beeline-store --example bench -- DIR [RECORDS]`: the directory decides which disk is measured.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use beeline_kit::Tasks;
use beeline_store::{Embedded, Options, Store};

const VALUE_BYTES: usize = 1_024;
const RUN: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().context("usage: bench DIR [RECORDS]")?;
    let records: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let dir = tempfile::Builder::new().prefix("beeline-bench").tempdir_in(parent)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        empty(&dir.path().join("empty")).await?;
        for writers in [1, 16, 128] {
            // The limit beside each figure: a disk's pace changes from one minute to the next.
            let limit = raw(dir.path())?;
            println!("fdatasync of 1 KiB, raw      {limit:>9.0} /s");
            let (puts, syncs) = puts(&dir.path().join(format!("w{writers}")), writers).await?;
            println!(
                "durable puts, {writers:>3} at once    {puts:>9.0} /s   {:.1} per fdatasync, {:.2} x raw",
                puts / syncs,
                puts / limit
            );
        }
        restart(&dir.path().join("restart"), records).await
    })?;
    println!("resident at the end          {:>9} kB", resident()?);
    Ok(())
}

fn raw(dir: &Path) -> anyhow::Result<f64> {
    let file = File::create(dir.join("raw"))?;
    file.write_all_at(&vec![0; 32 << 20], 0)?;
    file.sync_all()?;
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < RUN {
        file.write_all_at(&[1; VALUE_BYTES], u64::from(count % 16_384) * 1_024)?;
        file.sync_data()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

async fn empty(dir: &Path) -> anyhow::Result<()> {
    for what in ["a new store", "an empty store"] {
        let (tasks, start) = (Tasks::new(), Instant::now());
        let store = Embedded::open(dir, Options::default(), &tasks).await?;
        let opened = start.elapsed().as_secs_f64() * 1e3;
        tokio::time::sleep(Duration::from_secs(1)).await;
        println!("open {what:<15} {opened:>17.1} ms  {} kB resident", resident()?);
        tasks.stop(Duration::from_secs(60)).await;
        drop(store);
    }
    Ok(())
}

async fn puts(dir: &Path, writers: u64) -> anyhow::Result<(f64, f64)> {
    let tasks = Tasks::new();
    let store = Embedded::open(dir, Options::default(), &tasks).await?;
    let count = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for writer in 0..writers {
        let (store, count) = (Arc::clone(&store), Arc::clone(&count));
        running.spawn(async move {
            let mut n = 0_u64;
            while start.elapsed() < RUN {
                store.create(&format!("/bench/{writer}/{n}"), vec![1; VALUE_BYTES].into()).await?;
                count.fetch_add(1, Ordering::Relaxed);
                n += 1;
            }
            anyhow::Ok(())
        });
    }
    for result in running.join_all().await {
        result?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let syncs = store.status().syncs;
    tasks.stop(Duration::from_secs(60)).await;
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    Ok((count.load(Ordering::Relaxed) as f64 / seconds, syncs as f64 / seconds))
}

async fn restart(dir: &Path, records: u64) -> anyhow::Result<()> {
    let tasks = Tasks::new();
    let store = Embedded::open(dir, Options::default(), &tasks).await?;
    let mut running = tokio::task::JoinSet::new();
    for writer in 0..256 {
        let store = Arc::clone(&store);
        running.spawn(async move {
            for n in 0..records / 256 {
                store.create(&format!("/bench/{writer}/{n}"), vec![1; VALUE_BYTES].into()).await?;
            }
            anyhow::Ok(())
        });
    }
    for result in running.join_all().await {
        result?;
    }
    tasks.stop(Duration::from_secs(60)).await;
    drop(store);
    for (name, fast_load_bytes) in [("replay of the log", u64::MAX), ("load from the index", 0)] {
        let (tasks, start) = (Tasks::new(), Instant::now());
        let options = Options { fast_load_bytes, ..Options::default() };
        let store = Embedded::open(dir, options, &tasks).await?;
        let keys = store.status().keys;
        println!(
            "restart, {name:<20} {:>8.0} ms  {keys} keys",
            start.elapsed().as_secs_f64() * 1e3
        );
        tasks.stop(Duration::from_secs(60)).await;
    }
    Ok(())
}

fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
    line.split_whitespace().nth(1).context("no figure")?.parse().context("no number")
}
