//! The informer against a real API server that goes away, comes back and forgets.
#![expect(clippy::unwrap_used, reason = "a test whose world cannot be made fails")]

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use beeline_apiserver::{Options, Server};
use beeline_auth::{Authority, ClientCertificates, ServerNames, server_config};
use beeline_informer::{Access, Batch, Cluster, Config, Informer, InformerError, Standing};
use beeline_kit::Tasks;
use beeline_registry::{Caller, Client, DeleteOptions, Registry};
use beeline_store::Embedded;
use beeline_tables::{Epoch, NodeName, ObjectName, Reader, Snapshot, Tables};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use tokio::net::TcpListener;

/// Nothing here takes longer on a machine that works; back-off after a server that was away is part of it.
const LIMIT: Duration = Duration::from_secs(60);
/// Few enough to be forgotten soon.
const HISTORY: usize = 8;

/// Objects that live on while the server in front of them comes and goes.
struct World {
    registry: Registry,
    authority: Authority,
    address: SocketAddr,
    dir: tempfile::TempDir,
    tasks: Tasks,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tasks = Tasks::new();
        let limits = beeline_store::Options { segment_bytes: 1 << 20, ..Default::default() };
        let store = Embedded::open(&dir.path().join("store"), limits, &tasks).await.unwrap();
        let options = beeline_registry::Options { history_per_kind: HISTORY, ..Default::default() };
        let registry = Registry::open(store, options, &tasks).await.unwrap();
        let authority = Authority::open(dir.path(), SystemTime::now()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let world = Self { registry, authority, address, dir, tasks };
        let url = format!("https://{address}");
        let text = world.authority.admin_kubeconfig(&url, SystemTime::now()).unwrap();
        std::fs::write(world.dir.path().join("kubeconfig"), text).unwrap();
        world
    }

    async fn serve(&self) -> Server {
        let listener = TcpListener::bind(self.address).await.unwrap();
        let names = ServerNames::standard(IpAddr::from([10, 43, 0, 1]), "test");
        let certified = self.authority.server(&names, SystemTime::now()).unwrap();
        let ca = self.authority.certificate_pem().to_owned();
        let tls = server_config(&ca, &certified, ClientCertificates::Optional).unwrap();
        let mut options = Options::new(self.registry.clone(), ca);
        options.address = self.address.to_string();
        let server = Server::new(options, &self.tasks);
        server.listen(listener, tls);
        server
    }

    fn client(&self) -> Client {
        self.registry.client(Caller::system("test"))
    }

    async fn inform(&self) -> (Informer, Reader, Arc<Mutex<Vec<Batch>>>) {
        let access = Access::Kubeconfig(self.dir.path().join("kubeconfig"));
        let cluster = Cluster::reach(&access).await.unwrap();
        assert_eq!(cluster.url(), format!("https://{}/", self.address));
        let (writer, reader) = Tables::new();
        let batches = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&batches);
        let config = Config {
            after: Epoch(10),
            on_batch: Arc::new(move |batch| seen.lock().unwrap().push(batch.clone())),
            ..Config::new(NodeName("n1".into()))
        };
        (Informer::start(cluster, config, writer, &self.tasks), reader, batches)
    }
}

fn parse<T: serde::de::DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap()
}

fn service(name: &str) -> Service {
    parse(&format!(
        "metadata: {{namespace: default, name: {name}}}\nspec: {{ports: [{{port: 80}}]}}"
    ))
}

fn slice(name: &str, addresses: &str) -> EndpointSlice {
    let now = k8s_openapi::jiff::Timestamp::now();
    parse(&format!(
        "
metadata:
  namespace: default
  name: {name}
  labels: {{kubernetes.io/service-name: web}}
  annotations: {{endpoints.kubernetes.io/last-change-trigger-time: '{now}'}}
addressType: IPv4
ports: [{{name: '', port: 8080}}]
endpoints: [{{addresses: [{addresses}]}}]
"
    ))
}

async fn wait(reader: &mut Reader, what: &str, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let waiting = async {
        let mut snapshot = reader.snapshot();
        while !holds(&snapshot) {
            snapshot = reader.changed().await.expect("the informer runs");
        }
        snapshot
    };
    tokio::time::timeout(LIMIT, waiting).await.unwrap_or_else(|_| panic!("never: {what}"))
}

