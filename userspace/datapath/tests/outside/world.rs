//! A client, a node with one pod, and another node, joined by links; all gone when dropped.
//!
//! ```text
//! client 192.0.2.2 ── up0 192.0.2.1 [node n1] pod0 ── pod 10.42.0.2
//!                                            └ back0 10.42.1.1 ── other 10.42.1.2 (knows the node, not the client)
//! ```

#[path = "../ground/ground.rs"]
mod ground;
#[path = "seat.rs"]
mod seat;

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use aya::maps::{HashMap, Map, MapData};
use beeline_abi::{TRACK_REPLY, Track, Tuple};
use beeline_datapath::{Config, Datapath, EndpointAttach, cleanup};
use beeline_kit::Tasks;
use beeline_sys::netns;
use beeline_tables::{
    Backend, Change, EndpointIdentity, Epoch, Identity, NodeAddress, NodeName, ObjectName,
    Protocol, Service, ServicePort, ServiceType, Slice, SlicePort, Snapshot, Tables, TrafficPolicy,
};
use beeline_test_support::Net;
use ground::{mac, skip};
use seat::Seat;

/// For answers that must come, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(8);
/// For answers that must not come: the counters say that the packet arrived.
const SILENCE: Duration = Duration::from_millis(400);

/// Addresses of one family.
pub struct Family {
    pub client: &'static str,
    pub node: &'static str,
    pub pod: &'static str,
    pub other: &'static str,
    pub cluster_ip: &'static str,
    pub external: &'static str,
    pub balanced: &'static str,
}

pub const V4: Family = Family {
    client: "192.0.2.2",
    node: "192.0.2.1",
    pod: "10.42.0.2",
    other: "10.42.1.2",
    cluster_ip: "10.43.0.10",
    external: "203.0.113.5",
    balanced: "203.0.113.6",
};
pub const V6: Family = Family {
    client: "2001:db8:1::2",
    node: "2001:db8:1::1",
    pod: "fd42::2",
    other: "fd42:1::2",
    cluster_ip: "fd43::10",
    external: "2001:db8:5::5",
    balanced: "2001:db8:5::6",
};
/// The node's address on the side of the other node: what that one sees of callers.
pub const NODE_PORT: u16 = 30_080;
pub const SERVER_PORT: u16 = 8_080;

pub struct World {
    pub client: Net,
    pub node: Net,
    pub pod: Net,
    pub other: Net,
    pub config: Config,
    pub tasks: Tasks,
    attach: EndpointAttach,
    _directory: tempfile::TempDir,
    /// Instances on other nodes, which pin in the same place.
    others: Mutex<Vec<String>>,
    /// Last, because the namespaces' holders live in it.
    _seat: Seat,
}

impl Drop for World {
    fn drop(&mut self) {
        let others = std::mem::take(&mut *self.others.lock().unwrap());
        // The one that mounted the bpffs goes last.
        for instance in others.iter().chain([&self.config.instance]) {
            if let Err(error) = cleanup(&self.config.bpf_root, instance) {
                eprintln!("left behind: {error}");
            }
        }
        if !std::thread::panicking() {
            assert!(
                !beeline_sys::fs::is_bpffs(&self.config.bpf_root).unwrap_or(false),
                "the bpffs stayed mounted"
            );
        }
    }
}

