//! An extension server, and what clients see of it through ours.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use beeline_auth::{Authority, ClientCertificates, ServerNames, server_config};
use beeline_kit::Tasks;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::fixture::{Fixture, LIMIT};
use crate::kubectl::{Kubectl, all_versions};

type Answer = Response<BoxBody<Bytes, Infallible>>;

/// Serves `things` of group `ext.test`, to whom shows the front proxy's certificate.
struct Extension {
    port: u16,
    ca_pem: String,
    shared: Arc<Shared>,
    _dir: tempfile::TempDir,
}

struct Shared {
    tasks: Tasks,
    /// Headers of the last request for an object.
    asked: Mutex<HeaderMap>,
    broken: AtomicBool,
    /// The other end of the watch that is open.
    events: Mutex<Option<mpsc::Sender<String>>>,
}

impl Extension {
    async fn start(fixture: &Fixture) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = Authority::open(dir.path(), SystemTime::now()).unwrap();
        let names = ServerNames::standard(IpAddr::from([127, 0, 0, 1]), "test")
            .with(["ext.default.svc".to_owned()]);
        let certified = own.server(&names, SystemTime::now()).unwrap();
        // What the ConfigMap `extension-apiserver-authentication` tells such servers.
        let proxy = Authority::open_front_proxy(fixture.dir.path(), SystemTime::now()).unwrap();
        let tls = server_config(proxy.certificate_pem(), &certified, ClientCertificates::Optional)
            .unwrap();
        let mut tls = (*tls).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            tasks: fixture.tasks(),
            asked: Mutex::default(),
            broken: AtomicBool::default(),
            events: Mutex::default(),
        });
        let serving = serve(listener, Arc::new(tls), Arc::clone(&shared));
        fixture.spawn("extension", serving);
        Self { port, ca_pem: own.certificate_pem().to_owned(), shared, _dir: dir }
    }

    /// Service and APIService. Endpoints may not be on loopback, a Service of an external name may.
    fn objects(&self) -> String {
        let bundle = STANDARD.encode(&self.ca_pem);
        format!(
            "
apiVersion: v1
kind: Service
metadata: {{name: ext, namespace: default}}
spec: {{type: ExternalName, externalName: localhost}}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {{name: v1.ext.test}}
spec:
  group: ext.test
  version: v1
  groupPriorityMinimum: 1500
  versionPriority: 20
  caBundle: {bundle}
  service: {{namespace: default, name: ext, port: {}}}
",
            self.port
        )
    }
}

async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, shared: Arc<Shared>) {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), Arc::clone(&shared));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
            let proven = shown.is_some_and(|der| {
                let name = beeline_auth::Identity::from_certificate(&der).map(|i| i.user);
                name.is_ok_and(|name| name == "front-proxy-client")
            });
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(request, proven, &shared)) }
            });
            let served = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = served.with_upgrades().await;
        });
    }
}

