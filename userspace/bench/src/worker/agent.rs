//! A node's agent with nothing but the datapath, as the real one runs it: tables, plans, maps, and a reader of events.

use std::{fs, io, net::SocketAddr, time::Instant};

use beeline_datapath::{Config, Datapath, Edge, EndpointAttach, Sizes, charged_bytes};
use beeline_kit::Tasks;
use beeline_tables::{
    Backend, Change, EndpointIdentity, Epoch, Identity, NodeName, ObjectName, Protocol, Reader,
    Service, ServicePort, ServiceType, Slice, SlicePort, Tables, TrafficPolicy, Writer,
};

use super::protocol::{AgentPlace, Answer};
use crate::rules::{model, sample};

/// The only node.
const NODE: &str = "node";

/// Threads of its runtime.
pub const THREADS: usize = 2;

/// A running agent.
pub struct Agent {
    runtime: tokio::runtime::Runtime,
    datapath: Datapath,
    _tasks: Tasks,
    writer: Writer,
    reader: Reader,
    epoch: u64,
    client: EndpointIdentity,
    place: AgentPlace,
}

impl Agent {
    /// Start the datapath, attach the client, and read events as an agent does.
    pub fn start(place: &AgentPlace) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .build()?;
        let tasks = Tasks::new();
        let AgentPlace { bpf_root, cgroup_root, instance, .. } = place;
        let mut config = Config::new(bpf_root, cgroup_root, instance, NODE);
        config.host_addresses = vec![place.node.into()];
        config.node_port_addresses = vec![place.node.into()];
        config.cluster_ranges = sample::node().pods.into_iter().collect();
        config.uplinks = vec![place.uplink.clone()];
        config.edge = if place.in_driver { Edge::Native } else { Edge::Off };
        config.flow_records = place.flow_records;
        config.sizes = sizes(place.backends);
        let datapath = runtime.block_on(async {
            let datapath = Datapath::start(config, &tasks).await.map_err(explain)?;
            let mut events = datapath.events(&tasks).await.map_err(explain)?;
            // Somebody looks at flows, so that making their records is part of what is measured.
            tasks.spawn("bench-events", async move { while events.recv().await.is_some() {} });
            datapath.attach_endpoint(endpoint(place)).await.map_err(explain)?;
            Ok::<_, io::Error>(datapath)
        })?;
        let (writer, reader) = Tables::new();
        let client = EndpointIdentity {
            pod: ObjectName::new("bench", "client"),
            uid: "client".into(),
            addresses: vec![place.client.into()],
            identity: Identity(300),
            node: NodeName(NODE.into()),
        };
        let place = place.clone();
        Ok(Self { runtime, datapath, _tasks: tasks, writer, reader, epoch: 0, client, place })
    }

    /// Bring Services into force, from their first mention on.
    pub fn load(&mut self, services: usize, endpoints: usize) -> io::Result<Answer> {
        let mut changes = vec![Change::Endpoint(self.client.clone())];
        for index in 0..services + 2 {
            let service = sample::measured_service(index, endpoints);
            changes.push(Change::Slice(slice(&service)));
            changes.push(Change::Service(frontend(&service)));
        }
        let start = Instant::now();
        self.epoch += 1;
        self.writer.apply_snapshot(Epoch(self.epoch), changes, true);
        self.reconcile(start)
    }

    /// Give the first Service another endpoint.
    pub fn change(&mut self, address: SocketAddr) -> io::Result<Answer> {
        let mut service = sample::measured_service(0, 1);
        service.endpoints[0].address = address;
        let changes = vec![Change::Slice(slice(&service))];
        let start = Instant::now();
        self.epoch += 1;
        self.writer.apply(Epoch(self.epoch), changes);
        self.reconcile(start)
    }

    /// Forget tracked connections.
    pub fn forget(&mut self) -> io::Result<Answer> {
        self.runtime.block_on(self.datapath.forget_tracked()).map_err(explain)?;
        Ok(Answer::Done)
    }

    /// Bytes: the resident memory of this process, and what the kernel charges for the instance's maps and programs. Arrays
    /// that both share are in the kernel's part.
    pub fn memory(&self) -> io::Result<Answer> {
        let resident = resident_without_maps(&fs::read_to_string("/proc/self/smaps")?);
        let AgentPlace { bpf_root, instance, .. } = &self.place;
        Ok(Answer::Bytes(resident + charged_bytes(bpf_root, instance).map_err(explain)?))
    }

    fn reconcile(&mut self, start: Instant) -> io::Result<Answer> {
        let snapshot = self.reader.snapshot();
        let work = self.datapath.reconcile(snapshot);
        self.runtime.block_on(work).map_err(explain)?;
        Ok(Answer::Nanos(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// The usual ones, or what so many backends need.
fn sizes(backends: u32) -> Sizes {
    let usual = Sizes::default();
    Sizes {
        backends: usual.backends.max(backends),
        // Twice while a list is replaced, and no node ports for more than a few.
        slots: usual.slots.max(backends.saturating_mul(2)),
        ..usual
    }
}

/// With all causes: the error is read by people on the other side of a pipe.
#[expect(clippy::needless_pass_by_value, reason = "a function for map_err")]
fn explain(error: beeline_datapath::DatapathError) -> io::Error {
    io::Error::other(beeline_kit::chain(&error))
}

fn endpoint(place: &AgentPlace) -> EndpointAttach {
    let [pod_mac, host_mac] = place.client_macs;
    EndpointAttach {
        uid: "client".into(),
        addresses: vec![place.client.into()],
        ifindex: place.client_ifindex,
        pod_mac,
        host_mac,
        netns_cookie: place.client_cookie,
    }
}

fn frontend(service: &model::ServicePort) -> Service {
    let service_type = match service.node_port {
        Some(_) => ServiceType::NodePort,
        None => ServiceType::ClusterIp,
    };
    Service {
        name: ObjectName::new(&service.namespace, &service.service),
        service_type,
        cluster_ips: vec![service.cluster_ip],
        external_ips: service.external_ips.clone(),
        load_balancer_ips: service.load_balancer_ips.clone(),
        source_ranges: service.source_ranges.clone(),
        ports: vec![ServicePort {
            name: service.port_name.as_str().into(),
            protocol: protocol(service),
            port: service.port,
            node_port: service.node_port,
        }],
        affinity_timeout_s: service.affinity_timeout_s,
        internal_policy: policy(service.internal_policy),
        external_policy: policy(service.external_policy),
        publish_not_ready: false,
        health_check_port: service.health_check_node_port,
    }
}

fn policy(policy: model::Policy) -> TrafficPolicy {
    match policy {
        model::Policy::Cluster => TrafficPolicy::Cluster,
        model::Policy::Local => TrafficPolicy::Local,
    }
}

fn slice(service: &model::ServicePort) -> Slice {
    let backend = |endpoint: &model::Endpoint| {
        let condition = endpoint.condition;
        Backend {
            address: endpoint.address.ip(),
            ready: condition == model::Condition::Ready,
            serving: condition != model::Condition::NotReady,
            terminating: condition == model::Condition::Terminating,
            node: endpoint.local.then(|| NodeName(NODE.into())),
            pod: None,
            hints: None,
        }
    };
    let name = ObjectName::new(&service.namespace, &service.service);
    Slice {
        name: name.clone(),
        service: name,
        ports: vec![SlicePort {
            name: service.port_name.as_str().into(),
            protocol: protocol(service),
            port: sample::ENDPOINT_PORT,
        }],
        backends: service.endpoints.iter().map(backend).collect(),
    }
}

fn protocol(service: &model::ServicePort) -> Protocol {
    match service.protocol {
        model::Protocol::Tcp => Protocol::Tcp,
        model::Protocol::Udp => Protocol::Udp,
        model::Protocol::Sctp => Protocol::Sctp,
    }
}

/// Bytes of all mappings in `/proc/PID/smaps` but those of BPF maps.
fn resident_without_maps(smaps: &str) -> u64 {
    let (mut kib, mut is_map) = (0, false);
    for line in smaps.lines() {
        match field(line, "Rss:") {
            Some(resident) if !is_map => kib += resident,
            Some(_) => {}
            // A mapping begins with its addresses and ends with its name; what is said of it comes below.
            None if line.split(' ').next().is_some_and(|word| word.contains('-')) => {
                is_map = line.ends_with("bpf-map");
            }
            None => {}
        }
    }
    kib * 1024
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{field, resident_without_maps};

    #[test]
    fn memory_shared_with_the_kernel_counts_once() {
        let smaps = "55d0-55e0 r-xp 00000000 fe:00 9 /usr/bin/beeline\nSize: 64 kB\nRss:    40 kB\nPss: 3 kB\n\
            7f00-7f10 rw-s 00000000 00:0e 1057 anon_inode:bpf-map\nRss:   4096 kB\n\
            7f20-7f30 rw-p 00000000 00:00 0\nRss:   8 kB\n";
        assert_eq!(resident_without_maps(smaps), 48 * 1024);
    }

    #[test]
    fn a_field_is_the_number_behind_its_name() {
        let text = "pos:\t0\nmemlock:\t4096\nmap_id:\t12\nVmRSS:\t   40 kB\n";
        assert_eq!((field(text, "memlock:"), field(text, "VmRSS:")), (Some(4096), Some(40)));
        assert_eq!(field(text, "prog_id:"), None);
    }
}
