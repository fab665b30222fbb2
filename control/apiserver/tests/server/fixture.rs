//! One server per test: a store of its own, a port of its own, an authority of its own.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use beeline_api::Kinds;
use beeline_apiserver::{NodeConnector, Options, Server, StoreTimes};
use beeline_auth::service_account::Issuer;
use beeline_auth::{Authority, ClientCertificates, ServerNames, client_config, server_config};
use beeline_kit::Tasks;
use beeline_registry::{Caller, Patch, Registry, Subresource, Target, WriteOptions};
use beeline_store::Embedded;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;

/// Nothing here takes longer on a machine that works.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Fixture {
    pub(crate) registry: Registry,
    pub(crate) server: Server,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) authority: Authority,
    tasks: Tasks,
}

/// An answer over plain HTTP.
#[derive(Debug)]
pub(crate) struct Got {
    pub(crate) code: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Got {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |v| v.to_str().unwrap())
    }
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        Self::start_over(beeline_registry::Options::default(), change).await
    }

    /// A server that remembers so many changes of a kind.
    pub(crate) async fn start_remembering(changes: usize) -> Self {
        let history = beeline_registry::Options { history_per_kind: changes, ..Default::default() };
        Self::start_over(history, |_| {}).await
    }

    async fn start_over(
        history: beeline_registry::Options,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), history, change).await
    }

    async fn start_in(
        dir: tempfile::TempDir,
        history: beeline_registry::Options,
        change: impl FnOnce(&mut Options),
    ) -> Self {
        let tasks = Tasks::new();
        let limits = beeline_store::Options { segment_bytes: 1 << 20, ..Default::default() };
        let store = Embedded::open(&dir.path().join("store"), limits, &tasks).await.unwrap();
        let webhooks = Some(Arc::new(beeline_apiserver::Webhooks) as _);
        let times = Arc::new(StoreTimes::default());
        let observed = Arc::clone(&times);
        let store_observed: Option<beeline_registry::StoreObserver> =
            Some(Arc::new(move |operation, kind, took| observed.observe(operation, kind, took)));
        let history = beeline_registry::Options { webhooks, store_observed, ..history };
        let registry = Registry::open(store, history, &tasks).await.unwrap();
        let now = SystemTime::now();
        let authority = Authority::open(dir.path(), now).unwrap();
        let names = ServerNames::standard(IpAddr::from([10, 43, 0, 1]), "test");
        let certified = authority.server(&names, now).unwrap();
        let ca = authority.certificate_pem().to_owned();
        let tls = server_config(&ca, &certified, ClientCertificates::Optional).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut options = Options::new(registry.clone(), ca);
        options.tokens = Some(Arc::new(Issuer::open(&authority).unwrap()));
        options.address = address.to_string();
        options.store_times = Some(times);
        change(&mut options);
        let server = Server::new(options, &tasks);
        server.listen(listener, tls);
        let fixture = Self { registry, server, address, dir, authority, tasks };
        let url = format!("https://{address}");
        std::fs::write(
            fixture.kubeconfig(),
            fixture.authority.admin_kubeconfig(&url, now).unwrap(),
        )
        .unwrap();
        fixture
    }

    /// A server with the controllers of a cluster.
    pub(crate) async fn start_with_controllers() -> Self {
        let fixture = Self::start().await;
        fixture.start_controllers();
        fixture
    }

    /// The same, which passes requests on to extension servers.
    pub(crate) async fn start_with_extensions() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let proxy = Authority::open_front_proxy(dir.path(), SystemTime::now()).unwrap();
        let shown = proxy.front_proxy_client(SystemTime::now()).unwrap();
        let over = beeline_registry::Options::default();
        let fixture = Self::start_in(dir, over, |options| options.front_proxy = Some(shown)).await;
        fixture.start_controllers();
        fixture
    }

    fn start_controllers(&self) {
        let client = self.registry.client(Caller::system("controller-manager"));
        let config = beeline_controllers::Config::new(Vec::new(), None);
        beeline_controllers::Controllers::start(&client, &config, &self.tasks);
    }

    /// Owns what tests start.
    pub(crate) fn tasks(&self) -> Tasks {
        self.tasks.child()
    }

    /// Something that runs until the fixture stops.
    pub(crate) fn spawn(
        &self,
        name: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
    ) {
        let token = self.tasks.token();
        self.tasks.spawn(name, async move {
            let _ = token.run_until_cancelled(work).await;
        });
    }

    /// A connection as the administrator that was handed over to another protocol.
    pub(crate) async fn upgrade(
        &self,
        path: &str,
        protocol: &str,
    ) -> TokioIo<hyper::upgrade::Upgraded> {
        let admin = self.authority.admin(SystemTime::now()).unwrap();
        let request = http::Request::get(path)
            .header("host", "localhost")
            .header("connection", "Upgrade")
            .header("upgrade", protocol)
            .body(Full::new(Bytes::new()))
            .unwrap();
        let mut answer = self.send(Some(&admin), request).await;
        assert_eq!(answer.status(), 101);
        TokioIo::new(hyper::upgrade::on(&mut answer).await.unwrap())
    }

    pub(crate) async fn start_with_nodes(nodes: Arc<dyn NodeConnector>) -> Self {
        Self::start_with(|options| options.nodes = Some(nodes)).await
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.path().join("kubeconfig")
    }

    /// Ends everything; every test calls it, so that a server which does not drain fails all of them.
    pub(crate) async fn stop(self) {
        let before = Instant::now();
        self.server.stop(Duration::from_secs(5)).await;
        assert!(before.elapsed() < Duration::from_secs(4), "the server did not drain");
        self.tasks.stop(Duration::from_secs(1)).await;
    }

    /// A request as the administrator.
    pub(crate) async fn admin(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Got {
        let admin = self.authority.admin(SystemTime::now()).unwrap();
        self.request(Some(&admin), method, path, headers, body).await
    }

    /// A connection with that client certificate, or none, for that protocol.
    pub(crate) async fn connect(
        &self,
        client: Option<&beeline_auth::Certified>,
        protocol: &[u8],
    ) -> TlsStream<TcpStream> {
        let mut tls = (*client_config(self.authority.certificate_pem(), client).unwrap()).clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(tls)).connect(name, stream).await.unwrap()
    }

    /// A request with that client certificate, or none.
    pub(crate) async fn request(
        &self,
        client: Option<&beeline_auth::Certified>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Got {
        let mut request =
            http::Request::builder().method(method).uri(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = self.send(client, request.body(Full::new(body.into())).unwrap()).await;
        let (parts, body) = answer.into_parts();
        let body = tokio::time::timeout(LIMIT, body.collect()).await.unwrap().unwrap().to_bytes();
        Got { code: parts.status.as_u16(), headers: parts.headers, body }
    }

    async fn send(
        &self,
        client: Option<&beeline_auth::Certified>,
        request: http::Request<Full<Bytes>>,
    ) -> http::Response<hyper::body::Incoming> {
        let stream = self.connect(client, b"http/1.1").await;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn("test-client", async move { drop(connection.with_upgrades().await) });
        tokio::time::timeout(LIMIT, sender.send_request(request)).await.unwrap().unwrap()
    }

    /// Sets the status of an object, as a controller would.
    pub(crate) async fn set_status(&self, group: &str, plural: &str, name: &str, status: Value) {
        let kind = Kinds::builtin().by_resource(group, "v1", plural).unwrap();
        let target = Target {
            subresource: Some(Subresource::Status),
            ..Target::object(kind, Some("default"), name)
        };
        let patch = Patch::Merge(serde_json::json!({ "status": status }));
        let caller = Caller::system("test");
        self.registry.patch(&caller, &target, patch, &WriteOptions::default()).await.unwrap();
    }
}