fn answer(mut request: Request<Incoming>, proven: bool, shared: &Shared) -> Answer {
    if shared.broken.load(Ordering::SeqCst) {
        return text(500, "broken");
    }
    if !proven {
        return text(401, "who are you?");
    }
    let path = request.uri().path().to_owned();
    let thing = |name: &str| {
        json!({ "apiVersion": "ext.test/v1", "kind": "Thing",
            "metadata": { "name": name, "namespace": "default", "creationTimestamp": "2025-01-01T00:00:00Z" } })
    };
    match path.as_str() {
        "/apis/ext.test/v1" => json_of(&json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "ext.test/v1",
            "resources": [{ "name": "things", "singularName": "thing", "namespaced": true, "kind": "Thing",
                "verbs": ["get", "list", "watch", "create"], "shortNames": ["th"] }],
        })),
        "/openapi/v3" => json_of(&json!({ "paths": {
            "apis/ext.test/v1": { "serverRelativeURL": "/openapi/v3/apis/ext.test/v1?hash=AB" },
            "apis/other/v1": { "serverRelativeURL": "/openapi/v3/apis/other/v1" },
        } })),
        "/openapi/v3/apis/ext.test/v1" => {
            json_of(&json!({ "openapi": "3.0.0", "paths": {}, "mark": "from the extension" }))
        }
        "/apis/ext.test/v1/namespaces/default/things" => {
            shared.asked.lock().unwrap().clone_from(request.headers());
            if request.uri().query().is_some_and(|query| query.contains("watch=true")) {
                return watch(shared);
            }
            json_of(&json!({ "kind": "ThingList", "apiVersion": "ext.test/v1",
                "metadata": { "resourceVersion": "1" }, "items": [thing("one")] }))
        }
        "/apis/ext.test/v1/namespaces/default/things/one/echo" => {
            let upgraded = hyper::upgrade::on(&mut request);
            shared.tasks.spawn("extension-echo", echo(upgraded));
            let mut answer = text(101, "");
            answer.headers_mut().insert("connection", "Upgrade".parse().unwrap());
            answer.headers_mut().insert("upgrade", "echo".parse().unwrap());
            answer
        }
        "/apis/ext.test/v1/namespaces/default/things/one" => json_of(&thing("one")),
        _ => text(404, "404 page not found\n"),
    }
}

async fn echo(upgraded: hyper::upgrade::OnUpgrade) {
    let mut io = TokioIo::new(upgraded.await.unwrap());
    let mut word = [0; 5];
    io.read_exact(&mut word).await.unwrap();
    word.reverse();
    io.write_all(&word).await.unwrap();
}

fn watch(shared: &Shared) -> Answer {
    let (sender, receiver) = mpsc::channel(8);
    *shared.events.lock().unwrap() = Some(sender);
    let events = futures::stream::unfold(receiver, async |mut events: mpsc::Receiver<_>| {
        events.recv().await.map(|event: String| (event, events))
    });
    let frames = events.map(|event| Ok(Frame::data(Bytes::from(event))));
    let mut answer = Response::new(BoxBody::new(StreamBody::new(frames)));
    answer.headers_mut().insert("content-type", "application/json".parse().unwrap());
    answer
}

fn text(code: u16, body: &'static str) -> Answer {
    let body = Full::new(Bytes::from_static(body.as_bytes())).boxed();
    Response::builder().status(code).body(body).unwrap()
}

fn json_of(value: &Value) -> Answer {
    let body = Full::new(Bytes::from(value.to_string())).boxed();
    Response::builder().header("content-type", "application/json").body(body).unwrap()
}

async fn started() -> Option<(Fixture, Extension, Kubectl)> {
    let fixture = Fixture::start_with_extensions().await;
    let extension = Extension::start(&fixture).await;
    let Some(kubectl) = Kubectl::new(&fixture) else {
        fixture.stop().await;
        return None;
    };
    kubectl.pipe(&["apply", "-f", "-"], &extension.objects()).await;
    let wait = ["wait", "--for=condition=Available", "apiservice/v1.ext.test", "--timeout=20s"];
    kubectl.run(&wait).await;
    Some((fixture, extension, kubectl))
}

