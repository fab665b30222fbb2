//! gRPC on the same port: requests go to the caller's router, answers end when the server does.
//!
//! A stream of gRPC lasts for as long as both sides like. When the server stops it is ended with `UNAVAILABLE`, so that the
//! other side knows that it should come back, and so that its connection can end.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use beeline_auth::Identity;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use hyper::body::Frame;
use tower::Service as _;

use crate::answer::{self, Answer};
use crate::app::App;

pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

pub(crate) async fn answer(
    app: &App,
    identity: Option<&Identity>,
    mut request: Request<Body>,
) -> Answer {
    let Some(router) = &app.options.grpc else {
        return answer::text(StatusCode::NOT_FOUND, "no gRPC service here\n");
    };
    if let Some(identity) = identity {
        request.extensions_mut().insert(identity.clone());
    }
    match router.clone().call(request).await {
        Ok(answer) => {
            let stop = Box::pin(app.stopping.clone().cancelled_owned());
            answer.map(|body| Body::new(UntilStop { body, stop: Some(stop) }))
        }
        Err(never) => match never {},
    }
}

/// A body that ends with the server.
struct UntilStop {
    body: Body,
    /// None once it has come.
    stop: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl HttpBody for UntilStop {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(stop) = &mut self.stop else { return Poll::Ready(None) };
        let stopped = stop.as_mut().poll(context).is_ready();
        // What is ready goes out first.
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Pending if stopped => {
                self.stop = None;
                Poll::Ready(Some(Ok(Frame::trailers(unavailable()))))
            }
            other => other,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

fn unavailable() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("14"));
    trailers.insert("grpc-message", HeaderValue::from_static("the server is shutting down"));
    trailers
}
