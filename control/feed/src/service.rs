//! The gRPC service: joining, the line of a node, and the streams that it opens.
//!
//! In: requests with the identity that TLS proved. Out: responses. A node speaks only for itself.

use std::sync::Arc;
use std::time::Duration;

use beeline_auth::Identity;
use beeline_kit::CancellationToken;
use beeline_proto::feed::feed_server::Feed;
use beeline_proto::feed::{
    Down, Hello, JoinRequest, JoinResponse, StreamDown, StreamUp, TokenRequest, TokenResponse, Up,
    Welcome, down, up,
};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::Inner;
use crate::connections::{Outgoing, QUEUE_MAX};
use crate::convert;
use crate::streams::{Answer, StreamError};
use crate::tokens;
use crate::upward::{Said, Upward, UpwardError};

/// How long a node may take to introduce itself, or to open its stream.
const FIRST_WORD_WAIT: Duration = Duration::from_secs(10);
/// How long the allocation of a pod network may take.
const NETWORK_WAIT: Duration = Duration::from_secs(15);

/// Serves [`Feed`].
#[derive(Clone)]
pub struct FeedService {
    inner: Arc<Inner>,
}

type Downward<T> = BoxStream<'static, Result<T, Status>>;

impl FeedService {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }
}

impl std::fmt::Debug for FeedService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FeedService")
    }
}

/// The node that the client's certificate names.
fn node_of<T>(request: &Request<T>) -> Result<String, Status> {
    let identity = request.extensions().get::<Identity>();
    let identity = identity
        .ok_or_else(|| Status::unauthenticated("a node's client certificate is required"))?;
    let node = identity.node_name().map(str::to_owned);
    node.ok_or_else(|| {
        Status::permission_denied(format!("user \"{}\" is not a node", identity.user))
    })
}

#[tonic::async_trait]
impl Feed for FeedService {
    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinResponse>, Status> {
        let request = request.into_inner();
        let config = &self.inner.config;
        if let Err(error) = config.token.verify(&request.token) {
            tracing::warn!(node = request.node_name, %error, "join refused");
            return Err(Status::unauthenticated(error.to_string()));
        }
        // A machine that is a copy of another has its name, too.
        if self.inner.connections.is_connected(&request.node_name) {
            tracing::warn!(node = request.node_name, "join refused: the name is taken");
            return Err(Status::already_exists(format!(
                "a node named \"{}\" is connected already: give this one another name with --node-name, or stop \
                 the other",
                request.node_name
            )));
        }
        let certificate = config
            .authority
            .sign_node(&request.csr_der, &request.node_name, config.clock.now())
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        tracing::info!(node = request.node_name, "joined");
        Ok(Response::new(JoinResponse {
            certificate_pem: certificate.into_bytes(),
            ca_pem: config.authority.certificate_pem().as_bytes().to_vec(),
        }))
    }

    type ConnectStream = Downward<Down>;

