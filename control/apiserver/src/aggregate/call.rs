//! Connections to extension servers, and small documents fetched over them.
//!
//! One connection per request: watches and upgrades hold theirs, and a server that went away is noticed at once. TLS sessions
//! are resumed, as the configuration is kept with the APIService.

use std::time::Duration;

use axum::body::Body;
use beeline_kit::Tasks;
use beeline_registry::Registry;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use rand::seq::IndexedRandom as _;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

use super::{ApiService, resolve};

/// How long a connection may take to be made.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// How long a document may take, the connection included: upstream's limit for its check.
const FETCH_MAX: Duration = Duration::from_secs(6);
/// Discovery and OpenAPI's index of one server.
const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A document, and what it says that it is.
pub(super) struct Fetched {
    pub(super) code: StatusCode,
    pub(super) content_type: String,
    pub(super) body: Bytes,
}

/// A connection to one of the server's endpoints; its driver is a task that ends with it.
pub(super) async fn connect(
    registry: &Registry,
    of: &ApiService,
    tasks: &Tasks,
) -> Result<SendRequest<Body>, String> {
    let addresses = resolve::addresses(registry, of).map_err(|why| why.message)?;
    let address = addresses.choose(&mut rand::rng()).cloned().unwrap_or_default();
    let tls = of.tls.clone()?;
    let name = ServerName::try_from(of.host()).map_err(text)?;
    let connecting = async {
        let stream = TcpStream::connect(&address).await;
        let stream = stream.map_err(|why| format!("dial tcp {address}: connect: {why}"))?;
        let _ = stream.set_nodelay(true);
        let stream = tokio_rustls::TlsConnector::from(tls).connect(name, stream).await;
        hyper::client::conn::http1::handshake(TokioIo::new(stream.map_err(text)?))
            .await
            .map_err(text)
    };
    let connected = tokio::time::timeout(CONNECT_MAX, connecting).await;
    let (sender, connection) =
        connected.map_err(|_| format!("dial tcp {address}: i/o timeout"))??;
    let token = tasks.token();
    tasks.spawn("apiserver-extension", async move {
        if let Some(Err(error)) = token.run_until_cancelled(connection.with_upgrades()).await {
            tracing::debug!(%error, "connection to an extension server ended");
        }
    });
    Ok(sender)
}

/// One document.
pub(super) async fn fetch(
    registry: &Registry,
    of: &ApiService,
    tasks: &Tasks,
    path: &str,
    accept: &str,
) -> Result<Fetched, String> {
    let request = Request::get(path)
        .header(HOST, of.host())
        .header(ACCEPT, accept)
        .header("x-remote-user", "system:kube-aggregator")
        .header("x-remote-group", "system:masters")
        .body(Body::empty())
        .map_err(text)?;
    let exchange = async {
        let mut sender = connect(registry, of, tasks).await?;
        let answer = sender.send_request(request).await.map_err(text)?;
        let content_type = answer.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let (code, content_type) = (answer.status(), content_type.to_owned());
        let body = Limited::new(answer.into_body(), DOCUMENT_BYTES_MAX).collect().await;
        Ok(Fetched { code, content_type, body: body.map_err(text)?.to_bytes() })
    };
    let exchanged = tokio::time::timeout(FETCH_MAX, exchange).await;
    exchanged.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
}

fn text(why: impl std::fmt::Display) -> String {
    why.to_string()
}
