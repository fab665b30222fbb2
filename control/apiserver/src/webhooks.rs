//! Calls of webhooks: one HTTPS request, one answer, within a time.
//!
//! In: where, and a body. Out: the answer's body. Refuses: certificates that the webhook's own authority has not signed.

use std::sync::Arc;

use async_trait::async_trait;
use beeline_registry::{Endpoint, Webhooks as Called};
use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;

/// Lists are converted in one call.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The way to webhooks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Webhooks;

#[async_trait]
impl Called for Webhooks {
    async fn call(&self, endpoint: &Endpoint, body: Vec<u8>) -> Result<Vec<u8>, String> {
        let answer = tokio::time::timeout(endpoint.timeout, call(endpoint, body)).await;
        let answer = answer.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
        answer.map_err(|why| format!("Post \"{}\": {why}", url(endpoint)))
    }
}

/// As upstream names it: by the name that the certificate has to have.
fn url(endpoint: &Endpoint) -> String {
    let port = endpoint.address.rsplit_once(':').map_or("443", |(_, port)| port);
    let host = &endpoint.host;
    let bracketed = if host.contains(':') { format!("[{host}]") } else { host.clone() };
    format!("https://{bracketed}:{port}{}", endpoint.path)
}

async fn call(endpoint: &Endpoint, body: Vec<u8>) -> Result<Vec<u8>, String> {
    let mut tls = (*beeline_auth::client_config(&endpoint.ca_pem, None).map_err(text)?).clone();
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(endpoint.host.clone()).map_err(text)?;
    let stream = TcpStream::connect(&endpoint.address).await.map_err(text)?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(tls))
        .connect(name, stream)
        .await
        .map_err(text)?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
    let request = Request::post(&endpoint.path)
        .header(HOST, &endpoint.host)
        .header(CONTENT_TYPE, "application/json")
        .header(ACCEPT, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(text)?;
    let exchange = async {
        let answer = sender.send_request(request).await.map_err(text)?;
        let code = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(text)?.to_bytes();
        if code.is_success() {
            return Ok(body.to_vec());
        }
        // What a webhook says with a failure may help, if it is short.
        let said = String::from_utf8_lossy(&body);
        Err(format!("it answered {code} {}", said.chars().take(200).collect::<String>().trim()))
    };
    // The connection lives as long as its one request.
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => match ended {
            Ok(()) => exchange.await,
            Err(why) => Err(text(why)),
        },
    }
}

fn text(why: impl std::fmt::Display) -> String {
    why.to_string()
}
