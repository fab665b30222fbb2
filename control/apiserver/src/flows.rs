//! `/beeline/v1/flows`: the flows of all nodes, merged line by line.
//!
//! In: a query that only nodes understand. Out: JSON lines in the order they arrive; a node that cannot be asked is
//! one line `{"node": .., "error": ..}`, so an incomplete answer says that it is.

use std::sync::Arc;

use axum::body::Body;
use beeline_api::ApiError;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use serde_json::json;

use crate::answer::{self, Answer};
use crate::app::App;
use crate::nodes::{ByteStream, NodeConnector};
use crate::service::Asked;

/// A line longer than this ends its node's stream.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Answers `GET /beeline/v1/flows?query=..[&node=..]`.
pub(crate) async fn answer(app: &Arc<App>, asked: &Asked) -> Result<Answer, ApiError> {
    let nodes =
        app.options.nodes.as_ref().ok_or_else(|| ApiError::unavailable("no way to nodes here"))?;
    let query = Bytes::from(asked.query.get("query").unwrap_or("{}").to_owned());
    let wanted = match asked.query.get("node") {
        Some(node) => vec![node.to_owned()],
        None => nodes.known(),
    };
    let streams = futures::future::join_all(
        wanted.into_iter().map(|node| one(&**nodes, node, query.clone())),
    )
    .await;
    let merged = stream::select_all(streams).take_until(app.stopping.clone().cancelled_owned());
    let mut response = Response::new(Body::from_stream(merged));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"));
    Ok(answer::uncached(response))
}

/// One node's whole lines.
async fn one(nodes: &dyn NodeConnector, node: String, query: Bytes) -> ByteStream {
    match nodes.flows(&node, query).await {
        Ok(bytes) => lines(node, bytes),
        Err(error) => Box::pin(stream::iter([Ok(trouble(&node, &error))])),
    }
}

fn trouble(node: &str, error: &ApiError) -> Bytes {
    Bytes::from(format!("{}\n", json!({ "node": node, "error": error.message })))
}

/// Cuts a stream of bytes after line ends, so that lines of several nodes can be mixed.
fn lines(node: String, bytes: ByteStream) -> ByteStream {
    struct State {
        node: String,
        bytes: Option<ByteStream>,
        rest: BytesMut,
    }
    let state = State { node, bytes: Some(bytes), rest: BytesMut::new() };
    Box::pin(stream::unfold(state, |mut state| async move {
        loop {
            let next = match state.bytes.as_mut() {
                Some(bytes) => bytes.next().await,
                None => return None,
            };
            match next {
                Some(Ok(more)) => state.rest.extend_from_slice(&more),
                Some(Err(error)) => {
                    state.bytes = None;
                    return Some((Ok(trouble(&state.node, &error)), state));
                }
                None => {
                    state.bytes = None;
                    let last = state.rest.split().freeze();
                    return (!last.is_empty()).then_some((Ok(last), state));
                }
            }
            if let Some(end) = state.rest.iter().rposition(|byte| *byte == b'\n') {
                return Some((Ok(state.rest.split_to(end + 1).freeze()), state));
            }
            if state.rest.len() > LINE_BYTES_MAX {
                state.bytes = None;
                let error = ApiError::internal("a line of the node is too long");
                return Some((Ok(trouble(&state.node, &error)), state));
            }
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_stay_whole() {
        let parts = ["{\"a\":1}\n{\"b\"", ":2}\n{\"c\":3}", "\n"]
            .map(|p| Ok(Bytes::from_static(p.as_bytes())));
        let got: Vec<_> = lines("n".to_owned(), Box::pin(stream::iter(parts))).collect().await;
        let got: Vec<String> =
            got.into_iter().map(|l| String::from_utf8(l.unwrap().to_vec()).unwrap()).collect();
        assert_eq!(got, ["{\"a\":1}\n", "{\"b\":2}\n", "{\"c\":3}\n"]);
    }
}
