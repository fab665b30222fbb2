//! `beeline proxy` on two nodes, with callers from the world: node ports and external addresses, by SNAT, by direct server
//! return, and in the links' drivers.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use beeline_sys::netns;
use beeline_test_cluster::LIMIT;
use beeline_test_support::{Net, Node, NodeOptions, skip, within};

const SERVER: &str = "192.0.2.1";
const NODES: [&str; 2] = ["192.0.2.2", "192.0.2.3"];
const PODS: [&str; 2] = ["10.9.0.2", "10.9.1.2"];
const OUTSIDER: &str = "192.0.2.9";
/// By node port and by external address, both answered by the first node.
const FRONTENDS: [&str; 2] = ["192.0.2.2:30080", "203.0.113.5:80"];
/// Between two bytes of an answer, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(8);

const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: { name: web }
spec:
  type: NodePort
  externalIPs: [203.0.113.5]
  ports: [{ name: http, port: 80, targetPort: 8080, nodePort: 30080 }]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: web-1, labels: { kubernetes.io/service-name: web } }
addressType: IPv4
ports: [{ name: http, port: 8080 }]
endpoints:
  - { addresses: ["10.9.0.2"], nodeName: n0 }
  - { addresses: ["10.9.1.2"], nodeName: n1 }
"#;

/// The proxies go first, then their pods, the API server and the switch.
struct World {
    proxies: Vec<Node>,
    outsider: Net,
    pods: Vec<Net>,
    server: Node,
    switch: Net,
}

impl World {
    /// A switch with an API server, two nodes of somebody else's with a pod each, and somebody outside.
    fn new(arguments: &[&str]) -> anyhow::Result<Self> {
        let switch = Net::new()?;
        switch.bridge()?;
        let plugged = |port: &str, address: &str| -> anyhow::Result<Net> {
            let net = Net::new()?;
            net.plug(&switch, port, &format!("{address}/24"))?;
            Ok(net)
        };
        let listen = [format!("--listen={SERVER}:6443")];
        let mut server =
            Node::new(plugged("server", SERVER)?, options("server", "server", &listen))?;
        server.start()?;
        let (mut proxies, mut pods) = (Vec::new(), Vec::new());
        for (number, address) in NODES.iter().enumerate() {
            let node = plugged(&format!("n{number}"), address)?;
            pods.push(pod(&node, number)?);
            let kubeconfig = server.data_dir().join("admin.kubeconfig");
            let ours =
                [format!("--kubeconfig={}", kubeconfig.display()), "--uplink=eth0,back0".into()];
            let all: Vec<_> =
                ours.into_iter().chain(arguments.iter().map(ToString::to_string)).collect();
            proxies.push(Node::new(node, options(&format!("n{number}"), "proxy", &all))?);
        }
        join(&proxies)?;
        let outsider = plugged("outsider", OUTSIDER)?;
        outsider.ip(&format!("route add 203.0.113.0/24 via {}", NODES[0]))?;
        Ok(Self { proxies, outsider, pods, server, switch })
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let kubectl = self.server.kubectl();
        for (number, address) in NODES.iter().enumerate() {
            kubectl.apply(&format!(
                "apiVersion: v1\nkind: Node\nmetadata: {{ name: n{number} }}\nspec: {{ podCIDR: 10.9.{number}.0/24 }}\n"
            ));
            let status = format!(
                r#"{{"status":{{"addresses":[{{"type":"InternalIP","address":"{address}"}}]}}}}"#
            );
            let node = format!("n{number}");
            kubectl.run(&["patch", "node", &node, "--subresource=status", "-p", &status]);
        }
        kubectl.apply(OBJECTS);
        self.proxies.iter_mut().try_for_each(Node::start)
    }

    /// Who answers at a frontend, and whom they see; enough calls for both to be among them.
    fn answers(&self, frontend: &str) -> BTreeSet<String> {
        (0..24).map(|_| self.call(frontend)).collect()
    }

    fn call(&self, frontend: &str) -> String {
        let to: SocketAddr = frontend.parse().expect("an address");
        let connect = || Ok(TcpStream::connect_timeout(&to, PATIENCE));
        let stream = netns::inside(&self.outsider.path(), connect).expect("the outsider is there");
        let mut said = String::new();
        let read = |mut stream: TcpStream| {
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.read_to_string(&mut said)
        };
        match stream.and_then(read) {
            Ok(_) => said,
            Err(error) => format!("error {error}"),
        }
    }

