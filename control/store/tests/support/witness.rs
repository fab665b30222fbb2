//! A child that writes as fast as it can, and a parent that knows what must be there after its end, however that came.
//!
//! Each of the child's writers has its own keys and announces what it will do, does it, and prints the acknowledgement.
//! So at the end at most one write of each is open: afterwards the store must hold what was acknowledged, and of each
//! open write all or nothing; and its revision must be exactly the number of writes that it holds.
#![expect(clippy::print_stdout, reason = "the child talks to its parent over stdout")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use beeline_kit::Tasks;
use beeline_store::{Embedded, Options, Revision, Store};
use rustix::process::Signal;

const WRITERS: usize = 8;
const KEYS: usize = 12;
/// How long opening may take on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A value and the revision it was written at.
type Value = (u64, String);

/// What must be there.
#[derive(Debug, Default)]
pub struct Expected {
    live: BTreeMap<String, Value>,
    revision: u64,
    /// By writer: a key and what was to become of it. `None` is its removal.
    open: BTreeMap<String, (String, Option<String>)>,
    /// What a child has said so far of what it found.
    found: BTreeMap<String, Value>,
    /// How many writes were acknowledged in all.
    pub acknowledged: u64,
}

/// A running child; it ends with this.
pub struct Life {
    child: Child,
    lines: mpsc::Receiver<String>,
    reader: Option<JoinHandle<()>>,
}

// === impl Life ===

impl Life {
    /// Starts this program as the child of itself.
    pub fn begin(dir: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        let mut child = command.arg("child").arg(dir).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, lines) = mpsc::sync_channel(1 << 18);
        let reader = std::thread::spawn(move || forward(stdout, &sender));
        Ok(Self { child, lines, reader: Some(reader) })
    }

    /// Waits until the store is open, and compares what it holds. From then on that is what must be there.
    pub fn opened(&mut self, expected: &mut Expected) -> anyhow::Result<()> {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).context("the store did not open")?;
            expected.hear(&line)?;
            if line.starts_with("at ") {
                return Ok(());
            }
        }
    }

    /// Which process it is.
    pub fn pid(&self) -> anyhow::Result<rustix::process::Pid> {
        let pid = i32::try_from(self.child.id())?;
        rustix::process::Pid::from_raw(pid).context("no process id")
    }

    /// kill -9, then all that the child still said.
    pub fn end(mut self, expected: &mut Expected) -> anyhow::Result<()> {
        rustix::process::kill_process(self.pid()?, Signal::KILL)?;
        self.child.wait()?;
        for line in self.lines.iter() {
            expected.hear(&line)?;
        }
        // It may have been killed while it said what it had found.
        expected.found.clear();
        if let Some(reader) = self.reader.take() {
            reader.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        }
        Ok(())
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn forward(stdout: ChildStdout, sender: &mpsc::SyncSender<String>) {
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    // A line without its end was cut by the kill: it was not said.
    while stdout.read_line(&mut line).is_ok() && line.ends_with('\n') {
        if sender.send(std::mem::take(&mut line)).is_err() {
            break;
        }
    }
}

// === impl Expected ===

impl Expected {
    fn hear(&mut self, line: &str) -> anyhow::Result<()> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["try", writer, key, value] => {
                let value = (value != "-").then(|| value.to_owned());
                self.open.insert(writer.to_owned(), (key.to_owned(), value));
            }
            ["ack", writer, revision] => {
                let (key, value) = self.open.remove(writer).context("nothing was tried")?;
                self.acknowledged += 1;
                self.revision += 1;
                match value {
                    Some(value) => self.live.insert(key, (revision.parse()?, value)),
                    None => self.live.remove(&key),
                };
            }
            ["has", key, revision, value] => {
                self.found.insert(key.to_owned(), (revision.parse()?, value.to_owned()));
            }
            ["at", revision] => {
                let found = std::mem::take(&mut self.found);
                self.compare(&found, revision.parse()?)?;
            }
            _ => anyhow::bail!("the child says {line}"),
        }
        Ok(())
    }

    fn compare(&mut self, found: &BTreeMap<String, Value>, revision: u64) -> anyhow::Result<()> {
        for (key, value) in std::mem::take(&mut self.open).into_values() {
            let now = found.get(&key);
            if now != self.live.get(&key) && now.map(|(_, value)| value) == value.as_ref() {
                self.revision += 1;
                match now {
                    Some(now) => self.live.insert(key, now.clone()),
                    None => self.live.remove(&key),
                };
            }
        }
        for (key, held) in &self.live {
            let now = found.get(key).with_context(|| format!("{key} is missing: {held:?}"))?;
            ensure!(now == held, "{key} is {now:?}, and was acknowledged as {held:?}");
            ensure!(now.0 <= revision, "{key} is of revision {}, the store of {revision}", now.0);
        }
        for key in found.keys() {
            ensure!(self.live.contains_key(key), "{key} was removed, and is there");
        }
        ensure!(
            revision == self.revision,
            "the store is at revision {revision} after {} writes",
            self.revision
        );
        Ok(())
    }
}

// The child.

/// Everything happens often in so small a store: segments, snapshots, removals, writes of the index.
fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        snapshot_log_bytes: 8 << 10,
        reserve_bytes: 64 << 10,
        index_delay: Duration::from_millis(3),
        ..Options::default()
    }
}

/// Opens the store in `dir`, says what it holds, and writes until it is killed.
pub fn child(dir: &Path) -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let tasks = Tasks::new();
        let store = Embedded::open(dir, options(), &tasks).await?;
        let (entries, revision) = store.range("").await?;
        for entry in entries {
            let value = String::from_utf8_lossy(&entry.value);
            println!("has {} {} {value}", entry.key, entry.mod_revision);
        }
        println!("at {revision}");
        for writer in 0..WRITERS {
            let store = Arc::clone(&store);
            tasks.spawn("writer", async move {
                for n in 0.. {
                    if write(&store, writer, n).await.is_err() {
                        break;
                    }
                }
            });
        }
        anyhow::bail!("the store failed: {}", store.fatal().await)
    })
}

async fn write(store: &Embedded, writer: usize, n: usize) -> anyhow::Result<()> {
    let key = format!("/{writer}/{}", (n * 7) % KEYS);
    let current = store.get(&key).await?;
    // Sizes differ, so that frames do.
    let value = format!("{}-{n}-{}", std::process::id(), "x".repeat((n * 131) % 700));
    let remove = n % 5 == 4;
    say(&format!(
        "try {writer} {key} {}\n",
        if remove && current.is_some() { "-" } else { &value }
    ))?;
    let revision: Revision = match current {
        Some(entry) if remove => store.delete(&key, entry.mod_revision).await?,
        Some(entry) => store.update(&key, value.into(), entry.mod_revision).await?,
        None => store.create(&key, value.into()).await?,
    };
    say(&format!("ack {writer} {revision}\n"))
}

/// One call per line, so that a kill cuts between lines or within the last.
fn say(line: &str) -> anyhow::Result<()> {
    Ok(std::io::stdout().lock().write_all(line.as_bytes())?)
}
