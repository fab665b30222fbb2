//! Watches as a body of JSON lines: as many events as are ready go out in one write.

use std::sync::Arc;

use axum::body::Body;
use beeline_api::ApiError;
use beeline_registry::{ObjectWatch, Target, WatchEvent};
use bytes::{Bytes, BytesMut};
use futures::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::json;

use crate::answer::{self, Answer};
use crate::app::App;
use crate::labels;
use crate::media;
use crate::metrics::{Open, WatchCounts};
use crate::render::Renderer;
use crate::service::Asked;

/// One write carries at most about this much.
const WRITE_BYTES_MAX: usize = 64 * 1024;
/// The code of a revision that is no longer remembered.
const EXPIRED: u16 = 410;

struct State {
    watch: Option<ObjectWatch>,
    renderer: Renderer,
    first: bool,
    app: Arc<App>,
    counts: Arc<WatchCounts>,
    _open: Open,
}

/// Answers a watch of a collection, or of one object by its name.
pub(crate) async fn answer(
    app: &Arc<App>,
    asked: &Asked,
    target: &Target,
) -> Result<Answer, ApiError> {
    let form = media::form(asked.accept())?;
    let renderer = Renderer::new(target.kind, form, &asked.query)?;
    let mut options = asked.query.watch(target.kind)?;
    let labels = labels::of_watch(target);
    let mut target = target.clone();
    if let Some(name) = target.name.take() {
        options.fields = beeline_api::selectors::FieldSelector::name_is(&name);
    }
    let watch = match app.registry().watch(&asked.caller, &target, &options).await {
        Err(error) if error.code == EXPIRED => return Ok(expired(&error)),
        watch => watch?,
    };
    let state = State {
        watch: Some(watch),
        renderer,
        first: true,
        app: Arc::clone(app),
        counts: app.metrics.watches.of(target.kind),
        _open: app.metrics.requests.open(labels),
    };
    let lines = stream::unfold(state, |mut state| async move {
        let bytes = state.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), state))
    });
    Ok(body_of_lines(Body::from_stream(lines)))
}

/// A watch that begins too far back ends with its first event, as upstream's does: clients built on kube-rs list again
/// only when told within a watch, and ask the same for ever when the watch itself is refused.
fn expired(error: &ApiError) -> Answer {
    let line = json!({ "type": "ERROR", "object": error.to_value() });
    body_of_lines(Body::from(format!("{line}\n")))
}

fn body_of_lines(body: Body) -> Answer {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer::uncached(response)
}

impl State {
    /// The next write; None at the end of the watch or of the server.
    async fn next(&mut self) -> Option<Bytes> {
        let watch = self.watch.as_mut()?;
        let first = tokio::select! {
            biased;
            () = self.app.stopping.cancelled() => None,
            event = watch.next() => event,
        };
        let mut out = BytesMut::new();
        let mut next = first;
        loop {
            match next {
                Some(event) => {
                    let before = out.len();
                    self.renderer.event(&event, &mut self.first, &mut out);
                    self.counts.sent(out.len() - before);
                }
                None => {
                    self.watch = None;
                    break;
                }
            }
            if out.len() >= WRITE_BYTES_MAX {
                break;
            }
            match self.watch.as_mut().and_then(ready) {
                Some(event) => next = event,
                None => break,
            }
        }
        (!out.is_empty()).then(|| out.freeze())
    }
}

/// What the watch has without waiting; None if nothing.
fn ready(watch: &mut ObjectWatch) -> Option<Option<WatchEvent>> {
    use futures::FutureExt as _;
    watch.next().now_or_never()
}
