//! A node between a client and another node, with one pod; loaded once, and made anew before each test.
//!
//! ```text
//! client ── up0 [node] pod ── pod
//!                     └ back0 ── router ── other
//! ```
//! Neighbours are told, not asked: so routes are found though nobody is there.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError, mpsc};

use beeline_abi::{
    Addr, Affinity, AffinityKey, AffinityOkKey, BACKEND_LOCAL, Backend, BackendId, Be16, Config,
    DropCount, Endpoint, FragmentKey, FragmentPorts, Frontend, FrontendKey, LAYOUT_VERSION,
    NODE_ADDRESS_PORTS, Proto, ServiceId, TRACK_REPLY, Track, Tuple, maps,
};
use beeline_test_kernel::{Kernel, Packet, Pods, skip};

/// What tc programs say.
pub const PASS: i32 = 0;
pub const DROP: i32 = 2;
pub const REDIRECT: i32 = 7;
/// What driver programs say.
pub const DRIVER_PASS: u32 = 2;
pub const DRIVER_SEND_BACK: u32 = 3;
pub const DRIVER_REDIRECT: u32 = 4;

/// Hardware addresses of those who are not there.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];
pub const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// Source ports for those who take the node's address.
pub const SNAT_PORTS: (u16, u16) = (20_000, 20_999);
pub const NODE_PORT: u16 = 30_080;

/// Addresses of one family.
pub struct Family {
    pub client: IpAddr,
    pub neighbour: IpAddr,
    pub node: IpAddr,
    pub pod: IpAddr,
    pub other: IpAddr,
    pub router: IpAddr,
    pub frontend: SocketAddr,
}

/// Both families.
pub fn families() -> [Family; 2] {
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    [
        Family {
            client: ip("192.0.2.2"),
            neighbour: ip("192.0.2.3"),
            node: ip("192.0.2.1"),
            pod: ip("10.96.1.2"),
            other: ip("10.42.1.2"),
            router: ip("10.42.1.9"),
            frontend: SocketAddr::new(ip("203.0.113.5"), 80),
        },
        Family {
            client: ip("2001:db8:1::2"),
            neighbour: ip("2001:db8:1::3"),
            node: ip("2001:db8:1::1"),
            pod: ip("fd42::2"),
            other: ip("fd42:1::2"),
            router: ip("fd42:1::9"),
            frontend: SocketAddr::new(ip("2001:db8:5::5"), 80),
        },
    ]
}

impl Family {
    /// The client with a port.
    pub fn caller(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.client, port)
    }

    /// The backend here.
    pub fn local(&self, id: u32) -> Server {
        Server { id, at: SocketAddr::new(self.pod, 8_080), is_local: true }
    }

    /// The backend on another node.
    pub fn remote(&self, id: u32) -> Server {
        Server { id, at: SocketAddr::new(self.other, 8_080), is_local: false }
    }

    /// The node with a port.
    pub fn node(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.node, port)
    }
}

/// A backend.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    pub id: u32,
    pub at: SocketAddr,
    pub is_local: bool,
}

/// A link of the node.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub ifindex: u32,
    pub mac: [u8; 6],
}

/// The node.
pub struct World {
    pub kernel: Kernel,
    pub up: Link,
    pub back: Link,
    pub pod: Endpoint,
    pods: Pods,
    lists: u32,
}

static WORLD: Mutex<Option<World>> = Mutex::new(None);

/// Runs a test in the node's namespace. Tests take turns: the object is verified once for all of them.
pub fn with(work: impl FnOnce(&mut World) + Send) {
    if skip() {
        return;
    }
    let mut shared = WORLD.lock().unwrap_or_else(PoisonError::into_inner);
    let world = shared.get_or_insert_with(|| {
        // A namespace ends with the thread that made it.
        let (made, world) = mpsc::channel();
        std::thread::spawn(move || {
            made.send(World::new(Kernel::load().unwrap())).unwrap();
            loop {
                std::thread::park();
            }
        });
        world.recv().unwrap()
    });
    world.run(work);
}

/// The same with limits of its own, and so with an object of its own.
pub fn with_limit(map: &'static str, entries: u32, work: impl FnOnce(&mut World) + Send) {
    if skip() {
        return;
    }
    let kernel = Kernel::load_with(|loader| {
        loader.map_max_entries(map, entries);
    });
    World::new(kernel.unwrap()).run(work);
}

