//! A Service or pod address never leaves the machine by the default route.

use beeline_test_cluster::{LIMIT, deploy_hello, node_with_image, service_ip};
use beeline_test_support::{Net, eventually, skip};

/// Packets that the sink's link received, apart from its neighbour discovery.
fn received(sink: &Net) -> anyhow::Result<u64> {
    let rules = sink.command("cat").arg("/proc/net/snmp").output()?;
    let text = String::from_utf8_lossy(&rules.stdout).into_owned();
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let names: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
    let values: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
    let index = names.iter().position(|name| *name == "InReceives").unwrap_or(0);
    Ok(values.get(index).and_then(|value| value.parse().ok()).unwrap_or(0))
}

#[test]
fn service_addresses_stay_on_the_machine_whatever_happens() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut node = node_with_image()?;
    let sink = Net::new()?;
    node.net.connect(&sink, "uplink", "192.0.2.2/24", "192.0.2.1/24")?;
    node.net.ip("route add default via 192.0.2.1")?;

    // The way out works: this is what must not happen to a Service address.
    let before = received(&sink)?;
    let _ = node.host_command("curl -s -m 1 http://198.51.100.7/").output()?;
    eventually(LIMIT, "the sink counts", || received(&sink).is_ok_and(|now| now > before));

    deploy_hello(&node);
    let ip = service_ip(&node, "hello");
    let before = received(&sink)?;
    let attempt = |address: &str| {
        let script = format!("curl -s -m 1 http://{address}/; echo x > /dev/udp/{address}/53");
        drop(node.host_command(&script).output());
    };
    attempt(&ip); // the Service itself
    attempt("10.43.99.99"); // no Service has it
    attempt("10.42.200.7"); // no pod has it
    node.kubectl().run(&["delete", "service", "hello"]);
    attempt(&ip); // a Service that was
    assert_eq!(
        received(&sink)?,
        before,
        "packets for the cluster's own ranges went to the default route"
    );

    // Not while the agent is dead either, and not from a process that it does not serve.
    node.kill();
    let script = "curl -s -m 1 http://10.43.0.1:443/; echo x > /dev/udp/10.43.0.1/53";
    drop(node.host_command(script).output());
    drop(node.net.command("bash").args(["-c", script]).output());
    assert_eq!(
        received(&sink)?,
        before,
        "packets for the cluster's own ranges went to the default route"
    );
    node.start()?;
    Ok(())
}