impl World {
    /// `None` where it cannot be: said on stderr.
    pub fn new(instance: &str) -> Option<Self> {
        if let Some(why) = skip(&["privilege"]) {
            eprintln!("SKIPPED: {why}");
            return None;
        }
        let seat = Seat::take();
        let [client, node, pod, other] = std::array::from_fn(|_| Net::new().unwrap());
        for net in [&client, &node, &pod, &other] {
            // Addresses that are tried out first cannot ask for neighbours in the first seconds.
            sysctl(net, "net.ipv6.conf.default.accept_dad=0");
        }
        node.connect(&client, "up0", "192.0.2.1/24", "192.0.2.2/24").unwrap();
        node.connect(&pod, "pod0", "10.42.0.1/24", "10.42.0.2/24").unwrap();
        node.connect(&other, "back0", "10.42.1.1/24", "10.42.1.2/24").unwrap();
        second_family(&client, &node, &pod, &other);
        let ip = |net: &Net, line: &str| net.ip(line).unwrap();
        ip(&client, "route add 203.0.113.0/24 via 192.0.2.1");
        ip(&client, "route add 10.43.0.0/16 via 192.0.2.1");
        ip(&pod, "route add 192.0.2.0/24 via 10.42.0.1");
        ip(&pod, "route add 10.42.1.0/24 via 10.42.0.1");
        ip(&other, "route add 192.0.2.1/32 via 10.42.1.1");
        for key in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            sysctl(&node, key);
        }
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path().join("bpf"), &seat.cgroup, instance);
        let link = node.ip("-o link show pod0").unwrap();
        let attach = EndpointAttach {
            uid: "u".into(),
            addresses: vec![V4.pod.parse().unwrap(), V6.pod.parse().unwrap()],
            ifindex: link.split(':').next().unwrap().parse().unwrap(),
            pod_mac: mac(&pod.ip("-o link show pod0").unwrap()),
            host_mac: mac(&link),
            netns_cookie: netns::cookie_of_path(&pod.path()).unwrap(),
        };
        let tasks = Tasks::new();
        let world = Self {
            client,
            node,
            pod,
            other,
            config,
            tasks,
            attach,
            _directory: directory,
            others: Mutex::default(),
            _seat: seat,
        };
        Some(world)
    }

    /// A datapath in the node's namespace, with the pod attached and one Service in force.
    pub fn start(&self, tables: Arc<Snapshot>) -> Running {
        let attach = Some(self.attach.clone());
        start(&self.node, &self.config, &self.tasks, attach, tables)
    }

    /// Ways between the pod here and the other node, in both directions.
    pub fn join_pods(&self) {
        self.other.ip("route add 10.42.0.0/24 via 10.42.1.1").unwrap();
        self.other.ip("route add fd42::/64 via fd42:1::1").unwrap();
        self.pod.ip("route add fd42:1::/64 via fd42::1").unwrap();
    }

    /// A way between the client and the other node that does not lead over the first.
    pub fn join_client_and_other(&self) {
        self.other.connect(&self.client, "direct0", "192.0.3.1/24", "192.0.3.2/24").unwrap();
        self.other.ip("addr add 2001:db8:3::1/64 dev direct0 nodad").unwrap();
        self.client.ip("addr add 2001:db8:3::2/64 dev direct0 nodad").unwrap();
        self.other.ip("route add 192.0.2.2/32 via 192.0.3.2 src 10.42.1.2").unwrap();
        self.other.ip("route add 2001:db8:1::2/128 via 2001:db8:3::2 src fd42:1::2").unwrap();
    }

    /// A datapath on the other node, whose own address the backend has.
    pub fn start_other(&self, instance: &str, tables: Arc<Snapshot>) -> Running {
        let mut config = self.config.clone();
        instance.clone_into(&mut config.instance);
        self.others.lock().unwrap().push(instance.to_owned());
        config.node = NodeName("n2".into());
        config.host_addresses = [V4.other, V6.other].map(|address| address.parse().unwrap()).into();
        config.node_port_addresses = config.host_addresses.clone();
        config.uplinks = vec!["back0".to_owned(), "direct0".to_owned()];
        start(&self.other, &config, &self.tasks, None, tables)
    }

    /// Links whose checksums are complete in every packet and that take frames from drivers; `false` without the tool.
    pub fn offload_nothing(&self) -> bool {
        let ends = [
            (&self.client, "up0"),
            (&self.node, "up0"),
            (&self.node, "back0"),
            (&self.node, "pod0"),
            (&self.other, "back0"),
            (&self.pod, "pod0"),
        ];
        ends.into_iter().all(|(net, link)| {
            let set = net.command("ethtool").args(["-K", link, "tx", "off", "gro", "on"]).output();
            set.is_ok_and(|set| set.status.success())
        })
    }

    /// Whether a program sits in the driver of a link of the node.
    pub fn has_driver_program(&self, link: &str) -> bool {
        let shown = self.node.ip(&format!("-d link show {link}")).unwrap();
        shown.contains("prog/xdp") && !shown.contains("xdpgeneric")
    }

    /// From now on the kernel answers datagrams to a port as if nobody listened there.
    pub fn refuse(&self, net: &Net, port: u16) {
        let rule = format!(
            "add table inet t; add chain inet t in {{ type filter hook input priority 0; }}; \
             add rule inet t in udp dport {port} reject with icmpx type port-unreachable"
        );
        let done = net.command("nft").arg(rule).status().unwrap();
        assert!(done.success(), "nft");
    }

    /// Makes tracked directions look as if nothing had been heard of them for a day; `which` is asked with whether one answers.
    pub fn age_tracked(&self, which: impl Fn(bool) -> bool) {
        let path = self.config.bpf_root.join(&self.config.instance).join("maps/CONNTRACK");
        let map = Map::HashMap(MapData::from_pin(path).unwrap());
        let mut map: HashMap<_, Tuple, Track> = map.try_into().unwrap();
        let all: Vec<(Tuple, Track)> = map.iter().map(Result::unwrap).collect();
        for (tuple, track) in all {
            if which(track.flags & TRACK_REPLY != 0) {
                map.insert(tuple, Track { seen_ns: 0, ..track }, 0).unwrap();
            }
        }
    }

    /// Connects from the client and says what the server says: `<server> <whom it sees>`.
    pub fn call(&self, from: &Net, to: &str, port: u16) -> String {
        self.call_within(PATIENCE, from, to, port)
    }

    /// The same where no answer is expected.
    pub fn call_in_vain(&self, from: &Net, to: &str, port: u16) -> String {
        self.call_within(SILENCE, from, to, port)
    }

    fn call_within(&self, patience: Duration, from: &Net, to: &str, port: u16) -> String {
        let to = address(to, port);
        let connect = || Ok(TcpStream::connect_timeout(&to, patience));
        match netns::inside(&from.path(), connect).unwrap() {
            Ok(mut stream) => talk(&mut stream),
            Err(error) => format!("error {}", error.kind()),
        }
    }

    /// The same with one datagram from a socket that lives on.
    pub fn datagram(&self, from: &Net, to: &str, port: u16) -> (UdpSocket, String) {
        let any = if to.contains(':') { "[::]:0" } else { "0.0.0.0:0" };
        let bind = || Ok(UdpSocket::bind(any).unwrap());
        let socket = netns::inside(&from.path(), bind).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let answer = match socket.connect(address(to, port)) {
            Ok(()) => ask(&socket),
            Err(error) => format!("error {}", error.kind()),
        };
        (socket, answer)
    }

    /// A server that names itself and whom it sees, over TCP and UDP, on any address, until the process ends.
    pub fn serve(&self, net: &Net, name: &'static str, port: u16) {
        self.serve_at(net, name, "::", port);
    }

    /// The same on one address: where a namespace has several, datagrams are answered from the one that was asked.
    pub fn serve_at(&self, net: &Net, name: &'static str, ip: &str, port: u16) {
        let at = address(ip, port);
        let bind = || Ok((TcpListener::bind(at).unwrap(), UdpSocket::bind(at).unwrap()));
        let (tcp, udp) = netns::inside(&net.path(), bind).unwrap();
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.unwrap();
                let peer = plain(stream.peer_addr().unwrap().ip());
                std::thread::spawn(move || {
                    let mut byte = [0; 1];
                    while stream.read_exact(&mut byte).is_ok() {
                        if stream.write_all(format!("{name} {peer}\n").as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((_, from)) = udp.recv_from(&mut buffer) {
                let _ = udp.send_to(format!("{name} {}", plain(from.ip())).as_bytes(), from);
            }
        });
    }
}

/// The node's.
pub fn config(bpf_root: PathBuf, cgroup: &Path, instance: &str) -> Config {
    let mut config = Config::new(bpf_root, cgroup, instance, "n1");
    config.host_addresses =
        ["192.0.2.1", "10.42.0.1", "10.42.1.1", "2001:db8:1::1"].map(|a| a.parse().unwrap()).into();
    config.node_port_addresses = ["192.0.2.1", "2001:db8:1::1"].map(|a| a.parse().unwrap()).into();
    config.uplinks = vec!["up0".to_owned(), "back0".to_owned()];
    config.masquerade = true;
    config
}

fn start(
    node: &Net,
    config: &Config,
    tasks: &Tasks,
    attach: Option<EndpointAttach>,
    tables: Arc<Snapshot>,
) -> Running {
    netns::inside(&node.path(), || Ok(run(config, tasks, attach, tables))).unwrap()
}

/// A datapath in the network namespace of the calling thread.
pub fn run(
    config: &Config,
    tasks: &Tasks,
    attach: Option<EndpointAttach>,
    tables: Arc<Snapshot>,
) -> Running {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let datapath = runtime.block_on(async {
        let datapath = Datapath::start(config.clone(), tasks).await.unwrap();
        if let Some(attach) = attach {
            datapath.attach_endpoint(attach).await.unwrap();
        }
        datapath.reconcile(tables).await.unwrap();
        datapath
    });
    Running { runtime: Some(runtime), datapath }
}

pub fn address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse().unwrap(), port)
}

