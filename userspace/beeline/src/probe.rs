//! A client and a server that join a pod's namespace and cgroup, so that the kernel treats them as the pod.
//!
//! A hidden subcommand, run as a process of its own: joining is for single-threaded processes.

use std::{
    net::{SocketAddrV4, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::output;

mod datagrams;

/// The hidden first argument.
pub const PROBE: &str = "probe";
/// A connection that takes longer than this has failed.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Connections that may wait to be accepted.
const ACCEPT_QUEUE: i32 = 4096;
/// Connections before anything is measured, so that caches and neighbours are warm.
const WARM_UP: u32 = 200;

/// Whose place to take.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Place {
    /// Its network namespace.
    pub netns: PathBuf,
    /// Its cgroup.
    pub cgroup: PathBuf,
}

/// What to do there.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Accept connections on a port, and drop them, until standard input closes.
    Listen(u16),
    /// Connect to each target in turn, this many times each.
    Connect {
        /// Where to.
        targets: Vec<SocketAddrV4>,
        /// How often each.
        count: u32,
    },
    /// Send HTTP requests at a steady rate until standard input closes; print a [`Load`].
    Request {
        /// Where to.
        target: SocketAddrV4,
        /// How many a second, in all.
        per_second: u32,
    },
    /// Answer every datagram with this text and its length, until standard input closes.
    Answer {
        /// Where.
        port: u16,
        /// With what.
        text: String,
    },
    /// Send datagrams, each from a new socket, and print who answered how often.
    Datagrams {
        /// Where to.
        target: SocketAddrV4,
        /// How many.
        count: u32,
        /// How long each.
        bytes: usize,
    },
    /// Keep one connection to a server that echoes, and use it at a steady rate until standard input closes or it is
    /// lost; print a [`Load`].
    Hold {
        /// Where to.
        target: SocketAddrV4,
        /// How many messages a second.
        per_second: u32,
    },
}

/// What came of a steady stream of requests.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    /// How many were sent.
    pub sent: u64,
    /// How many had no proper answer.
    pub failed: u64,
    /// Why, of the first few.
    pub failures: Vec<String>,
}

/// A probe's orders.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Orders {
    /// Where.
    pub place: Place,
    /// What.
    pub work: Work,
}

/// How long connecting took, in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50_us: f64,
    /// One in ten takes longer.
    pub p90_us: f64,
    /// One in a hundred takes longer.
    pub p99_us: f64,
}

/// Carry out orders; they are the one argument, as JSON.
pub fn run(orders: &str) -> anyhow::Result<()> {
    let orders: Orders = serde_json::from_str(orders).context("understand the orders")?;
    join(&orders.place)?;
    match orders.work {
        Work::Listen(port) => listen(port),
        Work::Connect { targets, count } => {
            output::line(&serde_json::to_string(&connect(&targets, count)?)?);
            Ok(())
        }
        Work::Request { target, per_second } => {
            output::line(&serde_json::to_string(&request(target, per_second)?)?);
            Ok(())
        }
        Work::Answer { port, text } => datagrams::answer(port, &text),
        Work::Datagrams { target, count, bytes } => {
            output::line(&serde_json::to_string(&datagrams::send(target, count, bytes)?)?);
            Ok(())
        }
        Work::Hold { target, per_second } => {
            output::line(&serde_json::to_string(&hold(target, per_second)?)?);
            Ok(())
        }
    }
}

fn join(place: &Place) -> anyhow::Result<()> {
    let procs = place.cgroup.join("cgroup.procs");
    std::fs::write(&procs, std::process::id().to_string())
        .with_context(|| format!("join the cgroup {}", place.cgroup.display()))?;
    beeline_sys::netns::enter(&place.netns)?;
    Ok(())
}

fn listen(port: u16) -> anyhow::Result<()> {
    let listener =
        TcpListener::bind(("0.0.0.0", port)).with_context(|| format!("listen on port {port}"))?;
    // The usual 128 overflow when the acceptor loses its core, and a lost SYN is a second of waiting.
    rustix::net::listen(&listener, ACCEPT_QUEUE).context("lengthen the accept queue")?;
    output::line("ready");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The client resets; nothing is ever sent.
            drop(stream);
        }
    });
    std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink())?;
    Ok(())
}

fn connect(targets: &[SocketAddrV4], count: u32) -> anyhow::Result<Vec<Latency>> {
    for _ in 0..WARM_UP {
        for target in targets {
            connect_once(*target)?;
        }
    }
    let mut times = vec![Vec::with_capacity(count as usize); targets.len()];
    for round in 0..count {
        // Every other round goes the other way, so that neither always follows the other.
        let order: Vec<usize> = match round % 2 {
            0 => (0..targets.len()).collect(),
            _ => (0..targets.len()).rev().collect(),
        };
        for index in order {
            times[index].push(connect_once(targets[index])?);
        }
    }
    Ok(times.into_iter().map(latency).collect())
}

fn connect_once(target: SocketAddrV4) -> anyhow::Result<f64> {
    let start = Instant::now();
    let stream = TcpStream::connect_timeout(&target.into(), CONNECT_LIMIT)
        .with_context(|| format!("connect to {target}"))?;
    let took = start.elapsed();
    // A reset on close: tens of thousands of connections must not use up the ports.
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))
        .context("set SO_LINGER")?;
    Ok(took.as_secs_f64() * 1e6)
}

/// Requests in flight at once, at most: a slow answer must not slow the others down.
const REQUEST_THREADS: u32 = 8;
/// Failures that are told in full.
const FAILURES_TOLD_MAX: usize = 10;

