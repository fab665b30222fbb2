//! The cluster that the tests run in.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use beeline_alloc::PodCidrs;
use beeline_api::Kinds;
use beeline_auth::service_account::Issuer;
use beeline_auth::{Authority, Identity, JoinToken};
use beeline_controllers::Controllers;
use beeline_feed::Feed;
use beeline_kit::{CancellationToken, SystemClock, Tasks};
use beeline_registry::{
    Caller, DeleteOptions, Object, Options, Patch, Registry, Target, WriteOptions,
};
use beeline_store::Embedded;
use beeline_tables::{ObjectName, Reader, Snapshot, Tables};
use beeline_uplink::{
    ByteStream, Config, DialError, Dialer, Logs, StreamFailure, StreamHandler, Uplink, channel_over,
};
use futures::StreamExt as _;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Node, PodStatus};
use serde_json::{Value, json};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;

/// Wait until it holds; fail after ten seconds.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..4000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// Everything but nodes.
pub struct Cluster {
    pub registry: Registry,
    pub feed: Feed,
    pub tasks: Tasks,
    pub token: String,
    pub issuer: Arc<Issuer>,
    caller: Caller,
    _dir: tempfile::TempDir,
}

impl Cluster {
    pub async fn new() -> Self {
        let (dir, tasks) = (tempfile::tempdir().unwrap(), Tasks::new());
        let store =
            Embedded::open(&dir.path().join("store"), beeline_store::Options::default(), &tasks)
                .await
                .unwrap();
        let options =
            Options { advertise: Some(([192, 0, 2, 1].into(), 6443)), ..Options::default() };
        let registry = Registry::open(store, options, &tasks).await.unwrap();
        let range: IpNet = "10.42.0.0/16".parse().unwrap();
        let networks = vec![PodCidrs::new(range).unwrap()];
        let config = beeline_controllers::Config::new(networks, Some("PEM".to_owned()));
        Controllers::start(&registry.client(Caller::system("controller-manager")), &config, &tasks);
        let clock = Arc::new(SystemClock);
        beeline_scheduler::start(
            &registry.client(Caller::system("scheduler")),
            clock.clone(),
            &tasks,
        );
        let authority = Authority::open(dir.path(), SystemTime::now()).unwrap();
        let token = JoinToken::open(&authority).unwrap();
        let token_text = token.reveal();
        let issuer = Arc::new(Issuer::open(&authority).unwrap());
        let config = beeline_feed::Config {
            cluster_pod_cidrs: vec![range],
            service_cidrs: vec!["10.43.0.0/16".parse().unwrap()],
            authority: Arc::new(authority),
            token: Arc::new(token),
            issuer: Some(Arc::clone(&issuer)),
            clock,
        };
        let feed = Feed::start(registry.client(Caller::system("feed")), config, &tasks);
        let caller = Caller::system("test");
        Self { registry, feed, tasks, token: token_text, issuer, caller, _dir: dir }
    }

    pub async fn stop(self) {
        self.tasks.stop(Duration::from_secs(5)).await;
    }

    /// A channel of someone with this name.
    pub async fn channel(&self, user: &str) -> Channel {
        let (near, far) = tokio::io::duplex(1 << 16);
        serve(&self.feed, user, far, &self.tasks, self.tasks.token());
        channel_over(near).await.unwrap()
    }

    pub fn node(&self, name: &str) -> TestNode {
        self.node_as(name, name)
    }

    /// A node that calls itself `name` and has the certificate of `proven`.
    pub fn node_as(&self, name: &str, proven: &str) -> TestNode {
        TestNode::start(self, name, proven)
    }

    fn target(&self, version: &str, kind: &str, namespace: Option<&str>, name: &str) -> Target {
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = Kinds::builtin().by_kind(group, version, kind).unwrap();
        Target::object(kind, namespace, name)
    }

    pub async fn create(&self, version: &str, kind: &str, object: &Value) -> Arc<Object> {
        let mut target = self.target(version, kind, object["metadata"]["namespace"].as_str(), "");
        target.name = None;
        let made = self
            .registry
            .create(&self.caller, &target, object.clone(), &WriteOptions::default())
            .await;
        made.unwrap()
    }

    pub async fn patch(&self, version: &str, kind: &str, name: &str, patch: Value) {
        let target = self.target(version, kind, Some("default"), name);
        let options = WriteOptions::default();
        self.registry.patch(&self.caller, &target, Patch::Merge(patch), &options).await.unwrap();
    }

    pub async fn delete(&self, version: &str, kind: &str, namespace: Option<&str>, name: &str) {
        let target = self.target(version, kind, namespace, name);
        self.registry.delete(&self.caller, &target, &DeleteOptions::default()).await.unwrap();
    }

    pub fn object(
        &self,
        version: &str,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> Option<Arc<Object>> {
        let target = self.target(version, kind, namespace, name);
        self.registry.cached(target.kind, namespace, name)
    }

    pub fn list(&self, version: &str, kind: &str, namespace: Option<&str>) -> Vec<Arc<Object>> {
        let target = self.target(version, kind, namespace, "");
        self.registry.snapshot(target.kind, namespace)
    }
}

/// Connects to the feed inside the process, unless told otherwise.
struct Duplex {
    feed: Feed,
    node: String,
    tasks: Tasks,
    cut: Mutex<CancellationToken>,
    closed: AtomicBool,
}

#[async_trait::async_trait]
impl Dialer for Duplex {
    async fn dial(&self) -> Result<Channel, DialError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(DialError::Other("closed by the test".to_owned()));
        }
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let cut = self.tasks.token().child_token();
        *self.cut.lock().unwrap() = cut.clone();
        serve(&self.feed, &format!("system:node:{}", self.node), theirs, &self.tasks, cut);
        // Cutting the wire, not the server: both ends see a broken pipe.
        let (near, far) = tokio::io::duplex(1 << 16);
        let cut = self.cut.lock().unwrap().clone();
        self.tasks.spawn("test-wire", async move {
            let (mut far, mut ours) = (far, ours);
            let _ =
                cut.run_until_cancelled(tokio::io::copy_bidirectional(&mut far, &mut ours)).await;
        });
        channel_over(near).await
    }
}

