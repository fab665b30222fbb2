//! Durable puts per second at 1, 16 and 128 writers at once, beside what the disk gives and, where it is installed, beside
//! etcd with as many clients, interleaved; then restarts and what they take.
//!
//! `cargo run --release -p beeline-store --example bench -- DIR [RECORDS]`: the directory decides which disk is measured.
#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod etcd;

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use beeline_kit::Tasks;
use beeline_store::{Embedded, Options, Status, Store};

const VALUE_BYTES: usize = 1_024;
const RUN: Duration = Duration::from_secs(2);
/// Runs of each figure, of which the median is printed.
const RUNS: usize = 3;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    if let [what, dir] = &words[..]
        && what.starts_with("open")
    {
        return runtime.block_on(open(Path::new(dir), what));
    }
    let mut arguments = words.into_iter();
    let parent = arguments.next().context("usage: bench DIR [RECORDS]")?;
    let records: u64 = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let dir = tempfile::Builder::new().prefix("beeline-bench").tempdir_in(parent)?;
    runtime.block_on(async {
        empty(&dir.path().join("empty")).await?;
        println!(
            "{:<8} {:>9} {:>11} {:>14} {:>8}",
            "WRITERS", "RAW SYNC", "EMBEDDED", "PER FDATASYNC", "ETCD"
        );
        for writers in [1, 16, 128] {
            let mut runs = Vec::new();
            for run in 0..RUNS {
                // Beside each other: a disk's pace changes from one minute to the next.
                let limit = raw(dir.path())?;
                let folder = dir.path().join(format!("w{writers}-{run}"));
                let (ours, batch) = embedded(&folder, writers).await?;
                let etcd = etcd::puts(dir.path(), writers).await?;
                runs.push([limit, ours, batch, etcd.unwrap_or(0.0)]);
            }
            let [limit, ours, batch, etcd] = [0, 1, 2, 3].map(|column| median(&runs, column));
            let etcd = if etcd > 0.0 { format!("{etcd:.0}") } else { "no etcd".to_owned() };
            println!("{writers:<8} {limit:>9.0} {ours:>11.0} {batch:>14.1} {etcd:>8}");
        }
        restart(&dir.path().join("restart"), records).await
    })
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

async fn embedded(dir: &Path, writers: u64) -> anyhow::Result<(f64, f64)> {
    let tasks = Tasks::new();
    let store = Embedded::open(dir, Options::default(), &tasks).await?;
    let rate = puts(Arc::clone(&store) as Arc<dyn Store>, writers).await?;
    let Status { syncs, revision, .. } = store.status();
    tasks.stop(Duration::from_secs(60)).await;
    drop(store);
    std::fs::remove_dir_all(dir)?;
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    Ok((rate, revision.0 as f64 / syncs as f64))
}

/// Creates by so many at once, per second.
async fn puts(store: Arc<dyn Store>, writers: u64) -> anyhow::Result<f64> {
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
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    Ok(count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

fn median(runs: &[[f64; 4]], column: usize) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(|run| run[column]).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
    // What a start takes in a process that has done nothing else.
    let program = std::env::current_exe()?;
    for what in ["open", "open-without-index"] {
        let status = std::process::Command::new(&program).arg(what).arg(dir).status()?;
        anyhow::ensure!(status.success(), "{what} failed");
    }
    Ok(())
}

/// Opens a store, and says how long it took and what it takes.
async fn open(dir: &Path, what: &str) -> anyhow::Result<()> {
    if what == "open-without-index" {
        std::fs::remove_dir_all(dir.join("index"))?;
    }
    let (tasks, start) = (Tasks::new(), Instant::now());
    let store = Embedded::open(dir, Options::default(), &tasks).await?;
    let serving = start.elapsed().as_secs_f64();
    while store.status().indexed != Some(store.revision()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "{what}, {} keys: serves after {serving:.2} s, the index is complete after {:.2} s; {} MB resident",
        store.status().keys,
        start.elapsed().as_secs_f64(),
        resident()? >> 10
    );
    tasks.stop(Duration::from_secs(60)).await;
    Ok(())
}

fn resident() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS")).context("no VmRSS")?;
    line.split_whitespace().nth(1).context("no figure")?.parse().context("no number")
}