fn request(target: SocketAddrV4, per_second: u32) -> anyhow::Result<Load> {
    let over = std::sync::atomic::AtomicBool::new(false);
    let interval = Duration::from_secs(1) * REQUEST_THREADS / per_second.max(1);
    output::line("ready");
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..REQUEST_THREADS)
            .map(|_| scope.spawn(|| request_steadily(target, interval, &over)))
            .collect();
        let waited = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let mut total = Load::default();
        for thread in threads {
            let part =
                thread.join().map_err(|_| anyhow::anyhow!("a requesting thread panicked"))?;
            total.sent += part.sent;
            total.failed += part.failed;
            total.failures.extend(part.failures);
        }
        total.failures.truncate(FAILURES_TOLD_MAX);
        waited.context("wait for the end")?;
        Ok(total)
    })
}

fn request_steadily(
    target: SocketAddrV4,
    interval: Duration,
    over: &std::sync::atomic::AtomicBool,
) -> Load {
    let mut load = Load::default();
    let start = Instant::now();
    while !over.load(std::sync::atomic::Ordering::Relaxed) {
        let due = start + interval * u32::try_from(load.sent).unwrap_or(u32::MAX);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        load.sent += 1;
        if let Err(error) = request_once(target) {
            load.failed += 1;
            if load.failures.len() < FAILURES_TOLD_MAX {
                load.failures.push(format!("{:.3} s: {error:#}", start.elapsed().as_secs_f64()));
            }
        }
    }
    load
}

fn request_once(target: SocketAddrV4) -> anyhow::Result<()> {
    use std::io::{Read as _, Write as _};
    let mut stream =
        TcpStream::connect_timeout(&target.into(), CONNECT_LIMIT).context("connect")?;
    stream.set_read_timeout(Some(CONNECT_LIMIT))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").context("send")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("receive")?;
    let text = String::from_utf8_lossy(&answer);
    if !text.contains(" 200 ") || !text.trim_end().contains("\r\n\r\n") {
        bail!("not a whole answer: {text:?}");
    }
    Ok(())
}

fn hold(target: SocketAddrV4, per_second: u32) -> anyhow::Result<Load> {
    let mut stream = TcpStream::connect_timeout(&target.into(), CONNECT_LIMIT)
        .with_context(|| format!("connect to {target}"))?;
    stream.set_read_timeout(Some(CONNECT_LIMIT))?;
    stream.set_nodelay(true)?;
    echo_once(&mut stream, 0)?;
    output::line("ready");
    let interval = Duration::from_secs(1) / per_second.max(1);
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let mut load = Load::default();
            while !over.load(std::sync::atomic::Ordering::Relaxed) && load.failed == 0 {
                std::thread::sleep(interval);
                load.sent += 1;
                if let Err(error) = echo_once(&mut stream, load.sent) {
                    load.failed += 1;
                    load.failures.push(format!("message {}: {error:#}", load.sent));
                }
            }
            load
        });
        let waited = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        waited.context("wait for the end")?;
        holder.join().map_err(|_| anyhow::anyhow!("the holding thread panicked"))
    })
}

/// Each message is another one, so that no answer can be an old one.
fn echo_once(stream: &mut TcpStream, number: u64) -> anyhow::Result<()> {
    use std::io::{Read as _, Write as _};
    let message = number.to_be_bytes();
    stream.write_all(&message).context("send")?;
    let mut answer = [0_u8; size_of::<u64>()];
    stream.read_exact(&mut answer).context("receive")?;
    anyhow::ensure!(answer == message, "sent {message:?}, received {answer:?}");
    Ok(())
}

fn latency(mut times: Vec<f64>) -> Latency {
    times.sort_by(f64::total_cmp);
    let at = |per_cent: usize| {
        times.get((times.len() * per_cent / 100).min(times.len().saturating_sub(1)))
    };
    let value = |per_cent| at(per_cent).copied().unwrap_or(f64::NAN);
    Latency { p50_us: value(50), p90_us: value(90), p99_us: value(99) }
}

/// A listening probe; ends when dropped.
pub struct Listener {
    child: Child,
}

impl Listener {
    /// Start one and wait until it listens.
    pub fn start(place: &Place, port: u16) -> anyhow::Result<Self> {
        use std::io::BufRead as _;
        let orders = Orders { place: place.clone(), work: Work::Listen(port) };
        let mut child = command(&orders)?.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.as_mut().context("the probe's output")?;
        std::io::BufReader::new(stdout).read_line(&mut line)?;
        let listener = Self { child };
        if line.trim() != "ready" {
            bail!("the listening probe did not start");
        }
        Ok(listener)
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Measure connections from a place to several targets, interleaved.
pub async fn measure(
    place: &Place,
    targets: &[SocketAddrV4],
    count: u32,
) -> anyhow::Result<Vec<Latency>> {
    let work = Work::Connect { targets: targets.to_vec(), count };
    let command = command(&Orders { place: place.clone(), work })?;
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await?;
    if !output.status.success() {
        bail!("measure: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).context("understand the probe's figures")
}

fn command(orders: &Orders) -> anyhow::Result<Command> {
    use std::os::unix::process::CommandExt as _;
    let mut command = Command::new(std::env::current_exe()?);
    // A group of its own: Ctrl-C is for whoever started the probe.
    command.arg(PROBE).arg(serde_json::to_string(orders)?).process_group(0);
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::latency;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let found = latency((1..=100).rev().map(f64::from).collect());
        assert_eq!((found.p50_us, found.p90_us, found.p99_us), (51.0, 91.0, 100.0));
    }
}
