//! What one packet of a known flow costs each packet program: nanoseconds by BPF_PROG_TEST_RUN, medians of seven.
//!
//!     cargo run --release -p beeline-test-kernel --example cost

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use beeline_abi::{
    Addr, BACKEND_LOCAL, Backend, BackendId, BackendState, Be16, Config, FRONTEND_EXTERNAL,
    Frontend, FrontendKey, Identity, LAYOUT_VERSION, Proto, ServiceId, TCP_ACK, TCP_SYN, maps,
};
use beeline_test_kernel::{Kernel, Pods, frame, skip};
use beeline_test_support::Net;

const REPEAT: u32 = 200_000;
const ROUNDS: usize = 7;
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
        let known = frame::tcp(caller, (VIP.into(), 80), TCP_ACK);
        let strange =
            frame::tcp(caller, (Addr::from(Ipv4Addr::new(198, 51, 100, 9)), 443), TCP_ACK);
        kernel.send("from_outside", ifindex, &frame::tcp(caller, (VIP.into(), 80), TCP_SYN))?;
        let between = frame::tcp(a.at(40_000), b.at(80), TCP_ACK);
        kernel.send("from_pod", a.ifindex, &frame::tcp(a.at(40_000), b.at(80), TCP_SYN))?;
        for (name, program, link, bytes) in [
            ("from_pod, to a pod here", "from_pod", a.ifindex, &between),
            ("to_pod, from a pod here", "to_pod", b.ifindex, &between),
            ("from_outside, known, to another node", "from_outside", ifindex, &known),
            ("from_outside, not ours", "from_outside", ifindex, &strange),
            ("to_outside, not ours", "to_outside", ifindex, &strange),
        ] {
            let cost = median(|| kernel.cost(program, link, bytes, REPEAT))?;
            println!("{name:40} {cost:4} ns");
        }
        for (name, bytes) in
            [("edge, known, to another node", &known), ("edge, not ours", &strange)]
        {
            let cost = median(|| edge(&mut kernel, ifindex, bytes))?;
            println!("{name:40} {cost:4} ns");
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

/// Each run begins with the packet as the last one left it, so the cost is that of one that misses after the first; the frame is
/// therefore sent in full each time.
fn edge(kernel: &mut Kernel, ifindex: u32, bytes: &[u8]) -> Result<u128> {
    let program: &mut Xdp = kernel.bpf.program_mut("edge").context("find edge")?.try_into()?;
    let mut context = vec![0u8; 24];
    context[4..8].copy_from_slice(&u32::try_from(bytes.len())?.to_ne_bytes());
    context[12..16].copy_from_slice(&ifindex.to_ne_bytes());
    let mut options = TestRunOptions::new();
    options.data_in = Some(bytes);
    options.ctx_in = Some(&context);
    options.repeat = REPEAT;
    Ok(program.test_run(options)?.duration.as_nanos())
}