/// A tuple as it lies in a packet.
pub fn tuple(source: SocketAddr, dest: SocketAddr, proto: Proto) -> Tuple {
    Tuple {
        source_addr: source.ip().into(),
        dest_addr: dest.ip().into(),
        source_port: Be16::from_host(source.port()),
        dest_port: Be16::from_host(dest.port()),
        proto: proto as u8,
        pad: [0; 3],
    }
}

/// A frame is to be what a packet says, each byte of it.
#[track_caller]
pub fn assert_frame(frame: &[u8], expected: &Packet) {
    let hex = |bytes: &[u8]| {
        let lines = bytes.chunks(16).map(|line| format!("{line:02x?}"));
        lines.collect::<Vec<_>>().join("\n")
    };
    assert_eq!(hex(frame), hex(&expected.frame()), "\n{expected:?}");
}

impl World {
    fn new(mut kernel: Kernel) -> Self {
        let pods = Pods::new().unwrap();
        let ip = |line: &str| pods.host.ip(line).unwrap();
        let links =
            [("up", "192.0.2.1/24", "2001:db8:1::1/64"), ("back", "10.42.1.1/24", "fd42:1::1/64")]
                .map(|(name, v4, v6)| {
                    ip(&format!("link add {name}0 type veth peer name {name}1"));
                    ip(&format!("addr add {v4} dev {name}0"));
                    ip(&format!("addr add {v6} dev {name}0 nodad"));
                    ip(&format!("link set {name}0 up"));
                    ip(&format!("link set {name}1 up"));
                    link(&ip(&format!("-o link show {name}0")))
                });
        for family in families() {
            for (address, mac, name) in [
                (family.client, CLIENT_MAC, "up0"),
                (family.neighbour, CLIENT_MAC, "up0"),
                (family.other, OTHER_MAC, "back0"),
            ] {
                let mac = mac.map(|byte| format!("{byte:02x}")).join(":");
                ip(&format!("neigh add {address} lladdr {mac} dev {name} nud permanent"));
            }
        }
        for key in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
            assert!(pods.host.command("sysctl").args(["-qw", key]).status().unwrap().success());
        }
        let [up, back] = links;
        let attach = || {
            for link in [up, back] {
                kernel.attach_driver("edge", link.ifindex).unwrap();
            }
        };
        pods.on_host(attach).unwrap();
        let pod = pods.pods[0].endpoint;
        World { kernel, up, back, pod, pods, lists: 0 }
    }

    fn run(&mut self, work: impl FnOnce(&mut World) + Send) {
        self.reset();
        let path = self.pods.host.path();
        beeline_sys::netns::inside(&path, || {
            work(self);
            Ok(())
        })
        .unwrap();
    }

    /// Nothing is known but this node, its addresses and its pod.
    pub fn reset(&mut self) {
        let kernel = &mut self.kernel;
        kernel.clear::<FrontendKey, Frontend>(maps::SERVICES).unwrap();
        kernel.clear::<Tuple, Track>(maps::CONNTRACK).unwrap();
        kernel.clear::<FragmentKey, FragmentPorts>(maps::FRAGMENTS).unwrap();
        kernel.clear::<AffinityKey, Affinity>(maps::AFFINITY).unwrap();
        kernel.clear::<AffinityOkKey, u32>(maps::AFFINITY_OK).unwrap();
        kernel.clear::<Addr, u32>(maps::NODE_ADDRESSES).unwrap();
        kernel.clear::<Addr, Endpoint>(maps::ENDPOINTS).unwrap();
        kernel.clear_prefixes::<[u8; 20]>(maps::SOURCE_RANGES).unwrap();
        kernel.clear_prefixes::<Addr>(maps::CLUSTER_RANGES).unwrap();
        kernel.zero::<u64>(maps::COUNTERS).unwrap();
        kernel.zero::<DropCount>(maps::DROPS).unwrap();
        kernel.events().unwrap();
        self.lists = 0;
        self.config(0, SNAT_PORTS);
        for family in families() {
            self.kernel.endpoint(family.pod.into(), self.pod).unwrap();
            self.node_address(family.node, NODE_ADDRESS_PORTS);
        }
    }

    /// What the node does.
    pub fn config(&mut self, flags: u32, snat_ports: (u16, u16)) {
        let [v4, v6] = families();
        let config = Config {
            layout_version: LAYOUT_VERSION,
            flags,
            node_addr: v4.node.into(),
            node_addr6: v6.node.into(),
            snat_port_first: Be16::from_host(snat_ports.0),
            snat_port_last: Be16::from_host(snat_ports.1),
            node_port_first: Be16::from_host(30_000),
            node_port_last: Be16::from_host(32_767),
            ..Config::default()
        };
        self.kernel.config(config).unwrap();
    }

    /// What of Services is reached at an address of the node.
    pub fn node_address(&mut self, address: IpAddr, flags: u32) {
        let mut map = self.kernel.hash::<Addr, u32>(maps::NODE_ADDRESSES).unwrap();
        map.insert(Addr::from(address), flags, 0).unwrap();
    }

    /// A Service port with these backends, in place of what it had: Service 6 is TCP's, 17 UDP's.
    pub fn serve(&mut self, frontend: SocketAddr, proto: Proto, servers: &[Server]) {
        self.serve_with(frontend, proto, Frontend::default(), servers);
    }

    /// The same with flags.
    pub fn serve_with(
        &mut self,
        frontend: SocketAddr,
        proto: Proto,
        shape: Frontend,
        servers: &[Server],
    ) {
        let key = FrontendKey::new(frontend.ip().into(), Be16::from_host(frontend.port()), proto);
        self.lists += 1;
        let backends: Vec<_> = servers
            .iter()
            .map(|server| (BackendId(server.id), server.at.ip().into(), server.at.port()))
            .collect();
        let outside = self.kernel.list(key, self.lists, &backends).unwrap();
        for server in servers.iter().filter(|server| server.is_local) {
            let mut backends = self.kernel.array::<Backend>(maps::BACKENDS).unwrap();
            let backend = backends.get(&server.id, 0).unwrap();
            backends.set(server.id, Backend { flags: BACKEND_LOCAL, ..backend }, 0).unwrap();
        }
        let service_id = ServiceId(u32::from(proto as u8));
        self.kernel.frontend(key, Frontend { service_id, outside, ..shape }).unwrap();
    }

    /// A backend is gone altogether.
    pub fn leave(&mut self, server: Server) {
        let mut backends = self.kernel.array::<Backend>(maps::BACKENDS).unwrap();
        backends.set(server.id, Backend::default(), 0).unwrap();
    }

    /// A packet arrives by a link, at tc.
    pub fn arrive(&mut self, link: Link, packet: &Packet) -> (i32, Vec<u8>) {
        self.kernel.send("from_outside", link.ifindex, &packet.frame()).unwrap()
    }

    /// A packet is about to leave by a link.
    pub fn depart(&mut self, link: Link, packet: &Packet) -> (i32, Vec<u8>) {
        self.kernel.send("to_outside", link.ifindex, &packet.frame()).unwrap()
    }

    /// A packet arrives by a link, in the driver.
    pub fn drive(&mut self, link: Link, packet: &Packet) -> (u32, Vec<u8>) {
        self.kernel.receive("edge", link.ifindex, &packet.frame()).unwrap()
    }

    /// All that is tracked.
    pub fn tracks(&mut self) -> BTreeMap<Tuple, Track> {
        self.kernel.dump(maps::CONNTRACK).unwrap().into_iter().collect()
    }

    /// The two entries of the only connection, which turns one tuple into another.
    #[track_caller]
    pub fn pair(&mut self, given: Tuple, became: Tuple) -> (Track, Track) {
        let tracks = self.tracks();
        assert_eq!(tracks.len(), 2, "{tracks:#?}");
        self.pair_of(given, became)
    }

    /// The two entries of a connection among others.
    #[track_caller]
    pub fn pair_of(&mut self, given: Tuple, became: Tuple) -> (Track, Track) {
        let tracks = self.tracks();
        let after = |key: &Tuple| {
            let track = tracks.get(key).unwrap_or_else(|| panic!("no {key:?} in {tracks:#?}"));
            let (source_addr, dest_addr) = (track.source_addr, track.dest_addr);
            let (source_port, dest_port) = (track.source_port, track.dest_port);
            (*track, Tuple { source_addr, dest_addr, source_port, dest_port, ..*key })
        };
        let (forward, to) = after(&given);
        let (reverse, back) = after(&became.reversed());
        assert_eq!((to, back), (became, given.reversed()));
        assert_eq!(reverse.flags, forward.flags | TRACK_REPLY);
        let ids = |track: &Track| (track.flow_id, track.service_id, track.backend_id);
        assert_eq!(ids(&forward), ids(&reverse));
        assert_ne!(forward.flow_id.0, 0);
        (forward, reverse)
    }
}

fn link(text: &str) -> Link {
    let ifindex = text.split(':').next().unwrap().trim().parse().unwrap();
    let mut mac = [0; 6];
    let written = text.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap();
    for (byte, hex) in mac.iter_mut().zip(written.split(':')) {
        *byte = u8::from_str_radix(hex, 16).unwrap();
    }
    Link { ifindex, mac }
}
