//! kill -9 under writes, 50 times: nothing acknowledged is missing afterwards.
//!
//! The child opens the store, prints what it finds, then writes as fast as it can and prints every acknowledgement.
//! The parent kills it at a random moment and compares what the next child finds with all that was acknowledged.
#![expect(clippy::print_stdout, reason = "the child talks to its parent over stdout")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use beeline_kit::Tasks;
use beeline_store::{Embedded, Options, Revision, Store};

const ROUNDS: u32 = 50;
const WRITERS: u32 = 8;

/// Revision and value of each key that someone was told of.
type Acknowledged = BTreeMap<String, (u64, String)>;

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("child") => child(Path::new(arguments.get(2).context("no directory")?)),
        // What a test runner asks of a test binary.
        Some("--list") => Ok(()),
        _ => parent(),
    }
}

fn parent() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut acknowledged = Acknowledged::new();
    let mut random = std::process::id();
    for round in 0..ROUNDS {
        // A linear congruence is random enough, and the seed is told.
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let life = Duration::from_millis(u64::from(random >> 16) % 60);
        run_and_kill(dir.path(), life, &mut acknowledged).with_context(|| {
            format!(
                "round {round}, seed {}, killed {life:?} after the first write",
                std::process::id()
            )
        })?;
    }
    let writes =
        acknowledged.values().map(|(revision, _)| revision).max().context("nothing was written")?;
    ensure!(*writes > u64::from(ROUNDS), "only {writes} writes in {ROUNDS} rounds prove nothing");
    println!("{ROUNDS} kills, {writes} writes acknowledged, none missing");
    Ok(())
}

fn run_and_kill(dir: &Path, life: Duration, acknowledged: &mut Acknowledged) -> anyhow::Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    let mut child = Killed(command.arg("child").arg(dir).stdout(Stdio::piped()).spawn()?);
    let stdout = child.0.stdout.take().context("no stdout")?;
    let (sender, lines) = mpsc::sync_channel(1 << 16);
    let reader = std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        // A line without its end was cut by the kill: the acknowledgement was not complete.
        while stdout.read_line(&mut line).is_ok() && line.ends_with('\n') {
            if sender.send(std::mem::take(&mut line)).is_err() {
                break;
            }
        }
    });
    let deadline = Duration::from_secs(60);
    let mut found = Acknowledged::new();
    let revision = loop {
        let line = lines.recv_timeout(deadline).context("the child did not open the store")?;
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["has", key, revision, value] => {
                found.insert(key.into(), (revision.parse()?, value.into()));
            }
            ["at", revision] => break revision.parse()?,
            _ => anyhow::bail!("the child says {line}"),
        }
    };
    compare(acknowledged, &found, revision)?;
    let killed_at = Instant::now() + life;
    std::thread::sleep(killed_at.saturating_duration_since(Instant::now()));
    drop(child);
    for line in lines {
        if let ["ack", key, revision, value] = line.split_whitespace().collect::<Vec<_>>()[..] {
            acknowledged.insert(key.into(), (revision.parse()?, value.into()));
        }
    }
    reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))
}

/// A child that ends with the round, however the round ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What was acknowledged must be there, or have been overwritten by a write whose answer the kill has eaten.
fn compare(acknowledged: &Acknowledged, found: &Acknowledged, at: u64) -> anyhow::Result<()> {
    for (key, (revision, value)) in acknowledged {
        ensure!(*revision <= at, "{key} was acknowledged at {revision}, the store is at {at}");
        let (now, content) = found.get(key).with_context(|| format!("{key} is missing"))?;
        ensure!(now >= revision, "{key} went back from {revision} to {now}");
        ensure!(now > revision || content == value, "{key} has another value at {revision}");
    }
    Ok(())
}

fn child(dir: &Path) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let tasks = Tasks::new();
        let options = Options {
            segment_bytes: 64 << 10,
            reserve_bytes: 0,
            index_delay: Duration::from_millis(3),
            ..Options::default()
        };
        let store = Embedded::open(dir, options, &tasks).await?;
        let (entries, revision) = store.range("").await?;
        for entry in entries {
            println!(
                "has {} {} {}",
                entry.key,
                entry.mod_revision,
                String::from_utf8_lossy(&entry.value)
            );
        }
        println!("at {revision}");
        for writer in 0..WRITERS {
            let store = std::sync::Arc::clone(&store);
            tasks.spawn("writer", async move {
                for n in 0.. {
                    let key = format!("/{writer}/{}", n % 20);
                    let value = format!("{}-{n}", std::process::id());
                    if let Ok(revision) = put(&store, &key, &value).await {
                        // One write call per line, so that a kill cuts between lines or within the last.
                        let _ = std::io::stdout()
                            .lock()
                            .write_all(format!("ack {key} {revision} {value}\n").as_bytes());
                    }
                }
            });
        }
        store.fatal().await;
        anyhow::bail!("the store failed")
    })
}

async fn put(store: &Embedded, key: &str, value: &str) -> anyhow::Result<Revision> {
    let value = value.to_owned().into();
    Ok(match store.get(key).await? {
        Some(entry) => store.update(key, value, entry.mod_revision).await?,
        None => store.create(key, value).await?,
    })
}