#[tokio::test(flavor = "multi_thread")]
async fn another_servers_kinds_are_served_like_ours() {
    let Some((fixture, extension, kubectl)) = started().await else { return };
    for binary in all_versions() {
        let kubectl = Kubectl::of(&fixture, binary);
        let resources = kubectl.run(&["api-resources", "--api-group=ext.test"]).await;
        assert!(resources.contains("things") && resources.contains("th "), "{resources}");
        assert!(kubectl.run(&["get", "th"]).await.contains("one"));
    }
    assert_eq!(kubectl.run(&["get", "th/one", "-o", "name"]).await.trim(), "thing.ext.test/one");
    let raw =
        kubectl.run(&["get", "--raw", "/apis/ext.test/v1/namespaces/default/things/one"]).await;
    assert!(raw.contains("\"kind\":\"Thing\""), "{raw}");
    let versions = kubectl.run(&["api-versions"]).await;
    assert!(versions.contains("ext.test/v1") && versions.contains("apps/v1"), "{versions}");

    let services = kubectl.run(&["get", "apiservices"]).await;
    let line = |name: &str| {
        let found = services.lines().find(|line| line.starts_with(&format!("{name} ")));
        found.unwrap_or_default().split_whitespace().take(3).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("v1.ext.test"), "v1.ext.test default/ext True", "{services}");
    assert_eq!(line("v1."), "v1. Local True", "{services}");
    assert_eq!(line("v1.authorization.k8s.io"), "v1.authorization.k8s.io Local True", "{services}");
    assert!(!services.contains("apiregistration"), "{services}");

    let group = fixture.admin("GET", "/apis/ext.test", &[], "").await;
    assert_eq!(group.json()["preferredVersion"]["groupVersion"], "ext.test/v1");
    let index = fixture.admin("GET", "/openapi/v3", &[], "").await.json();
    assert_eq!(
        index["paths"]["apis/ext.test/v1"]["serverRelativeURL"],
        "/openapi/v3/apis/ext.test/v1?hash=AB"
    );
    assert!(index["paths"]["apis/other/v1"].is_null() && !index["paths"]["api/v1"].is_null());
    let document = fixture.admin("GET", "/openapi/v3/apis/ext.test/v1?hash=AB", &[], "").await;
    assert_eq!(document.json()["mark"], "from the extension");
    drop(extension);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_told_and_may_or_may_not() {
    let Some((fixture, extension, kubectl)) = started().await else { return };
    let path = "/apis/ext.test/v1/namespaces/default/things";
    let forged = [
        ("x-remote-user", "root"),
        ("x-remote-group", "system:masters"),
        ("authorization", "Bearer x"),
    ];
    let now = SystemTime::now();
    let bob = fixture.authority.client("bob", Some("devs"), now).unwrap();
    let refused = fixture.request(Some(&bob), "GET", path, &forged[..2], "").await;
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.json()["message"],
        "things.ext.test is forbidden: User \"bob\" cannot list resource \"things\" in API group \"ext.test\" in the \
         namespace \"default\""
    );
    kubectl.run(&["create", "role", "sees", "--verb=list", "--resource=things.ext.test"]).await;
    kubectl.run(&["create", "rolebinding", "sees", "--role=sees", "--group=devs"]).await;
    let allowed = fixture.request(Some(&bob), "GET", path, &forged, "").await;
    assert_eq!(allowed.code, 200, "{}", allowed.text());
    let asked = extension.shared.asked.lock().unwrap().clone();
    let values = |name: &str| {
        let all = asked.get_all(name).into_iter().map(|value| value.to_str().unwrap());
        all.collect::<Vec<_>>()
    };
    assert_eq!(values("x-remote-user"), ["bob"]);
    assert_eq!(values("x-remote-group"), ["devs", "system:authenticated"]);
    assert_eq!(values("authorization"), Vec::<&str>::new());
    assert_eq!(values("host"), ["ext.default.svc"]);
    let nobody = fixture.request(None, "GET", path, &[], "").await;
    assert_eq!(nobody.code, 401);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_and_upgrades_go_through() {
    let Some((fixture, extension, kubectl)) = started().await else { return };
    let raw = "/apis/ext.test/v1/namespaces/default/things?watch=true";
    let mut follower = kubectl.follow(&["get", "--raw", raw]);
    let sender = async {
        loop {
            if let Some(sender) = extension.shared.events.lock().unwrap().take() {
                return sender;
            }
            tokio::task::yield_now().await;
        }
    };
    let sender = tokio::time::timeout(LIMIT, sender).await.expect("the watch arrives");
    for word in ["first", "second"] {
        sender.send(format!("{{\"type\":\"{word}\"}}\n")).await.unwrap();
        follower.until(word).await;
    }
    drop(follower);
    // The one who watched is gone: so is the request here.
    tokio::time::timeout(LIMIT, sender.closed()).await.expect("the watch ends");

    let path = "/apis/ext.test/v1/namespaces/default/things/one/echo";
    let mut upgraded = fixture.upgrade(path, "echo").await;
    upgraded.write_all(b"hello").await.unwrap();
    let mut word = [0; 5];
    tokio::time::timeout(LIMIT, upgraded.read_exact(&mut word)).await.unwrap().unwrap();
    assert_eq!(&word, b"olleh");
    drop(upgraded);
    fixture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_available_says_why() {
    let Some((fixture, extension, kubectl)) = started().await else { return };
    let becomes = async |status: &str, reason: &str| {
        let path = "jsonpath={.status.conditions[0].status}/{.status.conditions[0].reason}";
        let wanted = format!("{status}/{reason}");
        let looked = async {
            while kubectl.run(&["get", "apiservice", "v1.ext.test", "-o", path]).await != wanted {}
        };
        tokio::time::timeout(LIMIT, looked).await.unwrap_or_else(|_| panic!("never {wanted}"));
    };
    let things = "/apis/ext.test/v1/namespaces/default/things";
    kubectl.run(&["delete", "service", "ext"]).await;
    becomes("False", "ServiceNotFound").await;
    let refused = fixture.admin("GET", things, &[], "").await;
    assert_eq!((refused.code, refused.text().as_str()), (503, "service unavailable\n"));
    // What was heard before is still told, and that it is old.
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let told = fixture.admin("GET", "/apis", &[("accept", accept)], "").await.json();
    let of = |name: &str| {
        let items = told["items"].as_array().unwrap();
        items.iter().find(|item| item["metadata"]["name"] == name).unwrap().clone()
    };
    assert_eq!(of("ext.test")["versions"][0]["freshness"], "Stale");
    assert_eq!(of("ext.test")["versions"][0]["resources"][0]["resource"], "things");
    assert_eq!(of("apps")["versions"][0]["freshness"], "Current");

    let service = "
apiVersion: v1
kind: Service
metadata: {name: ext, namespace: default}
spec: {ports: [{name: https, port: PORT}]}
";
    kubectl.pipe(&["create", "-f", "-"], &service.replace("PORT", "1")).await;
    becomes("False", "ServicePortError").await;
    kubectl.run(&["delete", "service", "ext"]).await;
    kubectl
        .pipe(&["create", "-f", "-"], &service.replace("PORT", &extension.port.to_string()))
        .await;
    becomes("False", "EndpointsNotFound").await;
    kubectl.run(&["delete", "service", "ext"]).await;

    extension.shared.broken.store(true, Ordering::SeqCst);
    kubectl.pipe(&["apply", "-f", "-"], &extension.objects()).await;
    becomes("False", "FailedDiscoveryCheck").await;
    extension.shared.broken.store(false, Ordering::SeqCst);
    // A change of the APIService is a reason to ask again.
    let patch = r#"{"spec":{"versionPriority":21}}"#;
    kubectl.run(&["patch", "apiservice", "v1.ext.test", "--type=merge", "-p", patch]).await;
    becomes("True", "Passed").await;
    // One that cannot prove itself is as good as none.
    let other = tempfile::tempdir().unwrap();
    let other = Authority::open(other.path(), SystemTime::now()).unwrap();
    let bundle = STANDARD.encode(other.certificate_pem());
    let patch = json!({ "spec": { "caBundle": bundle } }).to_string();
    kubectl.run(&["patch", "apiservice", "v1.ext.test", "--type=merge", "-p", &patch]).await;
    becomes("False", "FailedDiscoveryCheck").await;
    let patch = r#"{"spec":{"caBundle":null,"insecureSkipTLSVerify":true}}"#;
    kubectl.run(&["patch", "apiservice", "v1.ext.test", "--type=merge", "-p", patch]).await;
    becomes("True", "Passed").await;
    kubectl.run(&["delete", "apiservice", "v1.ext.test"]).await;
    let gone = async { while fixture.admin("GET", "/apis/ext.test", &[], "").await.code != 404 {} };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("it goes from discovery");
    fixture.stop().await;
}
