//! A small HTTP server for answers that are at hand: no bodies are read, nothing is streamed.
//!
//! In: a listener and who answers. Out: answers, until the tasks stop. At most 64 connections at once and five seconds
//! for a request to arrive, since anybody may ask.

use std::{convert::Infallible, sync::Arc, time::Duration};

use beeline_kit::{CancellationToken, Tasks};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::Serialize;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// Connections that are served at once; more wait.
const CONNECTIONS_MAX: usize = 64;
/// For a request to arrive, and between two of one connection.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// Between two attempts after the system refused a connection: descriptors may have run out.
const PAUSE: Duration = Duration::from_millis(100);

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// GET, mostly.
    pub method: Method,
    /// Without the query.
    pub path: String,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its code.
    pub status: StatusCode,
    /// Its headers, beside those that every answer has.
    pub headers: Vec<(&'static str, String)>,
    /// Its text.
    pub body: String,
}

impl Answer {
    /// Plain text.
    pub fn text(status: StatusCode, body: impl Into<String>) -> Self {
        let headers = vec![("content-type", "text/plain; charset=utf-8".to_owned())];
        Self { status, headers, body: body.into() }
    }

    /// JSON that nobody is to take for anything else.
    pub fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("x-content-type-options", "nosniff".to_owned()),
        ];
        let body = serde_json::to_string(body)
            .unwrap_or_else(|error| format!("{{\"error\":{:?}}}", error.to_string()));
        Self { status, headers, body }
    }

    /// For a path that nothing is at.
    pub fn not_found() -> Self {
        Self::text(StatusCode::NOT_FOUND, "404 page not found\n")
    }

    /// With one more header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// Serve in tasks of its own until `tasks` stop; the port is free when they have.
pub fn serve<F, A>(name: &'static str, listener: TcpListener, answer: F, tasks: &Tasks)
where
    F: Fn(Ask) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
    let (owner, token) = (tasks.clone(), tasks.token());
    tasks.spawn(name, async move {
        let _ = token.run_until_cancelled(accept(name, listener, answer, owner)).await;
    });
}

async fn accept<F, A>(name: &'static str, listener: TcpListener, answer: F, tasks: Tasks)
where
    F: Fn(Ask) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (answer, token) = (answer.clone(), tasks.token());
                tasks.spawn(name, async move {
                    connection(stream, answer, token).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(server = name, %error, "a connection was not accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection<F, A>(stream: TcpStream, answer: F, token: CancellationToken)
where
    F: Fn(Ask) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let path = request.uri().path().to_owned();
            let said = answer(Ask { method: request.method().clone(), path }).await;
            Ok::<_, Infallible>(response(said))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .serve_connection(TokioIo::new(stream), service);
    // A peer that goes away or talks nonsense is not our concern.
    let _ = token.run_until_cancelled(serving).await;
}

fn response(said: Answer) -> Response<Full<Bytes>> {
    let mut builder = Response::builder().status(said.status);
    for (name, value) in said.headers {
        builder = builder.header(name, value);
    }
    // Names are constants and values numbers or media types, so that this cannot be; a peer would see an empty answer.
    builder.body(Full::from(said.body)).unwrap_or_default()
}
