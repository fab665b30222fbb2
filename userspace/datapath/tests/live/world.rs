//! A node, a pod and a stranger, with what the datapath needs; all gone when dropped, also after a panic.

#[path = "../ground/ground.rs"]
mod ground;

use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use aya::maps::{Array, Map, MapData, MapInfo};
use beeline_datapath::{Config, Datapath, DatapathError, EndpointAttach, LinkHook, cleanup};
use beeline_kit::Tasks;
use beeline_sys::netns;
use beeline_tables::{
    Backend, Change, EndpointIdentity, Epoch, Identity, NodeName, ObjectName, Protocol, Service,
    ServicePort, ServiceType, Slice, SlicePort, Snapshot, Tables, TrafficPolicy,
};
use beeline_test_support::Net;

use crate::helper::Helper;
use ground::{mac, skip};

const NODE: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 1);
const POD: Ipv4Addr = Ipv4Addr::new(10, 42, 0, 2);

/// Helpers first, so that they are dead before their cgroup goes; directories last.
pub struct World {
    pub pod: Arc<Helper>,
    pub host: Arc<Helper>,
    pub stranger: Arc<Helper>,
    place: Arc<Place>,
}

/// What a running datapath needs to know of the world.
pub struct Place {
    pub ifindex: u32,
    pub pod: Arc<Helper>,
    pub tasks: Tasks,
    config: Config,
    pod_cookie: u64,
    macs: ([u8; 6], [u8; 6]),
    host_net: Net,
    /// In the order in which they go.
    _kept: (Net, Net, Cgroup, tempfile::TempDir),
}

struct Cgroup(PathBuf);

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The processes were killed just now; the kernel takes a moment to let go of them.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = cleanup(&self.config.bpf_root, &self.config.instance) {
            eprintln!("left behind: {error}");
        }
    }
}

impl World {
    /// `None` where it cannot be: said on stderr.
    pub fn new(instance: &str) -> Option<Self> {
        Self::with(instance, LinkHook::Newest)
    }

    /// The same, with programs on links as asked.
    pub fn with(instance: &str, link_hook: LinkHook) -> Option<Self> {
        if let Some(why) = skip(&["privilege", "tcx"]) {
            eprintln!("SKIPPED: {why}");
            return None;
        }
        let nets = [Net::new().unwrap(), Net::new().unwrap(), Net::new().unwrap()];
        let [host_net, pod_net, stranger_net] = nets;
        host_net.connect(&pod_net, "pod0", "10.42.0.1/24", "10.42.0.2/24").unwrap();
        // A stranger with the very same addresses and a way to anywhere: its own loopback.
        stranger_net.ip("route add blackhole 10.43.0.0/16").unwrap();
        let mount = beeline_sys::cgroup::find_v2_mount().unwrap();
        let cgroup = mount.join(format!("beeline-test-{instance}-{}", std::process::id()));
        fs::create_dir(&cgroup).unwrap();
        let cgroup = Cgroup(cgroup);
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new(directory.path().join("bpf"), &cgroup.0, instance, "n1");
        config.host_addresses = vec![NODE.into()];
        config.link_hook = link_hook;
        for port in [8080, 8081] {
            serve(&host_net, port);
        }
        let start = |net: &Net| Arc::new(Helper::start(&net.path(), &cgroup.0));
        let (pod, host, stranger) = (start(&pod_net), start(&host_net), start(&stranger_net));
        let link = host_net.ip("-o link show pod0").unwrap();
        let place = Place {
            ifindex: link.split(':').next().unwrap().parse().unwrap(),
            pod: Arc::clone(&pod),
            tasks: Tasks::new(),
            config,
            pod_cookie: netns::cookie_of_path(&pod_net.path()).unwrap(),
            macs: (mac(&pod_net.ip("-o link show pod0").unwrap()), mac(&link)),
            host_net,
            _kept: (pod_net, stranger_net, cgroup, directory),
        };
        Some(Self { pod, host, stranger, place: Arc::new(place) })
    }

    /// Starts a datapath in the node's namespace and does something with it. It runs until the result is dropped,
    /// which is as sudden as a kill: nothing is told, descriptors close.
    pub fn start<F>(
        &mut self,
        work: impl FnOnce(Arc<Place>, Datapath) -> F + Send + 'static,
    ) -> Running
    where
        F: Future<Output = ()> + Send,
    {
        let running = Running::new(&self.place).unwrap();
        running.run(work);
        running
    }

