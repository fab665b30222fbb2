//! Packets as fast as one CPU makes them: an XDP program whose frames really leave (XDP live frames), and one that counts
//! and drops what arrives.
//!
//! In: what a packet looks like, how many flows. Out: how many were sent and arrived, and the CPU time of it all.
//! Sender, forwarding and receiver run on one CPU, that of the calling thread: a veth hands packets over in softirq.

mod assembly;
mod frame;
mod program;

use std::path::PathBuf;

use beeline_sys::bpf::{NumberMap, XdpProgram};

pub use frame::Frame;

use crate::BenchError;

/// Which packets belong to one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flows {
    /// This many flows, in turn; a power of two.
    Same(u32),
    /// Every packet begins another flow, from this number on.
    New(u64),
}

/// A sender of one kind of packet.
pub struct Sender {
    program: XdpProgram,
    state: NumberMap,
    frame: Vec<u8>,
}

impl Sender {
    /// Make the program.
    pub fn new(frame: &Frame) -> Result<Self, BenchError> {
        let state = NumberMap::new(1, 2)?;
        let program = XdpProgram::load(&program::sender(&state, frame))?;
        Ok(Self { program, state, frame: frame.bytes() })
    }

    /// The next packets belong to these flows.
    pub fn begin(&self, flows: Flows) -> Result<(), BenchError> {
        let state = match flows {
            Flows::Same(flows) => [0, u64::from(flows.next_power_of_two() - 1)],
            Flows::New(first) => [first, u64::MAX],
        };
        Ok(self.state.set(0, state)?)
    }

    /// Send through a link of the calling thread's network namespace.
    pub fn send(&self, ifindex: u32, count: u32) -> Result<(), BenchError> {
        Ok(self.program.run_live(&self.frame, ifindex, count)?)
    }
}

/// Counts and drops what a link receives, for as long as it lives.
pub struct Receiver {
    count: NumberMap,
    _link: std::os::fd::OwnedFd,
}

impl Receiver {
    /// Begin on a link of the calling thread's network namespace.
    pub fn new(ifindex: u32) -> Result<Self, BenchError> {
        let count = NumberMap::new(1, 1)?;
        let program = XdpProgram::load(&program::receiver(&count))?;
        Ok(Self { _link: program.attach(ifindex)?, count })
    }

    /// How many packets came so far.
    pub fn count(&self) -> Result<u64, BenchError> {
        let [count] = self.count.get(0)?;
        Ok(count)
    }
}

/// CPU time of the calling thread and of the softirq thread of a CPU, which takes over when there is much to do.
pub fn cpu_time_ns(cpu: usize) -> Result<u64, BenchError> {
    let own = run_time_ns(PathBuf::from("/proc/thread-self/schedstat"))?;
    let helper = softirq_thread(cpu).map_or(Ok(0), run_time_ns)?;
    Ok(own + helper)
}

fn run_time_ns(path: PathBuf) -> Result<u64, BenchError> {
    let text = std::fs::read_to_string(&path)
        .map_err(|source| BenchError::File { path: path.clone(), source })?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.ok_or(BenchError::Unreadable { path, text })
}

/// Where the kernel accounts for `ksoftirqd/N`. Not visible in a process namespace of one's own.
fn softirq_thread(cpu: usize) -> Option<PathBuf> {
    let name = format!("ksoftirqd/{cpu}");
    let processes = std::fs::read_dir("/proc").ok()?;
    let is_it = |path: &PathBuf| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let found = processes.flatten().map(|entry| entry.path()).find(is_it)?;
    Some(found.join("schedstat"))
}
