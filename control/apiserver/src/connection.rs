//! Connections: accepting, TLS, and serving HTTP/1.1 and HTTP/2 on each until it ends or the server drains.
//!
//! Every connection is a task of the server's own set. When the server stops, `/readyz` fails first. After a delay, if
//! one is asked for, listening ends, with those who have connected already let in; streams end, idle connections are
//! closed, HTTP/2 is told GOAWAY and HTTP/1.1 `Connection: close`, and requests under way are finished within a grace.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use beeline_auth::Identity;
use beeline_kit::Tasks;
use futures::FutureExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;

use crate::aggregate;
use crate::app::{App, Options};
use crate::held::Connections;
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
/// How long a connection that asks for nothing is waited for when the server stops.
const LATE: Duration = Duration::from_secs(1);
/// How long what is no connection may take then: the audit log writes what it has.
const FLUSH: Duration = Duration::from_secs(2);
/// How long to leave the listener alone after a failed accept (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The API server. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    app: Arc<App>,
    tasks: Tasks,
    permits: Arc<Semaphore>,
    connections: Arc<Connections>,
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
        let permits = Arc::new(Semaphore::new(CONNECTION_COUNT_MAX));
        Self { app, tasks, permits, connections: Arc::default() }
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
        if self.app.stopping.is_cancelled() {
            return;
        }
        let held = self.connections.hold();
        self.tasks.spawn("apiserver-attached", async move {
            let _held = held;
            server.serve(io, Peer { identity, address: None }).await;
        });
    }

    /// Is not ready any more; after the delay of the options stops listening and ends all connections: streams at once,
    /// requests within `grace`. The registry must serve until this returns.
    pub async fn stop(&self, grace: Duration) {
        self.app.leaving.cancel();
        let delay = self.app.options.shutdown_delay;
        if !delay.is_zero() {
            tracing::info!(?delay, "not ready; requests are still taken");
            tokio::time::sleep(delay).await;
        }
        self.app.stopping.cancel();
        if tokio::time::timeout(grace, self.connections.ended()).await.is_err() {
            tracing::warn!(connections = self.connections.count(), "did not end in time");
        }
        self.tasks.stop(FLUSH).await;
    }

    async fn accept(self, listener: TcpListener, tls: TlsAcceptor) {
        let stopping = &self.app.stopping;
        loop {
            let permit = stopping.run_until_cancelled(Arc::clone(&self.permits).acquire_owned());
            let Some(Ok(permit)) = permit.await else { break };
            let Some(accepted) = stopping.run_until_cancelled(listener.accept()).await else {
                break;
            };
            match accepted {
                Ok((stream, from)) => self.connected(stream, from.ip(), tls.clone(), permit),
                Err(error) => {
                    tracing::warn!(%error, "accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Who is in the kernel's backlog has connected, and would be reset when the listener goes.
        while let Some(Ok((stream, from))) = listener.accept().now_or_never() {
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { return };
            self.connected(stream, from.ip(), tls.clone(), permit);
        }
    }

    /// A while after the server began to stop, or never.
    async fn late(&self) {
        self.app.stopping.cancelled().await;
        tokio::time::sleep(LATE).await;
    }

    fn connected(
        &self,
        stream: TcpStream,
        from: IpAddr,
        tls: TlsAcceptor,
        permit: OwnedSemaphorePermit,
    ) {
        let server = self.clone();
        let held = self.connections.hold();
        self.tasks.spawn("apiserver-connection", async move {
            let (_permit, _held) = (permit, held);
            // Small writes are whole watch events: waiting to fill a segment would only delay them.
            let _ = stream.set_nodelay(true);
            let shaken = tokio::select! {
                () = server.late() => return,
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
        let (asked, has_asked) = watch::channel(false);
        let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
            asked.send_if_modified(|asked| !std::mem::replace(asked, true));
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
            () = self.leave(has_asked) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "connection ended");
        }
    }
}

impl Server {
    /// When a connection should end. One that was made just now has its first request coming.
    async fn leave(&self, mut has_asked: watch::Receiver<bool>) {
        self.app.stopping.cancelled().await;
        let first = has_asked.wait_for(|asked| *asked);
        let _ = tokio::time::timeout(LATE, first).await;
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
