//! A Service or pod address never leaves the machine by the default route: not from the host, not from a pod, not
//! from a process that beeline does not serve; with the agent running, stopped or dead; whatever the protocol.

use std::{
    io::Write as _,
    process::{Child, Command, Stdio},
};

use beeline_test_cluster::{LIMIT, backends, deploy_hello, node_with_image, place, service_ip};
use beeline_test_support::{Net, Node, eventually, skip};

/// IPv4 packets that the sink has received on all its links.
fn received(sink: &Net) -> u64 {
    let output = sink.command("cat").arg("/proc/net/snmp").output().expect("cat is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
    let names: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
    let values: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
    let index = names.iter().position(|name| *name == "InReceives").expect("the kernel counts");
    values.get(index).and_then(|value| value.parse().ok()).expect("a number")
}

/// Who sends, and from where.
struct Sender {
    who: &'static str,
    netns: String,
    /// Whose processes are served; none: a stranger's.
    cgroup: Option<String>,
}

impl Sender {
    fn all(node: &Node) -> [Self; 4] {
        let host = node.net.path().display().to_string();
        let served = node.cgroup().display().to_string();
        let pod = place(node, "hello");
        let inside = pod["netns"].as_str().unwrap_or_default().to_owned();
        let cgroup = pod["cgroup"].as_str().map(str::to_owned);
        [
            Self { who: "the host", netns: host.clone(), cgroup: Some(served) },
            Self { who: "a process that is not served", netns: host, cgroup: None },
            Self { who: "a pod", netns: inside.clone(), cgroup },
            Self { who: "a process in a pod that is not served", netns: inside, cgroup: None },
        ]
    }

    fn bash(&self, script: &str) -> Command {
        let join = self.cgroup.as_ref().map_or(String::new(), |cgroup| {
            format!("echo $$ > {cgroup}/cgroup.procs || exit 99; ")
        });
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.netns)).args(["bash", "-c"]);
        command.arg(format!("{join}{script}")).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// TCP, UDP and ICMP to all of these, at once.
    fn send(&self, addresses: &[&str]) -> Child {
        let each = "curl -s -o /dev/null -m 1 http://$a/ & curl -s -o /dev/null -m 1 http://$a:8080/ & \
             (echo x > /dev/udp/$a/53) & (echo x > /dev/udp/$a/80) & busybox ping -q -c 1 -W 1 $a >/dev/null &";
        let script = format!("for a in {}; do {each} done; wait", addresses.join(" "));
        self.bash(&script).spawn().expect("nsenter is there")
    }
}

/// All of them send to all of these, and are done.
fn send_all(senders: &[Sender], addresses: &[&str]) {
    let sending: Vec<_> = senders.iter().map(|sender| sender.send(addresses)).collect();
    for (sender, mut child) in senders.iter().zip(sending) {
        let status = child.wait().expect("it was started");
        assert_ne!(status.code(), Some(99), "{} has no cgroup", sender.who);
    }
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
    deploy_hello(&node);
    let senders = Sender::all(&node);

    // The way out works for each of them: this is what must not happen to a Service address.
    for sender in &senders {
        let before = received(&sink);
        send_all(std::slice::from_ref(sender), &["198.51.100.7"]);
        eventually(LIMIT, &format!("the sink counts what {} sends", sender.who), || {
            received(&sink) > before
        });
    }
    // From here on not one more, late ones of connections that are given up included.
    settle(&sink);
    let before = received(&sink);

    let hello = service_ip(&node, "hello");
    // A Service; an address in its range that is none's; the last one; and so with pods.
    let addresses = [&*hello, "10.43.99.99", "10.43.255.255", "10.42.200.7", "10.42.0.250"];
    let nothing_leaves = |senders: &[Sender], when: &str| {
        send_all(senders, &addresses);
        assert_eq!(received(&sink), before, "packets left the machine {when}");
    };
    nothing_leaves(&senders, "while the agent runs");

    node.kill();
    nothing_leaves(&senders, "while the agent is dead");
    node.start()?;
    node.terminate();
    nothing_leaves(&senders, "after the agent was stopped");
    node.start()?;

    // A connection that outlives the pod behind it, with data still to send.
    let kept = format!("exec 3<>/dev/tcp/{hello}/80 || exit; echo open; read; printf 'GET / ' >&3");
    let mut kept = senders[0].bash(&kept).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut word = [0; 5];
    std::io::Read::read_exact(&mut kept.stdout.take().expect("it was piped"), &mut word)?;
    node.kubectl().run(&["scale", "deploy/hello", "--replicas=0"]);
    node.kubectl().run(&["wait", "--for=delete", "pod", "-l", "app=hello", "--timeout=60s"]);
    kept.stdin.take().expect("it was piped").write_all(b"\n")?;
    kept.wait()?;
    assert_eq!(received(&sink), before, "a connection's packets left after its pod did");

    let host = &senders[..2];
    eventually(LIMIT, "no backend in the kernel", || backends(&node, "default/hello") == 0);
    nothing_leaves(host, "from a Service without backends");
    node.kubectl().run(&["delete", "service", "hello"]);
    nothing_leaves(host, "right after the Service was deleted");
    eventually(LIMIT, "the Service is out of the kernel", || {
        !node.ask(&["services"]).contains("default/hello")
    });
    nothing_leaves(host, "after the Service was deleted");
    node.kill();
    nothing_leaves(host, "after the Service was deleted and the agent died");
    Ok(())
}

/// Wait until the sink has counted nothing new for a while.
fn settle(sink: &Net) {
    let mut last = (received(sink), std::time::Instant::now());
    eventually(LIMIT, "the sink is quiet", || {
        let now = received(sink);
        if now != last.0 {
            last = (now, std::time::Instant::now());
        }
        last.1.elapsed() > std::time::Duration::from_millis(1500)
    });
}