    async fn connect(
        &self,
        request: Request<Streaming<Up>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let node = node_of(&request)?;
        let mut ups = request.into_inner();
        let first = tokio::time::timeout(FIRST_WORD_WAIT, ups.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no Hello within 10 s"))??;
        let Some(Up { kind: Some(up::Kind::Hello(hello)) }) = first else {
            return Err(Status::invalid_argument("the first message must be Hello"));
        };
        if hello.node_name != node {
            let text = format!("node \"{node}\" cannot speak for node \"{}\"", hello.node_name);
            return Err(Status::permission_denied(text));
        }
        let welcome = Arc::clone(&self.inner).welcome(&hello).await?;
        let (queue, outgoing) = mpsc::channel::<Outgoing>(QUEUE_MAX);
        let end = self.inner.tasks.token().child_token();
        let line =
            self.inner.connections.open(&node, queue.clone(), end.clone(), hello.epoch_in_force);
        // There is room: the queue is new.
        let _ = queue.try_send(vec![Down { kind: Some(down::Kind::Welcome(welcome.0)) }]);
        self.inner.projector.subscribe(&node, line, queue).await;
        let reader = Line { inner: Arc::clone(&self.inner), node, line, end: end.clone() };
        self.inner.tasks.spawn("feed-line", reader.read(ups, welcome.1));
        Ok(Response::new(downward(outgoing, end)))
    }

    type StreamStream = Downward<StreamDown>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamUp>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let node = node_of(&request)?;
        let mut ups = request.into_inner();
        let first = tokio::time::timeout(FIRST_WORD_WAIT, ups.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no id within 10 s"))??;
        let first = first
            .ok_or_else(|| Status::invalid_argument("the first message must name the stream"))?;
        let answer = self.inner.streams.answer(&first.id, &node);
        let answer = answer.ok_or_else(|| {
            Status::not_found(format!("stream \"{}\" was not asked for", first.id))
        })?;
        let gone = CancellationToken::new();
        let chunks = answer.chunks.clone();
        let end = self.inner.tasks.token();
        let pump = pump(answer, first, ups, node);
        let ended = gone.clone();
        self.inner.tasks.spawn("feed-stream", async move {
            tokio::select! {
                () = pump => {}
                // The reader went away: the node hears of it by the end of the response.
                () = chunks.closed() => {}
                () = end.cancelled() => {}
            }
            ended.cancel();
        });
        Ok(Response::new(until(gone)))
    }

    async fn issue_token(
        &self,
        request: Request<TokenRequest>,
    ) -> Result<Response<TokenResponse>, Status> {
        let node = node_of(&request)?;
        tokens::issue(&self.inner, &node, request.into_inner()).map(Response::new)
    }
}

/// A response without messages that ends when told to.
fn until(gone: CancellationToken) -> Downward<StreamDown> {
    futures::stream::once(async move { gone.cancelled().await })
        .filter_map(|()| async { None })
        .boxed()
}

/// From the node to the reader, until one of them ends.
async fn pump(mut answer: Answer, first: StreamUp, mut ups: Streaming<StreamUp>, node: String) {
    let mut next = Ok(Some(first));
    loop {
        let message = match next {
            Ok(Some(message)) => message,
            Ok(None) => return,
            Err(status) => {
                let text =
                    format!("the line to node \"{node}\" broke: {}", Status::message(&status));
                let _ = answer.chunks.send(Err(StreamError::new(503, text))).await;
                return;
            }
        };
        if !message.error.is_empty() {
            let code = u16::try_from(message.error_code).ok().filter(|c| (400..600).contains(c));
            let error = StreamError::new(code.unwrap_or(500), message.error);
            answer.open(Err(error.clone()));
            let _ = answer.chunks.send(Err(error)).await;
            return;
        }
        answer.open(Ok(()));
        if !message.data.is_empty()
            && answer.chunks.send(Ok(Bytes::from(message.data))).await.is_err()
        {
            return;
        }
        next = ups.message().await;
    }
}

/// What waits in the queue, until the line is ended.
fn downward(outgoing: mpsc::Receiver<Outgoing>, end: CancellationToken) -> Downward<Down> {
    let messages = ReceiverStream::new(outgoing).flat_map(futures::stream::iter).map(Ok);
    let ended = async move { end.cancelled_owned().await };
    let last = futures::stream::once(async {
        Err(Status::aborted("this line ended: the node has a newer one, or the server stops"))
    });
    messages.take_until(ended).chain(last).boxed()
}

impl Inner {
    /// Register the node and wait for its pod network.
    async fn welcome(self: Arc<Self>, hello: &Hello) -> Result<(Welcome, Said), Status> {
        let mut upward = Upward {
            client: &self.client,
            clock: &*self.config.clock,
            node: &hello.node_name,
            said: Said::default(),
        };
        upward.hello(hello).await.map_err(|error| status(&error))?;
        let changed = self.client.changed(&[&beeline_api::kinds::NODE]);
        let allocated = async {
            loop {
                let node = self.client.cached_one::<Node>(None, &hello.node_name);
                let ranges = node.map(|node| convert::node(&node).pod_cidrs).unwrap_or_default();
                // A range of each family that the cluster has.
                if ranges.len() >= self.config.cluster_pod_cidrs.len() {
                    return ranges;
                }
                changed.notified().await;
            }
        };
        let pod_cidrs = tokio::time::timeout(NETWORK_WAIT, allocated).await.map_err(|_| {
            Status::unavailable(format!(
                "node \"{}\" got no pod network within {} s: see its Events",
                hello.node_name,
                NETWORK_WAIT.as_secs()
            ))
        })?;
        let welcome = Welcome {
            pod_cidr: pod_cidrs.first().cloned().unwrap_or_default(),
            cluster_pod_cidr: first(&self.config.cluster_pod_cidrs),
            service_cidr: first(&self.config.service_cidrs),
            pod_cidrs,
            cluster_pod_cidrs: texts(&self.config.cluster_pod_cidrs),
            service_cidrs: texts(&self.config.service_cidrs),
        };
        Ok((welcome, upward.said))
    }
}

fn texts(ranges: &[IpNet]) -> Vec<String> {
    ranges.iter().map(ToString::to_string).collect()
}

fn first(ranges: &[IpNet]) -> String {
    texts(ranges).into_iter().next().unwrap_or_default()
}

fn status(error: &UpwardError) -> Status {
    let text = match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    match error {
        UpwardError::Decode { .. } => Status::invalid_argument(text),
        UpwardError::Foreign { .. } => Status::permission_denied(text),
        UpwardError::Write { source, .. } if source.code >= 500 => Status::unavailable(text),
        UpwardError::Write { .. } => Status::failed_precondition(text),
    }
}

/// The reading half of a line.
struct Line {
    inner: Arc<Inner>,
    node: String,
    line: u64,
    end: CancellationToken,
}

impl Line {
    async fn read(self, mut ups: Streaming<Up>, said: Said) {
        tracing::info!(node = self.node, "connected");
        let inner = Arc::clone(&self.inner);
        let mut upward =
            Upward { client: &inner.client, clock: &*inner.config.clock, node: &self.node, said };
        let why = loop {
            let message = tokio::select! {
                message = ups.message() => message,
                () = self.end.cancelled() => break "ended here".to_owned(),
            };
            match message {
                Ok(Some(Up { kind: Some(up::Kind::Ack(ack)) })) => {
                    self.inner.connections.acked(&self.node, self.line, ack.epoch, ack.apply_us);
                }
                Ok(Some(Up { kind: Some(kind) })) => {
                    // A report cut short is said again on the next line.
                    match self.end.run_until_cancelled(upward.take(kind)).await {
                        Some(Ok(())) | None => {}
                        Some(Err(error)) => {
                            tracing::warn!(error = %status(&error).message(), "report not taken");
                        }
                    }
                }
                Ok(Some(Up { kind: None })) => {}
                Ok(None) => break "the node hung up".to_owned(),
                Err(status) => break status.to_string(),
            }
        };
        self.inner.connections.close(&self.node, self.line);
        self.end.cancel();
        tracing::info!(node = self.node, why, "disconnected");
    }
}
