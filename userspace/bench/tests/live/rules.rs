//! Every rule of every layout, given to the real tools.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use crate::skip;

use beeline_bench::rules::{
    iptables,
    model::{Cluster, Condition, Endpoint, Family, Node, Policy, ServicePort},
    nftables,
};

/// Services with every kind of rule, and the same with other endpoints.
fn clusters(family: Family) -> (Cluster, Cluster) {
    let v4 = family == Family::V4;
    let ip = |v4_text: &str, v6_text: &str| if v4 { v4_text } else { v6_text }.parse().unwrap();
    let node = Node {
        family,
        address: ip("192.168.0.2", "2001:db8::2"),
        pods: if v4 { "10.0.0.0/8" } else { "fd00:10::/64" }.parse().ok(),
        services: if v4 { "172.30.0.0/16" } else { "fd00:96::/112" }.parse().ok(),
        node_port_addresses: None,
        localhost_node_ports: v4,
        masquerade_all: false,
    };
    let endpoint = |last: u8, local| Endpoint {
        address: (ip(&format!("10.1.0.{last}"), &format!("fd00:10::{last}")), 8080).into(),
        local,
        condition: Condition::Ready,
    };
    let service = |number: u16, external_policy, endpoints| ServicePort {
        node_port: Some(30_000 + number),
        external_ips: vec![ip(&format!("192.0.2.{number}"), &format!("2001:db8:1::{number}"))],
        load_balancer_ips: vec![ip(
            &format!("198.51.100.{number}"),
            &format!("2001:db8:2::{number}"),
        )],
        source_ranges: vec![if v4 { "192.168.0.0/24" } else { "2001:db8::/64" }.parse().unwrap()],
        affinity_timeout_s: number.is_multiple_of(2).then_some(60),
        external_policy,
        health_check_node_port: Some(31_000 + number),
        endpoints,
        ..ServicePort::new(
            "test",
            &format!("s{number}"),
            ip(&format!("172.30.0.{number}"), &format!("fd00:96::{number}")),
            80,
        )
    };
    let services = |first: u8| {
        vec![
            service(1, Policy::Cluster, vec![endpoint(first, false), endpoint(2, true)]),
            service(2, Policy::Cluster, vec![endpoint(first, false), endpoint(2, false)]),
            service(3, Policy::Local, vec![endpoint(first, false), endpoint(2, true)]),
            service(4, Policy::Local, vec![endpoint(first, false)]),
            service(5, Policy::Local, Vec::new()),
        ]
    };
    let cluster = |first| Cluster { node: node.clone(), services: services(first) };
    (cluster(1), cluster(9))
}

/// Run a tool in the calling thread's namespace.
fn feed(tool: &str, arguments: &[&str], text: &str) {
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}\n{text}");
}

/// Do something in a network namespace that ends with it.
fn in_new_namespace(work: impl FnOnce() + Send) {
    beeline_sys::netns::inside_new(|| {
        work();
        Ok(())
    })
    .unwrap();
}

#[test]
fn iptables_takes_every_rule_in_both_backends_and_families() {
    let tools = ["iptables-nft-restore", "iptables-legacy-restore", "ip6tables-nft-restore"];
    if skip(&tools) {
        return;
    }
    for (tool, family) in [
        ("iptables-nft-restore", Family::V4),
        ("iptables-legacy-restore", Family::V4),
        ("ip6tables-nft-restore", Family::V6),
        ("ip6tables-legacy-restore", Family::V6),
    ] {
        let (old, new) = clusters(family);
        in_new_namespace(move || {
            feed(tool, &["--noflush"], &iptables::load(&old));
            feed(tool, &["--noflush"], &iptables::change(&old, &new));
            feed(tool, &["--noflush"], &iptables::change(&new, &old));
            feed(tool, &[], iptables::unload());
        });
    }
}

#[test]
fn nft_takes_every_rule_in_both_families() {
    if skip(&["nft"]) {
        return;
    }
    for family in [Family::V4, Family::V6] {
        let (old, new) = clusters(family);
        in_new_namespace(move || {
            feed("nft", &["-f", "-"], &nftables::load(&old));
            feed("nft", &["-f", "-"], &nftables::change(&old, &new));
            feed("nft", &["-f", "-"], &nftables::sweep(&old, &new));
            feed("nft", &["-f", "-"], &nftables::change(&new, &old));
            feed("nft", &["-f", "-"], &nftables::load(&new));
            feed("nft", &["-f", "-"], &nftables::unload(family));
        });
    }
}
