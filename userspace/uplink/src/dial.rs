//! Ways to the server: TLS with the node's certificate, or a connection inside one process.
//!
//! In: an address and a TLS configuration, or one end of a duplex. Out: channels. Also how a node joins.
//! Refuses: choosing whom to trust; the TLS configuration says it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beeline_proto::feed::JoinRequest;
use beeline_proto::feed::feed_client::FeedClient;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint, Uri};

const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A dead peer is noticed within twice this.
const KEEPALIVE: Duration = Duration::from_secs(5);
/// A certificate is a few kilobytes.
const AUTHORITY_BYTES_MAX: u64 = 64 * 1024;

/// Why the server was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Network or TLS.
    #[error("connect to {server}: {why}")]
    Connect {
        /// Whom.
        server: String,
        /// The cause in full.
        why: String,
    },
    /// The address is none.
    #[error("server address {0:?} is not HOST:PORT")]
    Address(String),
    /// The answer to a plain request is not what a server of ours gives.
    #[error("fetch the authority's certificate from {server}: {why}")]
    Authority {
        /// Whom.
        server: String,
        /// What was wrong.
        why: String,
    },
    /// The server refused the token or the request.
    #[error("join as {node}: {why}")]
    Join {
        /// Under which name.
        node: String,
        /// The server's words.
        why: String,
    },
    /// Whoever dials says why not.
    #[error("{0}")]
    Other(String),
}

/// Makes a channel to the server, again after every break.
#[async_trait::async_trait]
pub trait Dialer: Send + Sync {
    /// A fresh channel.
    async fn dial(&self) -> Result<Channel, DialError>;
}

/// What joining gives.
#[derive(Clone, Debug)]
pub struct Joined {
    /// The node's certificate.
    pub certificate_pem: String,
    /// The authority's.
    pub ca_pem: String,
}

/// A channel over TLS to `HOST:PORT`.
pub async fn tls_channel(server: &str, tls: Arc<ClientConfig>) -> Result<Channel, DialError> {
    let mut tls = ClientConfig::clone(&tls);
    tls.alpn_protocols = vec![b"h2".to_vec()];
    let tls = Arc::new(tls);
    let host = host(server)?;
    let address = server.to_owned();
    let connect = tower::service_fn(move |_: Uri| {
        let (tls, host, address) = (Arc::clone(&tls), host.clone(), address.clone());
        async move { tls_stream(&address, host, tls).await.map(TokioIo::new) }
    });
    endpoint(server)
        .connect_with_connector(connect)
        .await
        .map_err(|error| connect_error(server, &error))
}

/// A channel over one end of a connection inside this process; it lasts as long as that does.
pub async fn channel_over<I>(io: I) -> Result<Channel, DialError>
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let io = Mutex::new(Some(io));
    let connect = tower::service_fn(move |_: Uri| {
        let io = io.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            io.map(TokioIo::new).ok_or_else(|| std::io::Error::other("this connection has ended"))
        }
    });
    let made = endpoint("in-process").connect_with_connector(connect).await;
    made.map_err(|error| connect_error("in-process", &error))
}

fn endpoint(server: &str) -> Endpoint {
    // The name is for the `:authority` header only; the connector decides where to.
    let uri = format!("http://{server}")
        .parse::<Uri>()
        .unwrap_or_else(|_| Uri::from_static("http://server"));
    Endpoint::from(uri)
        .connect_timeout(CONNECT_WAIT)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
}

fn connect_error(server: &str, error: &dyn std::error::Error) -> DialError {
    let mut why = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        why = format!("{why}: {error}");
        cause = error.source();
    }
    DialError::Connect { server: server.to_owned(), why }
}

fn host(server: &str) -> Result<ServerName<'static>, DialError> {
    let (host, _) = server.rsplit_once(':').ok_or_else(|| DialError::Address(server.to_owned()))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host).map_err(|_| DialError::Address(server.to_owned()))
}

async fn tls_stream(
    server: &str,
    host: ServerName<'static>,
    tls: Arc<ClientConfig>,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let tcp = TcpStream::connect(server).await?;
    // Acknowledgements are small and must not wait for more.
    tcp.set_nodelay(true)?;
    TlsConnector::from(tls).connect(host, tcp).await
}

/// The certificate that the server at `HOST:PORT` says is its authority's: `GET /cacerts`. `tls` verifies nothing,
/// so whoever calls compares the answer with what the join token promises.
pub async fn fetch_authority(server: &str, tls: Arc<ClientConfig>) -> Result<Vec<u8>, DialError> {
    let mut tls = ClientConfig::clone(&tls);
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    let failed = |why: String| DialError::Authority { server: server.to_owned(), why };
    let host = host(server)?;
    let exchange = async {
        let mut stream = tls_stream(server, host, Arc::new(tls)).await?;
        let request = format!("GET /cacerts HTTP/1.0\r\nHost: {server}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut answer = Vec::new();
        match stream.take(AUTHORITY_BYTES_MAX).read_to_end(&mut answer).await {
            Ok(_) => Ok(answer),
            // Not every server says goodbye in TLS.
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(answer),
            Err(error) => Err(error),
        }
    };
    let answer: Result<Vec<u8>, std::io::Error> = tokio::time::timeout(2 * CONNECT_WAIT, exchange)
        .await
        .map_err(|_| failed("no answer within 10 s".to_owned()))?;
    let answer = answer.map_err(|error| failed(error.to_string()))?;
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n");
    let split = split.ok_or_else(|| failed("the answer is not HTTP".to_owned()))?;
    let head = String::from_utf8_lossy(&answer[..split]);
    let status = head.lines().next().unwrap_or_default();
    if !status.contains(" 200") {
        return Err(failed(format!("the server answers {status:?}")));
    }
    Ok(answer[split + 4..].to_vec())
}

/// Trade a join token and a certificate request for a certificate.
pub async fn join(
    channel: Channel,
    token: &str,
    node: &str,
    csr_der: Vec<u8>,
) -> Result<Joined, DialError> {
    let failed = |why: String| DialError::Join { node: node.to_owned(), why };
    let request = JoinRequest { token: token.to_owned(), node_name: node.to_owned(), csr_der };
    let answer = FeedClient::new(channel).join(request).await;
    let answer = answer.map_err(|status| failed(status.message().to_owned()))?.into_inner();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|error| failed(error.to_string()));
    Ok(Joined { certificate_pem: text(answer.certificate_pem)?, ca_pem: text(answer.ca_pem)? })
}
