//! Streams that the server asks this node to open.
//!
//! In: a request with an id. Out: a stream back with that id, filled by the handler until either side ends it.

use std::sync::Arc;

use beeline_proto::feed::feed_client::FeedClient;
use beeline_proto::feed::{Logs, OpenStream, StreamUp, open_stream};
use bytes::Bytes;
use futures::StreamExt as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Chunks on their way; the handler waits when it is full.
const QUEUE_MAX: usize = 16;
/// Larger chunks are cut.
const CHUNK_BYTES_MAX: usize = 256 * 1024;

/// Why the node cannot give what is asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StreamFailure {
    /// The HTTP status that goes with it.
    pub code: u16,
    /// For the user.
    pub message: String,
}

/// Bytes for the one who asked.
pub type ByteStream = futures::stream::BoxStream<'static, Result<Bytes, StreamFailure>>;

/// Who answers.
#[async_trait::async_trait]
pub trait StreamHandler: Send + Sync {
    /// The log of a container.
    async fn logs(&self, request: Logs) -> Result<ByteStream, StreamFailure>;
    /// The flows of this node that a query selects, as JSON lines.
    async fn flows(&self, query_json: Vec<u8>) -> Result<ByteStream, StreamFailure>;
}

/// Answer one request. Dropping it ends the stream.
pub(crate) async fn answer(
    mut client: FeedClient<Channel>,
    handler: Arc<dyn StreamHandler>,
    asked: OpenStream,
) {
    let id = asked.id;
    let opened = match asked.kind {
        Some(open_stream::Kind::Logs(logs)) => handler.logs(logs).await,
        Some(open_stream::Kind::Flows(flows)) => handler.flows(flows.query_json).await,
        None => Err(StreamFailure {
            code: 501,
            message: "this node does not know such a stream".to_owned(),
        }),
    };
    let (sender, queue) = mpsc::channel(QUEUE_MAX);
    let first = match &opened {
        Ok(_) => StreamUp { id: id.clone(), ..StreamUp::default() },
        Err(failure) => StreamUp { id: id.clone(), ..failed(failure) },
    };
    // There is room: the queue is new.
    let _ = sender.try_send(first);
    let response = client.stream(ReceiverStream::new(queue));
    let pump = async move {
        if let Ok(bytes) = opened {
            pump(bytes, sender).await;
        }
    };
    let ended = async {
        match response.await {
            // Only its end says something: the reader is gone.
            Ok(response) => {
                let mut messages = response.into_inner();
                while let Ok(Some(_)) = messages.message().await {}
            }
            Err(status) => tracing::debug!(id, %status, "stream refused"),
        }
    };
    tokio::pin!(pump, ended);
    tokio::select! {
        () = &mut ended => {}
        // All is sent; the response ends when the server has read it.
        () = &mut pump => ended.await,
    }
}

async fn pump(mut bytes: ByteStream, sender: mpsc::Sender<StreamUp>) {
    while let Some(chunk) = bytes.next().await {
        match chunk {
            Ok(mut data) => {
                while !data.is_empty() {
                    let some = data.split_to(data.len().min(CHUNK_BYTES_MAX));
                    let message = StreamUp { data: some.to_vec(), ..StreamUp::default() };
                    if sender.send(message).await.is_err() {
                        return;
                    }
                }
            }
            Err(failure) => {
                let _ = sender.send(failed(&failure)).await;
                return;
            }
        }
    }
}

fn failed(failure: &StreamFailure) -> StreamUp {
    StreamUp {
        error: if failure.message.is_empty() {
            "failed".to_owned()
        } else {
            failure.message.clone()
        },
        error_code: u32::from(failure.code),
        ..StreamUp::default()
    }
}