    pub fn try_start(&self) -> Result<(), DatapathError> {
        Running::new(&self.place).map(drop)
    }

    pub fn map_ids(&self) -> BTreeMap<&'static str, u32> {
        let id = |name: &&'static str| {
            (*name, MapInfo::from_pin(self.place.pin("maps").join(name)).unwrap().id())
        };
        beeline_abi::maps::PINNED.iter().map(id).collect()
    }

    pub fn link_pins(&self) -> Vec<String> {
        self.place.link_pins()
    }

    /// What stands in the kernel is as if another version of the programs had left it.
    pub fn forget_programs(&self) {
        fs::remove_dir_all(self.place.pin("programs")).unwrap();
    }

    pub fn config(&self) -> Config {
        self.place.config.clone()
    }

    /// Change how programs get onto links from the next start on.
    pub fn set_link_hook(&mut self, link_hook: LinkHook) {
        let place = Arc::get_mut(&mut self.place).expect("nothing runs");
        place.config.link_hook = link_hook;
    }

    /// What `tc` says of the pod's link, line by line.
    pub fn tc(&self, arguments: &[&str]) -> Vec<String> {
        self.place.tc(arguments)
    }

    /// What `beeline stop --kill` does.
    pub fn clean_up(&self) {
        let Config { bpf_root, instance, .. } = &self.place.config;
        let clean_up = || Ok(cleanup(bpf_root, instance));
        netns::inside(&self.place.host_net.path(), clean_up).unwrap().unwrap();
    }

    pub fn delete_link(&self) {
        self.place.host_net.ip("link del pod0").unwrap();
    }

    pub fn set_layout(&self, version: u32) {
        let path = self.place.pin("maps").join(beeline_abi::maps::CONFIG);
        let map = Map::Array(MapData::from_pin(path).unwrap());
        let mut array: Array<_, beeline_abi::Config> = map.try_into().unwrap();
        let old = array.get(&0, 0).unwrap();
        array.set(0, beeline_abi::Config { layout_version: version, ..old }, 0).unwrap();
    }
}

impl Place {
    fn pin(&self, kind: &str) -> PathBuf {
        self.config.bpf_root.join(&self.config.instance).join(kind)
    }

