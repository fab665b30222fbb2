//! What one packet costs each packet program: nanoseconds by BPF_PROG_TEST_RUN, medians of seven.
//!
//! Packets that stay as they are run many times over. Those that are rewritten run once each, over many connections: their cost
//! contains that of the kernel's looking at the clock, as "one of nobody's" shows, and what other packets left in the caches.
//!
//!     cargo run --release -p beeline-test-kernel --example cost

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use beeline_abi::{
    Addr, BACKEND_LOCAL, Backend, BackendId, BackendState, Be16, Config, FRONTEND_EXTERNAL,
    Frontend, FrontendKey, Identity, LAYOUT_VERSION, Proto, ServiceId, TCP_ACK, TCP_SYN, Track,
    Tuple, maps,
};
use beeline_test_kernel::{Kernel, Pods, frame, skip};
use beeline_test_support::Net;

const REPEAT: u32 = 200_000;
const ROUNDS: usize = 7;
/// Connections of a round: two entries each.
const CONNECTIONS: u16 = 4096;
const FIRST_PORT: u16 = 10_000;
const CLIENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const VIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 5);
const REMOTE: Ipv4Addr = Ipv4Addr::new(10, 96, 9, 2);
const NODE: Ipv4Addr = Ipv4Addr::new(10, 96, 9, 1);

#[expect(clippy::print_stdout, reason = "the result")]
fn main() -> Result<()> {
    if skip() {
        return Ok(());
    }
    let pods = Pods::new()?;
    let remote = Net::new()?;
    pods.host.connect(&remote, "back0", "10.96.9.1/24", "10.96.9.2/24")?;
    pods.host.ip("neigh add 10.96.9.2 lladdr 02:00:00:00:09:02 dev back0 nud permanent")?;
    pods.host.command("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]).status()?;
    let link = pods.host.ip("-o link show back0")?;
    let ifindex: u32 = link.split(':').next().unwrap_or_default().trim().parse()?;
    let mut kernel = Kernel::load()?;
    pods.announce(&mut kernel)?;
    prepare(&mut kernel)?;
    pods.on_host(|| -> Result<()> {
        let [a, b] = &pods.pods;
        let caller = (Addr::from(CLIENT), 40_000);
        let strange =
            frame::tcp(caller, (Addr::from(Ipv4Addr::new(198, 51, 100, 9)), 443), TCP_ACK);
        let between = frame::tcp(a.at(40_000), b.at(80), TCP_ACK);
        kernel.send("from_pod", a.ifindex, &frame::tcp(a.at(40_000), b.at(80), TCP_SYN))?;
        for (name, program, link, bytes) in [
            ("from_pod, to a pod here", "from_pod", a.ifindex, &between),
            ("to_pod, from a pod here", "to_pod", b.ifindex, &between),
            ("from_outside, not ours", "from_outside", ifindex, &strange),
            ("to_outside, not ours", "to_outside", ifindex, &strange),
        ] {
            let cost = median(|| kernel.cost(program, link, bytes, REPEAT))?;
            println!("{name:40} {cost:4} ns");
        }
        let cost = median(|| edge(&mut kernel, ifindex, &strange, REPEAT))?;
        println!("{:40} {cost:4} ns", "edge, not ours");
        for program in ["from_outside", "edge"] {
            for (what, dialled) in [("a new flow", VIP), ("one of nobody's", CLIENT)] {
                let cost = median(|| {
                    kernel.clear::<Tuple, Track>(maps::CONNTRACK)?;
                    each(&mut kernel, program, ifindex, dialled, TCP_SYN)
                })?;
                println!("{:40} {cost:4} ns", format!("{program}, each {what}"));
            }
            each(&mut kernel, program, ifindex, VIP, TCP_SYN)?;
            each(&mut kernel, program, ifindex, VIP, TCP_ACK)?;
            let cost = median(|| each(&mut kernel, program, ifindex, VIP, TCP_ACK))?;
            println!("{:40} {cost:4} ns", format!("{program}, each a known flow"));
        }
        Ok(())
    })?
}

fn prepare(kernel: &mut Kernel) -> Result<()> {
    let key = FrontendKey::new(VIP.into(), Be16::from_host(80), Proto::Tcp);
    let list = kernel.list(key, 1, &[(BackendId(1), REMOTE.into(), 8080)])?;
    let mut backend = Backend::new(
        REMOTE.into(),
        Be16::from_host(8080),
        Proto::Tcp,
        BackendState::Active,
        Identity(400),
    );
    backend.flags &= !BACKEND_LOCAL;
    kernel.array::<Backend>(maps::BACKENDS)?.set(1, backend, 0)?;
    let (service_id, flags) = (ServiceId(1), FRONTEND_EXTERNAL);
    let frontend = Frontend { service_id, flags, inside: list, outside: list, affinity_s: 0 };
    kernel.frontend(key, frontend)?;
    kernel.config(Config {
        layout_version: LAYOUT_VERSION,
        node_addr: NODE.into(),
        snat_port_first: Be16::from_host(10_000),
        snat_port_last: Be16::from_host(29_999),
        node_port_first: Be16::from_host(30_000),
        node_port_last: Be16::from_host(32_767),
        ..Config::default()
    })
}

fn median(mut measure: impl FnMut() -> Result<u128>) -> Result<u128> {
    let mut all = (0..ROUNDS).map(|_| measure()).collect::<Result<Vec<_>>>()?;
    all.sort_unstable();
    all.get(ROUNDS / 2).copied().context("a median of some rounds")
}

/// The mean over one packet of each connection, in an order in which no two neighbours lie together.
fn each(
    kernel: &mut Kernel,
    program: &str,
    ifindex: u32,
    dialled: Ipv4Addr,
    tcp_flags: u8,
) -> Result<u128> {
    let mut total = 0;
    for number in 0..CONNECTIONS {
        let port = FIRST_PORT + number.wrapping_mul(1025) % CONNECTIONS;
        let bytes = frame::tcp((CLIENT.into(), port), (dialled.into(), 80), tcp_flags);
        total += match program {
            "edge" => edge(kernel, ifindex, &bytes, 1)?,
            other => kernel.cost(other, ifindex, &bytes, 1)?,
        };
    }
    // What begins is told; nobody else reads it.
    kernel.events()?;
    Ok(total / u128::from(CONNECTIONS))
}

fn edge(kernel: &mut Kernel, ifindex: u32, bytes: &[u8], repeat: u32) -> Result<u128> {
    let program: &mut Xdp = kernel.bpf.program_mut("edge").context("find edge")?.try_into()?;
    let mut context = vec![0u8; 24];
    context[4..8].copy_from_slice(&u32::try_from(bytes.len())?.to_ne_bytes());
    context[12..16].copy_from_slice(&ifindex.to_ne_bytes());
    let mut options = TestRunOptions::new();
    options.data_in = Some(bytes);
    options.ctx_in = Some(&context);
    options.repeat = repeat;
    Ok(program.test_run(options)?.duration.as_nanos())
}