/// One byte there, one line back.
pub fn talk(stream: &mut TcpStream) -> String {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut line = Vec::new();
    let mut byte = [0; 1];
    if let Err(error) = stream.write_all(b"?") {
        return format!("error {}", error.kind());
    }
    loop {
        match stream.read_exact(&mut byte) {
            Ok(()) if byte == *b"\n" => return String::from_utf8_lossy(&line).into_owned(),
            Ok(()) => line.push(byte[0]),
            Err(error) => return format!("error {}", error.kind()),
        }
    }
}

/// One datagram there, one back.
pub fn ask(socket: &UdpSocket) -> String {
    let mut buffer = [0; 64];
    match socket.send(b"?").and_then(|_| socket.recv(&mut buffer)) {
        Ok(length) => String::from_utf8_lossy(&buffer[..length]).into_owned(),
        Err(error) => format!("error {}", error.kind()),
    }
}

fn sysctl(net: &Net, setting: &str) {
    let done = net.command("sysctl").args(["-qw", setting]).status().unwrap();
    assert!(done.success(), "{setting}");
}

fn plain(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

fn second_family(client: &Net, node: &Net, pod: &Net, other: &Net) {
    let links = [
        (node, "up0", "2001:db8:1::1/64", client, "2001:db8:1::2/64"),
        (node, "pod0", "fd42::1/64", pod, "fd42::2/64"),
        (node, "back0", "fd42:1::1/64", other, "fd42:1::2/64"),
    ];
    for (ours, link, our_address, theirs, their_address) in links {
        ours.ip(&format!("addr add {our_address} dev {link} nodad")).unwrap();
        theirs.ip(&format!("addr add {their_address} dev {link} nodad")).unwrap();
    }
    client.ip("route add 2001:db8:5::/64 via 2001:db8:1::1").unwrap();
    client.ip("route add fd43::/64 via 2001:db8:1::1").unwrap();
    pod.ip("route add 2001:db8:1::/64 via fd42::1").unwrap();
    other.ip("route add 2001:db8:1::1/128 via fd42:1::1").unwrap();
}

/// What a Service is like in one test.
#[derive(Clone, Copy, Default)]
pub struct Shape {
    pub external_local: bool,
    pub affinity_s: Option<u32>,
    pub range: Option<&'static str>,
}

/// One Service with all kinds of frontends for TCP and UDP, and these of `pod` and `other` behind it.
pub fn tables(epoch: u64, family: &Family, backends: &[&str], shape: Shape) -> Arc<Snapshot> {
    let (mut writer, reader) = Tables::new();
    let name = ObjectName::new("default", "web");
    let port = |name: &str, protocol| ServicePort {
        name: name.into(),
        protocol,
        port: 80,
        node_port: Some(NODE_PORT),
    };
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    let policy = |local| if local { TrafficPolicy::Local } else { TrafficPolicy::Cluster };
    let node = |name: &str, address: &str, pods: &[&str]| {
        Change::Node(NodeAddress {
            node: NodeName(name.into()),
            internal_ips: vec![ip(address)],
            pod_cidrs: pods.iter().map(|range| range.parse().unwrap()).collect(),
            zone: None,
        })
    };
    let backend = |address: &&str| Backend {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(NodeName(if *address == family.pod { "n1" } else { "n2" }.into())),
        pod: None,
        hints: None,
    };
    let target =
        |name: &str, protocol| SlicePort { name: name.into(), protocol, port: SERVER_PORT };
    let changes = vec![
        node("n1", family.node, &["10.42.0.0/24", "fd42::/64"]),
        node("n2", family.other, &["10.42.1.0/24", "fd42:1::/64"]),
        Change::Endpoint(EndpointIdentity {
            pod: ObjectName::new("default", "local"),
            uid: "u".into(),
            addresses: vec![ip(V4.pod), ip(V6.pod)],
            identity: Identity(300),
            node: NodeName("n1".into()),
        }),
        Change::Service(Service {
            name: name.clone(),
            service_type: ServiceType::LoadBalancer,
            cluster_ips: vec![ip(family.cluster_ip)],
            external_ips: vec![ip(family.external)],
            load_balancer_ips: vec![ip(family.balanced)],
            source_ranges: shape.range.iter().map(|range| range.parse().unwrap()).collect(),
            ports: vec![port("web", Protocol::Tcp), port("dns", Protocol::Udp)],
            affinity_timeout_s: shape.affinity_s,
            internal_policy: TrafficPolicy::Cluster,
            external_policy: policy(shape.external_local),
            publish_not_ready: false,
            health_check_port: None,
        }),
        Change::Slice(Slice {
            name: ObjectName::new("default", "web-1"),
            service: name,
            ports: vec![target("web", Protocol::Tcp), target("dns", Protocol::Udp)],
            backends: backends.iter().map(backend).collect(),
        }),
    ];
    writer.apply_snapshot(Epoch(epoch), changes, true);
    reader.snapshot()
}

/// A datapath at work on a thread of its own, until it is dropped, as suddenly as a kill.
pub struct Running {
    runtime: Option<tokio::runtime::Runtime>,
    pub datapath: Datapath,
}

impl Running {
    pub fn reconcile(&self, tables: Arc<Snapshot>) {
        self.wait(self.datapath.reconcile(tables)).unwrap();
    }

    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(work)
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.wait(self.datapath.counters()).unwrap()[name]
    }

    pub fn drops(&self, name: &str) -> u64 {
        self.wait(self.datapath.drops()).unwrap()[name].packets
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}