    pub fn link_pins(&self) -> Vec<String> {
        let entries = fs::read_dir(self.pin("links")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    pub fn tc(&self, arguments: &[&str]) -> Vec<String> {
        let mut command = self.host_net.command("tc");
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "tc {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    pub async fn attach(&self, datapath: &Datapath) {
        let endpoint = EndpointAttach {
            uid: "u".into(),
            addresses: vec![POD.into()],
            ifindex: self.ifindex,
            pod_mac: self.macs.0,
            host_mac: self.macs.1,
            netns_cookie: self.pod_cookie,
        };
        datapath.attach_endpoint(endpoint).await.unwrap();
    }

    /// One Service with a TCP and a UDP port, whose backends are servers on the node.
    pub fn tables(&self, epoch: u64, backends: &[u16]) -> Arc<Snapshot> {
        let (mut writer, reader) = Tables::new();
        let name = ObjectName::new("default", "web");
        let port = |name: &str, port, protocol| ServicePort {
            name: name.into(),
            protocol,
            port,
            node_port: None,
        };
        let mut changes = vec![
            Change::Service(Service {
                name: name.clone(),
                service_type: ServiceType::ClusterIp,
                cluster_ips: vec![Ipv4Addr::new(10, 43, 0, 10).into()],
                ports: vec![port("http", 80, Protocol::Tcp), port("dns", 53, Protocol::Udp)],
                affinity_timeout_s: None,
                internal_policy: TrafficPolicy::Cluster,
                external_policy: TrafficPolicy::Cluster,
                external_ips: Vec::new(),
                load_balancer_ips: Vec::new(),
                source_ranges: Vec::new(),
                health_check_port: None,
                publish_not_ready: false,
            }),
            Change::Endpoint(EndpointIdentity {
                pod: ObjectName::new("default", "client"),
                uid: "u".into(),
                addresses: vec![POD.into()],
                identity: Identity(300),
                node: NodeName("n1".into()),
            }),
        ];
        for target in backends {
            let backend = Backend {
                address: NODE.into(),
                ready: true,
                serving: true,
                terminating: false,
                node: None,
                pod: None,
                hints: None,
            };
            let port =
                |name: &str, protocol| SlicePort { name: name.into(), protocol, port: *target };
            changes.push(Change::Slice(Slice {
                name: ObjectName::new("default", &format!("web-{target}")),
                service: name.clone(),
                ports: vec![port("http", Protocol::Tcp), port("dns", Protocol::Udp)],
                backends: vec![backend],
            }));
        }
        writer.apply_snapshot(Epoch(epoch), changes, true);
        reader.snapshot()
    }
}

impl Place {
    /// Many Services with one backend each; the first has `backends`.
    pub fn many(&self, epoch: u64, services: u16, backends: u8) -> Arc<Snapshot> {
        let (mut writer, reader) = Tables::new();
        let mut changes = Vec::new();
        for number in 0..services {
            let [high, low] = number.to_be_bytes();
            let name = ObjectName::new("many", &format!("s{number}"));
            let count = if number == 0 { backends } else { 1 };
            let backend = |index: u8| Backend {
                address: Ipv4Addr::new(10, 44 + index, high, low).into(),
                ready: true,
                serving: true,
                terminating: false,
                node: None,
                pod: None,
                hints: None,
            };
            changes.push(Change::Slice(Slice {
                name: name.clone(),
                service: name.clone(),
                ports: vec![SlicePort { name: "".into(), protocol: Protocol::Tcp, port: 80 }],
                backends: (0..count).map(backend).collect(),
            }));
            changes.push(Change::Service(Service {
                name,
                service_type: ServiceType::ClusterIp,
                cluster_ips: vec![Ipv4Addr::new(10, 43, high, low).into()],
                ports: vec![ServicePort {
                    name: "".into(),
                    protocol: Protocol::Tcp,
                    port: 80,
                    node_port: None,
                }],
                affinity_timeout_s: None,
                internal_policy: TrafficPolicy::Cluster,
                external_policy: TrafficPolicy::Cluster,
                external_ips: Vec::new(),
                load_balancer_ips: Vec::new(),
                source_ranges: Vec::new(),
                health_check_port: None,
                publish_not_ready: false,
            }));
        }
        writer.apply_snapshot(Epoch(epoch), changes, true);
        reader.snapshot()
    }
}

/// A datapath at work on threads of its own, inside the node's namespace.
pub struct Running {
    runtime: Mutex<Option<tokio::runtime::Runtime>>,
    datapath: Datapath,
    place: Arc<Place>,
}

impl Running {
    fn new(place: &Arc<Place>) -> Result<Self, DatapathError> {
        let start = || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let datapath = runtime.block_on(Datapath::start(place.config.clone(), &place.tasks));
            Ok((runtime, datapath))
        };
        let (runtime, datapath) = netns::inside(&place.host_net.path(), start)?;
        Ok(Self {
            runtime: Mutex::new(Some(runtime)),
            datapath: datapath?,
            place: Arc::clone(place),
        })
    }

    /// Do something with it, on one of its threads.
    pub fn run<F>(&self, work: impl FnOnce(Arc<Place>, Datapath) -> F)
    where
        F: Future<Output = ()> + Send,
    {
        let runtime = self.runtime.lock().unwrap();
        runtime.as_ref().unwrap().block_on(work(Arc::clone(&self.place), self.datapath.clone()));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(mut runtime) = self.runtime.lock()
            && let Some(runtime) = runtime.take()
        {
            runtime.shutdown_timeout(Duration::from_secs(2));
        }
    }
}

/// Answers every byte with the port, over TCP and UDP, on the node's address, until the process ends.
fn serve(net: &Net, port: u16) {
    let bind =
        || Ok((TcpListener::bind((NODE, port)).unwrap(), UdpSocket::bind((NODE, port)).unwrap()));
    let (tcp, udp) = netns::inside(&net.path(), bind).unwrap();
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut byte = [0; 1];
                while stream.read_exact(&mut byte).is_ok() {
                    if stream.write_all(port.to_string().as_bytes()).is_err() {
                        return;
                    }
                }
            });
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 16];
        while let Ok((_, from)) = udp.recv_from(&mut buffer) {
            let _ = udp.send_to(port.to_string().as_bytes(), from);
        }
    });
}

/// Whether this kernel tells what a map takes now: 6.4 and later.
pub fn counts_maps_as_they_are() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    let version: (u32, u32) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= (6, 4)
}
