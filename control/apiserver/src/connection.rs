//! Connections: accepting, TLS, and serving HTTP/1.1 and HTTP/2 on each until it ends or the server drains.
//!
//! Every connection is a task of the server's own set. When that stops, listening ends at once, streams are told to
//! end, and requests under way are finished within the grace that the owner of the set allows.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use beeline_auth::Identity;
use beeline_kit::Tasks;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;

use crate::aggregate;
use crate::app::{App, Options};
use crate::service::{self, Peer};

/// Connections at once; one more waits in the kernel's backlog. A node takes two, a kubectl one.
const CONNECTION_COUNT_MAX: usize = 4096;
/// A client that has not finished its TLS handshake by then is dropped.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Streams of one HTTP/2 connection: controllers hold one watch per kind and more on a single connection.
const STREAM_COUNT_MAX: u32 = 1000;
/// How long a client may take to send its request head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Dead peers are noticed by unanswered pings.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long to leave the listener alone after a failed accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The API server. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    app: Arc<App>,
    tasks: Tasks,
    permits: Arc<Semaphore>,
}

impl Server {
    /// Builds the documents; connections come by `listen` and `attach`.
    #[must_use]
    pub fn new(options: Options, tasks: &Tasks) -> Self {
        let tasks = tasks.child();
        let front_proxy = options.front_proxy.clone();
        let app = Arc::new(App::new(options, &tasks));
        if let Some(client) = front_proxy {
            let following = aggregate::follow(Arc::clone(&app), client, tasks.clone());
            tasks.spawn("apiserver-aggregate", following);
        }
        let gate = Arc::clone(&app);
        tasks.spawn("apiserver-fairness", async move {
            gate.fairness.run(gate.registry(), &gate.stopping).await;
        });
        if let Some(audit) = app.options.audit.clone() {
            let until = tasks.token();
            tasks.spawn("apiserver-audit", async move { audit.run(&until).await });
        }
        Self { app, tasks, permits: Arc::new(Semaphore::new(CONNECTION_COUNT_MAX)) }
    }

    /// Serves a bound listener over TLS until the task set stops. May be called for several listeners.
    pub fn listen(&self, listener: TcpListener, tls: Arc<rustls::ServerConfig>) {
        let server = self.clone();
        self.tasks.spawn("apiserver-listen", async move {
            server.accept(listener, TlsAcceptor::from(tls)).await;
        });
    }

    /// Serves one connection that needs no TLS, for a caller in this process.
    pub fn attach<Io>(&self, io: Io, identity: Option<Identity>)
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let server = self.clone();
        self.tasks.spawn("apiserver-attached", async move {
            server.serve(io, Peer { identity, address: None }).await;
        });
    }

    /// Stops listening and ends all connections: streams at once, requests within `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.tasks.stop(grace).await;
    }

    async fn accept(self, listener: TcpListener, tls: TlsAcceptor) {
        let token = self.tasks.token();
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            let accepted = tokio::select! {
                () = token.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, from)) => self.connected(stream, from.ip(), tls.clone(), permit),
                Err(error) => {
                    tracing::warn!(%error, "accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn connected(
        &self,
        stream: TcpStream,
        from: IpAddr,
        tls: TlsAcceptor,
        permit: OwnedSemaphorePermit,
    ) {
        let server = self.clone();
        self.tasks.spawn("apiserver-connection", async move {
            let _permit = permit;
            // Small writes are whole watch events: waiting to fill a segment would only delay them.
            let _ = stream.set_nodelay(true);
            let shaken = tokio::select! {
                () = server.app.stopping.cancelled() => return,
                shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)) => shaken,
            };
            let stream = match shaken {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%error, "TLS handshake"),
                Err(_) => return tracing::debug!("TLS handshake took too long"),
            };
            match identity(&stream) {
                Ok(identity) => {
                    server.serve(stream, Peer { identity, address: Some(from) }).await;
                }
                Err(error) => tracing::warn!(%error, "client certificate"),
            }
        });
    }

    async fn serve<Io>(&self, io: Io, peer: Peer)
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let app = Arc::clone(&self.app);
        let peer = Arc::new(peer);
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            let (app, peer) = (Arc::clone(&app), Arc::clone(&peer));
            async move {
                Ok::<_, Infallible>(service::handle(&app, &peer, request.map(Body::new)).await)
            }
        });
        let builder = builder(&self.tasks);
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(io), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.app.stopping.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "connection ended");
        }
    }
}

fn builder(tasks: &Tasks) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(Streams(tasks.clone()));
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAM_COUNT_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    builder
}

/// Runs the streams of HTTP/2 connections as tasks of the server.
#[derive(Clone)]
struct Streams(Tasks);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, stream: F) {
        self.0.spawn("apiserver-stream", async move { drop(stream.await) });
    }
}

/// Who the verified client certificate speaks for, if there was one.
fn identity(
    stream: &tokio_rustls::server::TlsStream<TcpStream>,
) -> Result<Option<Identity>, beeline_auth::AuthError> {
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    certificate.map(|der| Identity::from_certificate(der)).transpose()
}
