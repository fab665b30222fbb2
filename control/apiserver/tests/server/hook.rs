//! A webhook: an HTTPS server of the test's own, with a certificate of the cluster's authority.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use base64::Engine as _;
use beeline_auth::{ClientCertificates, ServerNames, server_config};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::fixture::Fixture;

/// Answers a review that came to a path; None: never.
type Answer = Arc<dyn Fn(&str, &Value) -> Option<Value> + Send + Sync>;
type Calls = Arc<Mutex<Vec<(String, Value)>>>;

pub(crate) struct Hook {
    pub(crate) port: u16,
    calls: Calls,
    ca: String,
    serving: JoinHandle<()>,
}

impl Hook {
    /// Serves at a port of its own until it is stopped.
    pub(crate) async fn start(
        fixture: &Fixture,
        answer: impl Fn(&str, &Value) -> Option<Value> + Send + Sync + 'static,
    ) -> Self {
        let names = ServerNames::standard(IpAddr::from([10, 43, 0, 1]), "test");
        let certified = fixture.authority.server(&names, SystemTime::now()).unwrap();
        let ca = fixture.authority.certificate_pem();
        let mut tls =
            (*server_config(ca, &certified, ClientCertificates::Optional).unwrap()).clone();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (calls, answer): (Calls, Answer) = (Calls::default(), Arc::new(answer));
        let seen = Arc::clone(&calls);
        #[expect(clippy::disallowed_methods, reason = "it ends with the test, which aborts it")]
        let serving = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
                let answer = Arc::clone(&answer);
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(|request| serve(&seen, &answer, request));
                    drop(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    );
                });
            }
        });
        let ca = base64::engine::general_purpose::STANDARD.encode(ca);
        Self { port, calls, ca, serving }
    }

    /// `clientConfig` of that path.
    pub(crate) fn client(&self, path: &str) -> Value {
        json!({ "url": format!("https://localhost:{}{path}", self.port), "caBundle": self.ca })
    }

    /// Paths and reviews since the last look.
    pub(crate) fn calls(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.calls.lock().unwrap())
    }

    /// The paths alone.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.calls().into_iter().map(|(path, _)| path).collect()
    }

    pub(crate) async fn stop(self) {
        self.serving.abort();
        let _ = self.serving.await;
    }
}

async fn serve(
    seen: &Calls,
    answer: &Answer,
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<Full<Bytes>>, std::convert::Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let answer = answer(&path, &review);
    seen.lock().unwrap().push((path, review));
    match answer {
        Some(answer) => Ok(http::Response::new(Full::new(Bytes::from(answer.to_string())))),
        None => std::future::pending().await,
    }
}
