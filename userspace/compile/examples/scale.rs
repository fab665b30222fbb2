//! What Services cost in user space: time and memory of tables and compiler, without a kernel.
//!
//! `cargo run --release -p beeline-compile --example scale -- [services] [endpoints]`
#![expect(clippy::print_stdout, reason = "what it is for")]

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

use beeline_compile::{Compiler, Entries, Facts, Limits};
use beeline_tables::{
    Backend, Change, Epoch, NodeName, ObjectName, Protocol, Service, ServicePort, ServiceType,
    Slice, SlicePort, Tables, TrafficPolicy,
};

/// Changes of one endpoint that are timed; the median is shown.
const CHANGES: u32 = 1_001;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u32>());
    let services = numbers.next().and_then(Result::ok).unwrap_or(5_000);
    let endpoints = numbers.next().and_then(Result::ok).unwrap_or(4);
    let facts = Facts { node: NodeName("node".into()), ..Facts::default() };
    let (mut writer, reader) = Tables::new();
    let changes =
        (0..services).flat_map(|index| [slice(index, endpoints, 0), service(index)]).collect();
    let empty_kib = resident_kib();

    let start = Instant::now();
    writer.apply_snapshot(Epoch(1), changes, true);
    let tables = start.elapsed();
    let tables_kib = resident_kib();
    let mut compiler = Compiler::adopt(&Entries::default(), Limits::default());
    let start = Instant::now();
    let plan = compiler.update(&reader.snapshot(), &facts);
    let update = start.elapsed();
    let writes = plan.writes();
    drop(plan);
    let each = |time: std::time::Duration| time.as_secs_f64() * 1e6 / f64::from(services.max(1));
    println!("{services} services x {endpoints} endpoints: {writes} writes");
    println!("tables    {:8.2} ms  {:6.2} us a service", tables.as_secs_f64() * 1e3, each(tables));
    println!("compiler  {:8.2} ms  {:6.2} us a service", update.as_secs_f64() * 1e3, each(update));
    let all_kib = resident_kib();
    println!(
        "memory    {all_kib:8} KiB, {tables_kib} KiB with tables only, {empty_kib} KiB before"
    );

    let mut times: Vec<_> = (1..=CHANGES)
        .map(|round| {
            let index = round.wrapping_mul(7_919) % services.max(1);
            let start = Instant::now();
            writer.apply(Epoch(1 + u64::from(round)), vec![slice(index, endpoints, round)]);
            let plan = compiler.update(&reader.snapshot(), &facts);
            let time = start.elapsed();
            assert!(plan.writes() > 0, "a changed endpoint changes the maps");
            time
        })
        .collect();
    times.sort();
    println!("a change  {:8.2} us", times[times.len() / 2].as_secs_f64() * 1e6);
    let start = Instant::now();
    let draining = compiler.draining().len();
    println!("draining  {draining} found in {:.2} us", start.elapsed().as_secs_f64() * 1e6);
}

fn name(index: u32) -> ObjectName {
    ObjectName::new("bench", &format!("service-{index}"))
}

fn service(index: u32) -> Change {
    let address = Ipv4Addr::from_bits(0x0a60_0100 + index);
    Change::Service(Service {
        name: name(index),
        service_type: ServiceType::ClusterIp,
        cluster_ips: vec![address.into()],
        external_ips: Vec::new(),
        load_balancer_ips: Vec::new(),
        source_ranges: Vec::new(),
        ports: vec![ServicePort {
            name: "http".into(),
            protocol: Protocol::Tcp,
            port: 80,
            node_port: None,
        }],
        affinity_timeout_s: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Cluster,
        publish_not_ready: false,
        health_check_port: None,
    })
}

/// The first backend is another one in every round.
fn slice(index: u32, endpoints: u32, round: u32) -> Change {
    let backend = |number: u32| {
        let fresh = if number == 0 { round << 20 } else { 0 };
        let bits = 0x0a90_0000_u32.wrapping_add(fresh) + index * endpoints + number;
        Backend {
            address: IpAddr::V4(Ipv4Addr::from_bits(bits)),
            ready: true,
            serving: true,
            terminating: false,
            node: None,
            pod: None,
            hints: None,
        }
    };
    Change::Slice(Slice {
        name: name(index),
        service: name(index),
        ports: vec![SlicePort { name: "http".into(), protocol: Protocol::Tcp, port: 8080 }],
        backends: (0..endpoints).map(backend).collect(),
    })
}

/// Resident memory of this process.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}
