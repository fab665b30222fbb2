//! A small client of the API server, for what needs no generated types: JSON in, JSON out.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, bail};
use base64::Engine as _;
use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;

/// The largest answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// One API server as one user.
#[derive(Clone)]
pub struct ApiClient {
    address: SocketAddr,
    name: rustls::pki_types::ServerName<'static>,
    tls: tokio_rustls::TlsConnector,
    netns: Option<PathBuf>,
}

impl ApiClient {
    /// As a kubeconfig says. With `netns`, connections are made inside that network namespace.
    pub fn from_kubeconfig(path: &Path, netns: Option<PathBuf>) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("read the kubeconfig {}", path.display()))?;
        let config: Kubeconfig = serde_saphyr::from_str(&text)
            .with_context(|| format!("parse the kubeconfig {}", path.display()))?;
        config.client(netns).with_context(|| format!("use the kubeconfig {}", path.display()))
    }

    /// Send a request; an answer that is not a success becomes an error with the server's message.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let what = format!("{method} {path}");
        let bytes = body.map_or(Bytes::new(), |body| body.to_string().into());
        let request = self.request(method, path).header(header::CONTENT_TYPE, content_type);
        let response =
            self.exchange(request.body(Full::new(bytes))?).await.context(what.clone())?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX);
        let body = match body.collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) => bail!("{what}: read the answer: {error}"),
        };
        let value: Value = serde_json::from_slice(&body)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
        if !status.is_success() {
            let message = value.get("message").and_then(Value::as_str).map(str::to_owned);
            bail!("{what}: {}", message.unwrap_or_else(|| format!("{status}: {value}")));
        }
        Ok(value)
    }

    /// Read something.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.send(Method::GET, path, JSON, None).await
    }

    /// Create something.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.send(Method::POST, path, JSON, Some(body)).await
    }

    /// Read a text, such as a log.
    pub async fn text(&self, path: &str) -> anyhow::Result<String> {
        let response =
            self.exchange(self.request(Method::GET, path).body(Full::default())?).await?;
        let status = response.status();
        let body = response.into_body().collect().await.with_context(|| format!("GET {path}"))?;
        let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        if !status.is_success() {
            bail!("GET {path}: {status}: {text}");
        }
        Ok(text)
    }

    /// Start to read something that keeps coming.
    pub async fn stream(&self, path: &str) -> anyhow::Result<Incoming> {
        let response =
            self.exchange(self.request(Method::GET, path).body(Full::default())?).await?;
        let status = response.status();
        if !status.is_success() {
            let body = response.into_body().collect().await?.to_bytes();
            bail!("GET {path}: {status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(response.into_body())
    }

    fn request(&self, method: Method, path: &str) -> http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .header(header::USER_AGENT, concat!("beeline/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, JSON)
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> anyhow::Result<Response<Incoming>> {
        let stream = self.connect().await.with_context(|| {
            format!("connect to the API server at {}: is it running?", self.address)
        })?;
        let stream = self
            .tls
            .connect(self.name.clone(), stream)
            .await
            .with_context(|| format!("TLS with the API server at {}", self.address))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // The connection ends by itself when its one exchange is over or its reader is dropped.
        #[expect(
            clippy::disallowed_methods,
            reason = "lives as long as the answer that it carries"
        )]
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender.send_request(request).await?)
    }

    async fn connect(&self) -> anyhow::Result<TcpStream> {
        let Some(netns) = self.netns.clone() else {
            return Ok(TcpStream::connect(self.address).await?);
        };
        let address = self.address;
        let connect = move || {
            beeline_sys::netns::inside(&netns, || {
                std::net::TcpStream::connect(address).map_err(|error| {
                    beeline_sys::SysError::new(format!("connect to {address}"), error)
                })
            })
        };
        let stream = tokio::task::spawn_blocking(connect).await??;
        stream.set_nonblocking(true)?;
        Ok(TcpStream::from_std(stream)?)
    }
}

/// The usual content type.
pub const JSON: &str = "application/json";

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Kubeconfig {
    current_context: Option<String>,
    #[serde(default)]
    contexts: Vec<Named<Context>>,
    #[serde(default)]
    clusters: Vec<Named<Cluster>>,
    #[serde(default)]
    users: Vec<Named<User>>,
}

#[derive(Deserialize)]
struct Named<T> {
    name: String,
    #[serde(alias = "context", alias = "cluster", alias = "user")]
    value: T,
}

#[derive(Deserialize)]
struct Context {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct User {
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Kubeconfig {
    fn client(&self, netns: Option<PathBuf>) -> anyhow::Result<ApiClient> {
        let context = self.current_context.as_deref().context("it has no current-context")?;
        let context = find(&self.contexts, context, "context")?;
        let cluster = find(&self.clusters, &context.cluster, "cluster")?;
        let user = find(&self.users, &context.user, "user")?;
        let ca =
            decode(cluster.certificate_authority_data.as_deref(), "certificate-authority-data")?;
        let certified = beeline_auth::Certified {
            certificate_pem: decode(
                user.client_certificate_data.as_deref(),
                "client-certificate-data",
            )?,
            key_pem: decode(user.client_key_data.as_deref(), "client-key-data")?,
        };
        let config = beeline_auth::client_config(&ca, Some(&certified))?;
        let mut config = Arc::unwrap_or_clone(config);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let (host, address) = host(&cluster.server)?;
        let name = host.try_into().context("the server's name is no host name")?;
        Ok(ApiClient { address, name, tls: Arc::new(config).into(), netns })
    }
}

fn find<'a, T>(list: &'a [Named<T>], name: &str, what: &str) -> anyhow::Result<&'a T> {
    let found = list.iter().find(|item| item.name == name).map(|item| &item.value);
    found.with_context(|| format!("it has no {what} {name:?}"))
}

fn decode(data: Option<&str>, what: &str) -> anyhow::Result<String> {
    let data = data
        .with_context(|| format!("it has no {what}: only embedded certificates are understood"))?;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(data)
        .with_context(|| format!("its {what} is not base64"))?;
    String::from_utf8(bytes).with_context(|| format!("its {what} is not PEM"))
}

/// The host's name and one of its addresses.
pub fn host(url: &str) -> anyhow::Result<(String, SocketAddr)> {
    use std::net::ToSocketAddrs as _;
    let uri: http::Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
    let host = uri.host().with_context(|| format!("{url:?} names no host"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = uri.port_u16().unwrap_or(6443);
    let address = match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port),
        Err(_) => (host.as_str(), port)
            .to_socket_addrs()
            .with_context(|| format!("look up the API server's address {host}"))?
            .next()
            .with_context(|| format!("look up the API server's address {host}: it has none"))?,
    };
    Ok((host, address))
}