/// Serve the feed on one connection whose client is proven to be `user`.
fn serve(
    feed: &Feed,
    user: &str,
    io: tokio::io::DuplexStream,
    tasks: &Tasks,
    end: CancellationToken,
) {
    let identity = Identity::new(user, ["system:nodes"]);
    let prove = move |mut request: tonic::Request<()>| {
        request.extensions_mut().insert(identity.clone());
        Ok(request)
    };
    let service = InterceptedService::new(feed.service(), prove);
    let incoming =
        futures::stream::iter([Ok::<_, std::io::Error>(io)]).chain(futures::stream::pending());
    tasks.spawn("test-server", async move {
        let serve =
            tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming);
        let _ = end.run_until_cancelled(serve).await;
    });
}

/// What the handler of streams does in tests.
struct Answers;

#[async_trait::async_trait]
impl StreamHandler for Answers {
    async fn logs(&self, request: Logs) -> Result<ByteStream, StreamFailure> {
        match request.pod.as_str() {
            "absent" => Err(StreamFailure { code: 404, message: "no such container".to_owned() }),
            "endless" => Ok(futures::stream::pending().boxed()),
            pod => {
                let lines = (0..1000).map(move |n| Ok(format!("{n}\n").into())).collect::<Vec<_>>();
                let _ = pod;
                Ok(futures::stream::iter(lines).boxed())
            }
        }
    }

    async fn flows(&self, query_json: Vec<u8>) -> Result<ByteStream, StreamFailure> {
        Ok(futures::stream::iter([Ok(query_json.into())]).boxed())
    }
}

/// A node whose Pods are ready at once and end at once.
pub struct TestNode {
    pub uplink: Uplink,
    reader: Reader,
    dialer: Arc<Duplex>,
}

impl TestNode {
    fn start(cluster: &Cluster, name: &str, proven: &str) -> Self {
        let dialer = Arc::new(Duplex {
            feed: cluster.feed.clone(),
            node: proven.to_owned(),
            tasks: cluster.tasks.child(),
            cut: Mutex::new(CancellationToken::new()),
            closed: AtomicBool::new(false),
        });
        let (writer, reader) = Tables::new();
        let config = Config {
            node_name: name.to_owned(),
            instance: "abc123".to_owned(),
            epoch_in_force: 0,
            node: node(name),
        };
        let line: Arc<dyn Dialer> = dialer.clone();
        let uplink = Uplink::start(config, line, Arc::new(Answers), writer, &cluster.tasks);
        cluster.tasks.spawn("test-node", live(uplink.clone(), reader.clone()));
        Self { uplink, reader, dialer }
    }

    pub fn tables(&self) -> Arc<Snapshot> {
        self.reader.snapshot()
    }

    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Break the line and keep it broken.
    pub fn cut(&self) {
        self.refuse_more();
        self.dialer.cut.lock().unwrap().cancel();
    }

    /// Do not dial again.
    pub fn refuse_more(&self) {
        self.dialer.closed.store(true, Ordering::SeqCst);
    }

    /// Dial again.
    pub fn mend(&self) {
        self.dialer.closed.store(false, Ordering::SeqCst);
    }
}

fn node(name: &str) -> Node {
    let node = json!({
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": {
            "addresses": [{ "type": "InternalIP", "address": "192.0.2.10" }],
            "capacity": { "cpu": "4", "memory": "8Gi", "pods": "110" },
            "conditions": [{ "type": "Ready", "status": "True", "reason": "KubeletReady",
                "lastTransitionTime": "2026-01-01T00:00:00Z" }],
        },
    });
    serde_json::from_value(node).unwrap()
}

/// Acknowledge every epoch, run every Pod, end those that are to end.
async fn live(uplink: Uplink, mut reader: Reader) {
    let mut next = 2_u8;
    let mut running: std::collections::HashMap<String, Ipv4Addr> = std::collections::HashMap::new();
    while let Some(snapshot) = reader.changed().await {
        uplink.ack(snapshot.epoch, 7);
        for intent in snapshot.pods.values() {
            let uid = intent.pod.metadata.uid.clone().unwrap();
            if intent.pod.metadata.deletion_timestamp.is_some() {
                uplink.pod_gone(&intent.name, &uid);
                continue;
            }
            let welcome = uplink.welcome().borrow().clone().unwrap();
            let network: Ipv4Addr = welcome.pod_cidr.split('/').next().unwrap().parse().unwrap();
            let address = *running.entry(uid.clone()).or_insert_with(|| {
                next += 1;
                let [a, b, c, _] = network.octets();
                Ipv4Addr::new(a, b, c, next)
            });
            report(&uplink, &intent.name, &uid, address);
        }
    }
}

fn report(uplink: &Uplink, pod: &ObjectName, uid: &str, address: Ipv4Addr) {
    let status: PodStatus = serde_json::from_value(json!({
        "phase": "Running", "podIP": address.to_string(), "podIPs": [{ "ip": address.to_string() }],
        "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }],
    }))
    .unwrap();
    uplink.pod_status(pod, uid, &status);
}