    /// Whom the two pods see, by every frontend.
    #[track_caller]
    fn seen(&self, expected: [&str; 2]) {
        let expected: BTreeSet<String> =
            PODS.iter().zip(expected).map(|(pod, seen)| format!("{pod} {seen}")).collect();
        for frontend in FRONTENDS {
            within(LIMIT, "both pods answer", || {
                let found = self.answers(frontend);
                if found == expected { Ok(()) } else { Err(format!("{frontend}: {found:?}")) }
            });
        }
    }

    /// Links whose checksums are complete in every packet and that take frames from drivers; `false` without the tool.
    fn offload_nothing(&self) -> bool {
        let switch = ["n0", "n1", "outsider"].map(|port| (&self.switch, port.to_owned()));
        let uplinks = |node| ["eth0", "back0"].map(|link| (node, link.to_owned()));
        let nodes = self.proxies.iter().flat_map(|node| uplinks(&node.net));
        let pods = self.pods.iter().enumerate().map(|(n, pod)| (pod, format!("pod{n}")));
        let hosts = self.proxies.iter().enumerate().map(|(n, node)| (&node.net, format!("pod{n}")));
        let outsider = [(&self.outsider, "eth0".to_owned())];
        switch.into_iter().chain(nodes).chain(pods).chain(hosts).chain(outsider).all(
            |(net, link)| {
                let set =
                    net.command("ethtool").args(["-K", &link, "tx", "off", "gro", "on"]).output();
                set.is_ok_and(|set| set.status.success())
            },
        )
    }
}

fn options(name: &str, command: &str, arguments: &[String]) -> NodeOptions {
    NodeOptions { name: name.into(), command: command.into(), arguments: arguments.to_vec() }
}

/// A way between the nodes beside the switch: a veth pair keeps what a driver program sends back by the link that it came by
/// until something else is sent there.
fn join(nodes: &[Node]) -> anyhow::Result<()> {
    let [first, second] = [&nodes[0].net, &nodes[1].net];
    first.connect(second, "back0", "192.0.3.1/24", "192.0.3.2/24")?;
    first.ip("route add 10.9.1.0/24 via 192.0.3.2")?;
    second.ip("route add 10.9.0.0/24 via 192.0.3.1")?;
    second.ip(&format!("route add {}/32 via 192.0.3.1", NODES[0])).map(drop)
}

/// A namespace behind a link of a node, with a server that says who it is and whom it sees.
fn pod(node: &Net, number: usize) -> anyhow::Result<Net> {
    let pod = Net::new()?;
    let gateway = format!("10.9.{number}.1");
    let link = format!("pod{number}");
    node.connect(&pod, &link, &format!("{gateway}/24"), &format!("{}/24", PODS[number]))?;
    for range in ["10.9.0.0/16", "192.0.2.0/24"] {
        pod.ip(&format!("route add {range} via {gateway}"))?;
    }
    anyhow::ensure!(
        node.command("sysctl").args(["-qw", "net.ipv4.ip_forward=1"]).status()?.success(),
        "the node does not forward"
    );
    let own = PODS[number];
    let at = format!("{own}:8080");
    let listener = netns::inside(&pod.path(), || Ok(TcpListener::bind(&at)))??;
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let peer = stream.peer_addr().map(|peer| peer.ip().to_string()).unwrap_or_default();
            let _ = stream.write_all(format!("{own} {peer}").as_bytes());
        }
    });
    Ok(pod)
}

#[test]
fn a_node_port_leads_to_pods_of_every_node() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut world = World::new(&[])?;
    world.start()?;
    world.seen([OUTSIDER, NODES[0]]);
    // The proxy is away: what stands in the kernel goes on.
    world.proxies[0].kill();
    for _ in 0..20 {
        assert!(world.call(FRONTENDS[0]).starts_with("10.9."));
    }
    Ok(())
}

#[test]
fn direct_server_return_keeps_the_callers_address() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut world = World::new(&["--lb-mode=dsr"])?;
    world.start()?;
    world.seen([OUTSIDER, OUTSIDER]);
    Ok(())
}

#[test]
fn the_driver_does_the_same() -> anyhow::Result<()> {
    if skip() {
        return Ok(());
    }
    let mut world = World::new(&["--edge=native"])?;
    if !world.offload_nothing() {
        eprintln!("SKIPPED: ethtool is missing: apt-get install ethtool");
        return Ok(());
    }
    world.start()?;
    let link = world.proxies[0].net.ip("-d link show eth0")?;
    assert!(link.contains("prog/xdp") && !link.contains("xdpgeneric"), "{link}");
    world.seen([OUTSIDER, NODES[0]]);
    Ok(())
}
