//! One connection to the server, as a client library keeps it.

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use beeline_kit::Tasks;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::server::Serving;

/// A connection that takes one request after the other.
pub(crate) struct Client(http1::SendRequest<Full<Bytes>>);

/// A connection that takes many at once. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Shared(http2::SendRequest<Full<Bytes>>);

async fn secured(
    serving: &Serving,
    protocol: &str,
) -> anyhow::Result<TokioIo<TlsStream<TcpStream>>> {
    let mut tls = (*serving.tls).clone();
    tls.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(serving.address).await?;
    stream.set_nodelay(true)?;
    let connector = tokio_rustls::TlsConnector::from(Arc::new(tls));
    Ok(TokioIo::new(connector.connect("localhost".try_into()?, stream).await?))
}

fn request(method: &str, path: &str, body: Bytes) -> anyhow::Result<Request<Full<Bytes>>> {
    let request = Request::builder().method(method).uri(format!("https://localhost{path}"));
    let request = request.header("host", "localhost").header("content-type", "application/json");
    Ok(request.body(Full::new(body))?)
}

impl Client {
    pub(crate) async fn connect(serving: &Serving, tasks: &Tasks) -> anyhow::Result<Self> {
        let (sender, connection) = http1::handshake(secured(serving, "http/1.1").await?).await?;
        tasks.spawn("bench-connection", async move { drop(connection.await) });
        Ok(Self(sender))
    }

    /// Sends, and reads all of the answer; gives its length. Anything but success is an error.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<usize> {
        self.0.ready().await?;
        let answer = self.0.send_request(request(method, path, body)?).await?;
        let code = answer.status();
        let mut body = answer.into_body();
        let mut length = 0;
        while let Some(frame) = body.frame().await {
            length += frame?.data_ref().map_or(0, Bytes::len);
        }
        ensure!(code.is_success(), "{method} {path}: {code}");
        Ok(length)
    }
}

impl Shared {
    pub(crate) async fn connect(serving: &Serving, tasks: &Tasks) -> anyhow::Result<Self> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.adaptive_window(true);
        let (sender, connection) = builder.handshake(secured(serving, "h2").await?).await?;
        tasks.spawn("bench-connection", async move { drop(connection.await) });
        Ok(Self(sender))
    }

    /// Begins a stream.
    pub(crate) async fn stream(&self, path: &str) -> anyhow::Result<Incoming> {
        let mut sender = self.0.clone();
        sender.ready().await.context("wait for the connection")?;
        let answer = sender.send_request(request("GET", path, Bytes::new())?).await?;
        ensure!(answer.status().is_success(), "GET {path}: {}", answer.status());
        Ok(answer.into_body())
    }
}
