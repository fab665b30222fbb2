//! The worker's side.

use std::{
    fs, io,
    io::{BufRead as _, Write as _},
    path::Path,
    time::Duration,
};

use super::{
    agent::{Agent, THREADS},
    client,
    protocol::{Answer, Order},
    server,
};
use crate::BenchError;

/// What an answer's line begins with: a test harness may write to the same pipe.
pub const MARK: &str = "@ ";

/// Do as told, until the input ends. The whole life of a worker process: call it while there is only one thread.
///
/// # Errors
/// When nobody listens to answers any more.
pub fn serve() -> Result<(), BenchError> {
    let mut agent = None;
    let pipe = |source| BenchError::File { path: "standard input and output".into(), source };
    for line in io::stdin().lock().lines() {
        let line = line.map_err(pipe)?;
        let answer = match serde_json::from_str(&line) {
            Ok(order) => carry_out(order, &mut agent)
                .unwrap_or_else(|error| Answer::Failed(error.to_string())),
            Err(error) => Answer::Failed(format!("not an order: {error}")),
        };
        let text = serde_json::to_string(&answer)
            .map_err(|source| BenchError::Json { what: "write an answer".to_owned(), source })?;
        let mut out = io::stdout().lock();
        writeln!(out, "\n{MARK}{text}").and_then(|()| out.flush()).map_err(pipe)?;
    }
    Ok(())
}

fn carry_out(order: Order, agent: &mut Option<Agent>) -> io::Result<Answer> {
    let no_agent = || io::Error::other("no agent was started");
    match order {
        Order::AgentStart(place) => {
            beeline_sys::process::frugal_allocator(THREADS);
            *agent = Some(Agent::start(&place)?);
            Ok(Answer::Done)
        }
        Order::AgentLoad { services, endpoints } => {
            agent.as_mut().ok_or_else(no_agent)?.load(services, endpoints)
        }
        Order::AgentChange { endpoint } => agent.as_mut().ok_or_else(no_agent)?.change(endpoint),
        Order::AgentForget => agent.as_mut().ok_or_else(no_agent)?.forget(),
        Order::AgentMemory => agent.as_ref().ok_or_else(no_agent)?.memory(),
        Order::Join { netns, cgroup, cpu } => {
            join(&netns, cgroup.as_deref(), cpu)?;
            Ok(Answer::Done)
        }
        Order::Listen { port } => {
            server::listen(port)?;
            Ok(Answer::Done)
        }
        Order::Connect { targets, count } => client::connect(&targets, count),
        Order::Exchange { targets, millis } => {
            client::exchange(&targets, Duration::from_millis(millis))
        }
        Order::RoundTrips { target, count } => client::round_trips(target, count),
        Order::Bulk { target, millis } => client::bulk(target, Duration::from_millis(millis)),
        Order::Await { target, endpoint, limit_millis } => {
            client::wait_for(target, endpoint, Duration::from_millis(limit_millis))
        }
        Order::CpuTime => cpu_time().map(Answer::Nanos),
    }
}

fn join(netns: &Path, cgroup: Option<&Path>, cpu: Option<usize>) -> io::Result<()> {
    if let Some(cgroup) = cgroup {
        fs::write(cgroup.join("cgroup.procs"), "0")?;
    }
    beeline_sys::netns::enter(netns).map_err(io::Error::other)?;
    if let Some(cpu) = cpu {
        pin(cpu)?;
    }
    Ok(())
}

/// Keep the calling thread, and those that it starts, on one CPU.
pub fn pin(cpu: usize) -> io::Result<()> {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    Ok(rustix::thread::sched_setaffinity(None, &cpus)?)
}

/// Of all threads, from the scheduler's own account: with softirqs that ran in their context.
fn cpu_time() -> io::Result<u64> {
    let mut total = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        // A thread may end meanwhile.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        total += text.split(' ').next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(total)
}
