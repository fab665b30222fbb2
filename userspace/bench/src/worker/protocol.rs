//! What workers are told and what they answer.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

/// Something to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Order {
    /// First of all: go to a place.
    Join {
        /// The network namespace.
        netns: PathBuf,
        /// The cgroup.
        cgroup: Option<PathBuf>,
        /// The only CPU to run on.
        cpu: Option<usize>,
    },
    /// Serve all kinds of clients on a port.
    Listen {
        /// Which.
        port: u16,
    },
    /// Connect and reset, one after another.
    Connect {
        /// Where to, in turn.
        targets: Vec<SocketAddr>,
        /// How often.
        count: usize,
    },
    /// Connect, ask, hear the answer and the end, one after another.
    Exchange {
        /// Where to, in turn.
        targets: Vec<SocketAddr>,
        /// For how long.
        millis: u64,
    },
    /// Ask and hear the answer over one connection.
    RoundTrips {
        /// Where to.
        target: SocketAddr,
        /// How often.
        count: usize,
    },
    /// Send as much as goes over one connection.
    Bulk {
        /// Where to.
        target: SocketAddr,
        /// For how long.
        millis: u64,
    },
    /// Connect until a certain endpoint answers.
    Await {
        /// Where to.
        target: SocketAddr,
        /// Who is to answer.
        endpoint: SocketAddr,
        /// When to give up.
        limit_millis: u64,
    },
    /// How much CPU time the process has used.
    CpuTime,
    /// Become a node's agent: start the datapath in this namespace.
    AgentStart(AgentPlace),
    /// Bring so many of the sample's Services into force.
    AgentLoad {
        /// How many.
        services: usize,
        /// Of each.
        endpoints: usize,
    },
    /// Give the first Service another endpoint.
    AgentChange {
        /// Which.
        endpoint: SocketAddr,
    },
    /// Forget tracked connections.
    AgentForget,
    /// How many bytes the process and the kernel's maps take.
    AgentMemory,
}

/// Where an agent works.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AgentPlace {
    /// Where pins go.
    pub bpf_root: PathBuf,
    /// Whose processes are served.
    pub cgroup_root: PathBuf,
    /// Six hex digits.
    pub instance: String,
    /// The node's own address.
    pub node: Ipv4Addr,
    /// The link by which the outside is reached.
    pub uplink: String,
    /// Whether packets from there are translated in its driver.
    pub in_driver: bool,
    /// For how many backends the maps are to have room at least.
    pub backends: u32,
    /// Whether flows are recorded.
    pub flow_records: bool,
    /// The client: a pod of the node.
    pub client: Ipv4Addr,
    /// Cookie of its network namespace.
    pub client_cookie: u64,
    /// Hardware addresses of the client's link and of the node's end of it.
    pub client_macs: [[u8; 6]; 2],
    /// Index of the node's end.
    pub client_ifindex: u32,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing to say.
    Done,
    /// Of many connections or round trips.
    Latency(Latency),
    /// How many of something, in how long.
    Count {
        /// How many.
        count: u64,
        /// Nanoseconds.
        nanos: u64,
    },
    /// Nanoseconds.
    Nanos(u64),
    /// Bytes.
    Bytes(u64),
    /// It did not work.
    Failed(String),
}

/// How long something took, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// The median.
    pub p50_us: f64,
    /// One in a hundred takes longer.
    pub p99_us: f64,
}

impl Latency {
    /// From at least one time, in microseconds.
    #[must_use]
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |per_cent: usize| {
            let index = (times.len() * per_cent / 100).min(times.len().saturating_sub(1));
            times.get(index).copied().unwrap_or(f64::NAN)
        };
        Self { p50_us: at(50), p99_us: at(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::Latency;

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let found = Latency::of((1..=200).rev().map(f64::from).collect());
        assert_eq!(found, Latency { p50_us: 101.0, p99_us: 199.0 });
    }
}
