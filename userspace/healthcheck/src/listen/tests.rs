use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use beeline_kit::Tasks;
use beeline_tables::{
    Backend, Change, Epoch, NodeAddress, NodeName, ObjectName, Service, ServiceType, Slice, Tables,
    TrafficPolicy, Writer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};

use super::{Addresses, Config, HealthChecks, Refusals, bind};

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

struct World {
    writer: Writer,
    tasks: Tasks,
    healthy: Arc<AtomicBool>,
    refusals: watch::Receiver<Refusals>,
    epoch: u64,
}

impl World {
    fn start(addresses: Addresses) -> Self {
        let (writer, reader) = Tables::new();
        let (tasks, healthy) = (Tasks::new(), Arc::new(AtomicBool::new(true)));
        let asked = Arc::clone(&healthy);
        let config = Config {
            addresses,
            healthy: Arc::new(move || asked.load(Ordering::Relaxed)),
            ..Config::new(NodeName("n1".into()))
        };
        let refusals = HealthChecks::start(config, reader, &tasks);
        Self { writer, tasks, healthy, refusals, epoch: 0 }
    }

    fn place(&mut self, address: [u8; 4]) {
        self.epoch += 1;
        let node = NodeAddress {
            node: NodeName("n1".into()),
            internal_ips: vec![address.into()],
            pod_cidrs: vec![],
            zone: None,
        };
        self.writer.apply(Epoch(self.epoch), vec![Change::Node(node)]);
    }

    fn apply(&mut self, port: Option<u16>, local: u8) {
        self.epoch += 1;
        let changes = vec![service(port), slice(local)];
        self.writer.apply_snapshot(Epoch(self.epoch), changes, true);
    }
}

fn service(port: Option<u16>) -> Change {
    Change::Service(Service {
        name: ObjectName::new("shop", "web"),
        service_type: ServiceType::LoadBalancer,
        cluster_ips: vec![],
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        ports: vec![],
        affinity_timeout_s: None,
        internal_policy: TrafficPolicy::Cluster,
        external_policy: TrafficPolicy::Local,
        publish_not_ready: false,
        health_check_port: port,
    })
}

fn slice(local: u8) -> Change {
    let backend = |last| Backend {
        address: IpAddr::from([10, 1, 0, last]),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(NodeName("n1".into())),
        pod: None,
        hints: None,
    };
    Change::Slice(Slice {
        name: ObjectName::new("shop", "web-1"),
        service: ObjectName::new("shop", "web"),
        ports: vec![],
        backends: (0..local).map(backend).collect(),
    })
}

/// A port that nobody had a moment ago.
async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind((HERE, 0)).await.unwrap();
    listener.local_addr().unwrap().port()
}

async fn ask(port: u16) -> Option<String> {
    ask_at(HERE, port).await
}

async fn ask_at(address: IpAddr, port: u16) -> Option<String> {
    let mut stream = TcpStream::connect((address, port)).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await.ok()?;
    (!text.is_empty()).then_some(text)
}

/// Asks until the answer is as expected; at most ten seconds.
async fn until(port: u16, expected: impl Fn(Option<&str>) -> bool) -> Option<String> {
    let mut last = None;
    for _ in 0..500 {
        last = ask(port).await;
        if expected(last.as_deref()) {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never as expected; at last {last:?}");
}

fn says(status: &str, count: usize) -> impl Fn(Option<&str>) -> bool {
    let (status, count) = (format!("HTTP/1.1 {status}"), format!("\"localEndpoints\":{count}"));
    move |text| text.is_some_and(|text| text.starts_with(&status) && text.contains(&count))
}

#[tokio::test]
async fn a_service_is_asked_about_from_its_coming_to_its_going() {
    let mut world = World::start(Addresses::These(vec![HERE]));
    let (first, second) = (free_port().await, free_port().await);
    world.apply(Some(first), 2);
    let text = until(first, says("200", 2)).await.unwrap();
    assert!(text.contains("x-load-balancing-endpoint-weight: 2\r\n"), "{text}");
    world.apply(Some(first), 0);
    until(first, says("503", 0)).await;
    world.apply(Some(first), 3);
    world.healthy.store(false, Ordering::Relaxed);
    let text = until(first, says("503", 3)).await.unwrap();
    assert!(text.contains("\"serviceProxyHealthy\":false"), "{text}");
    world.healthy.store(true, Ordering::Relaxed);
    world.apply(Some(second), 1);
    until(second, says("200", 1)).await;
    until(first, |text| text.is_none()).await;
    world.apply(None, 1);
    until(second, |text| text.is_none()).await;
    world.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_port_that_is_taken_is_had_once_it_is_free() {
    let mut world = World::start(Addresses::These(vec![HERE]));
    let port = free_port().await;
    let taken = bind(SocketAddr::new(HERE, port)).unwrap();
    world.apply(Some(port), 1);
    let waiting = tokio::time::timeout(Duration::from_millis(300), until(port, says("200", 1)));
    assert!(waiting.await.is_err(), "somebody else has the port");
    let refusal = world.refusals.borrow_and_update().values().next().cloned().unwrap();
    assert_eq!(refusal.at, SocketAddr::new(HERE, port));
    assert!(refusal.why.contains("in use"), "{}", refusal.why);
    drop(taken);
    until(port, says("200", 1)).await;
    let now = tokio::time::timeout(Duration::from_secs(5), world.refusals.changed());
    assert!(now.await.is_ok() && world.refusals.borrow().is_empty());
    world.tasks.stop(Duration::from_secs(1)).await;
    assert!(ask(port).await.is_none(), "closed with its owner");
}

#[tokio::test]
async fn a_node_is_asked_where_its_object_says_that_it_is() {
    let mut world = World::start(Addresses::OfNode);
    let (here, there) = (IpAddr::from([127, 0, 7, 1]), IpAddr::from([127, 0, 7, 2]));
    let port = free_port().await;
    world.apply(Some(port), 1);
    for (address, other) in [(here, there), (there, here)] {
        let IpAddr::V4(v4) = address else { unreachable!("both are IPv4") };
        world.place(v4.octets());
        for _ in 0..500 {
            if ask_at(address, port).await.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(ask_at(address, port).await.is_some_and(|text| text.contains(" 200 ")));
        assert!(ask_at(other, port).await.is_none());
    }
    world.tasks.stop(Duration::from_secs(1)).await;
}