fn name(of: &str) -> ObjectName {
    ObjectName::new("default", of)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_follow_the_cluster_through_outages_and_forgotten_history() {
    let world = World::new().await;
    let (informer, mut reader, batches) = world.inform().await;
    // The server is not there yet, which is no error.
    let client = world.client();
    client.api::<Service>().create(&service("web")).await.unwrap();
    let server = world.serve().await;
    let first = wait(&mut reader, "a whole state", |now| now.complete).await;
    assert_eq!(first.epoch, Epoch(11));
    assert!(first.services.contains_key(&name("web")));

    client.api::<EndpointSlice>().create(&slice("web-1", "10.1.0.5")).await.unwrap();
    let node: Node = parse("metadata: {name: n1}\nspec: {podCIDR: 10.1.0.0/24}");
    client.api::<Node>().create(&node).await.unwrap();
    let now = wait(&mut reader, "a slice and a node", |now| {
        now.slices.contains_key(&name("web-1")) && now.nodes.len() == 1
    })
    .await;
    assert_eq!(now.slices[&name("web-1")].backends[0].address.to_string(), "10.1.0.5");
    let triggers: usize = batches.lock().unwrap().iter().map(|batch| batch.triggers.len()).sum();
    assert_eq!(triggers, 1, "the change of the slice says when it began");

    // Away for a moment: the watch goes on where it broke off.
    server.stop(Duration::from_secs(1)).await;
    client.api::<Service>().create(&service("api")).await.unwrap();
    let server = world.serve().await;
    wait(&mut reader, "what came meanwhile", |now| now.services.contains_key(&name("api"))).await;

    // Away for so long that the server has forgotten where we were: a new list removes what is gone.
    server.stop(Duration::from_secs(1)).await;
    client
        .api::<Service>()
        .delete(Some("default"), "api", &DeleteOptions::default())
        .await
        .unwrap();
    for number in 0..3 * HISTORY {
        client.api::<Service>().create(&service(&format!("s{number}"))).await.unwrap();
    }
    let server = world.serve().await;
    let last = name(&format!("s{}", 3 * HISTORY - 1));
    let now = wait(&mut reader, "the new list", |now| now.services.contains_key(&last)).await;
    assert!(!now.services.contains_key(&name("api")), "it went while nobody watched");

    // The node is to leave.
    let mut standing = informer.standing();
    assert_eq!(*standing.borrow_and_update(), Standing::Eligible);
    client.api::<Node>().delete(None, "n1", &DeleteOptions::default()).await.unwrap();
    tokio::time::timeout(LIMIT, standing.changed()).await.unwrap().unwrap();
    assert_eq!(*standing.borrow(), Standing::Leaving);

    let epochs: Vec<u64> = batches.lock().unwrap().iter().map(|batch| batch.epoch.0).collect();
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    world.tasks.stop(Duration::from_secs(5)).await;
    server.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn what_is_wrong_with_a_kubeconfig_is_said_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("kubeconfig");
    let missing = Cluster::reach(&Access::Kubeconfig(path.clone())).await.err().unwrap();
    assert!(matches!(missing, InformerError::Kubeconfig { .. }));
    assert!(missing.to_string().contains("kubeconfig"), "{missing}");
    let text = |user: &str| {
        format!(
            "
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: 'https://192.0.2.1:6443'}}}}]
users: [{{name: u, user: {user}}}]
"
        )
    };
    std::fs::write(&path, text("{token: abc}")).unwrap();
    let cluster = Cluster::reach(&Access::Kubeconfig(path.clone())).await.unwrap();
    assert_eq!(cluster.url(), "https://192.0.2.1:6443/");
    let broken = text("{client-certificate-data: YWJj, client-key-data: YWJj}");
    std::fs::write(&path, broken).unwrap();
    let refused = Cluster::reach(&Access::Kubeconfig(path)).await.err().unwrap();
    assert!(refused.to_string().contains("192.0.2.1"), "{refused}");
}
