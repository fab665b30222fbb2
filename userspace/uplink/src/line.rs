//! One line after the other: dial, introduce, take batches, send reports, until it breaks.

use std::sync::Arc;
use std::time::Duration;

use beeline_kit::{Backoff, Tasks};
use beeline_proto::feed::feed_client::FeedClient;
use beeline_proto::feed::{self as wire, Down, Up, down, up};
use beeline_tables::{Epoch, Writer};
use futures::{FutureExt as _, StreamExt as _};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::dial::Dialer;
use crate::outbox::Outbox;
use crate::streams::{self, StreamHandler};
use crate::{Config, LineState, Welcome, convert};

/// How often the Lease is renewed; it counts for 40 s.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A line that ends before is no success: two nodes of one name would take it from each other as fast as they can.
const STEADY: Duration = Duration::from_secs(10);
/// Messages on their way up; reports wait in the outbox when it is full.
const QUEUE_MAX: usize = 64;
/// A batch with several large Secrets.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Calls on the server.
pub(crate) type Client = FeedClient<Channel>;

/// What the line's task owns.
pub(crate) struct Line {
    pub(crate) config: Config,
    pub(crate) dialer: Arc<dyn Dialer>,
    pub(crate) handler: Arc<dyn StreamHandler>,
    pub(crate) writer: Writer,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) welcome: watch::Sender<Option<Welcome>>,
    pub(crate) state: watch::Sender<LineState>,
    /// For calls beside the line, while it is up.
    pub(crate) client: watch::Sender<Option<Client>>,
    pub(crate) tasks: Tasks,
}

impl Line {
    /// Until the process ends.
    pub(crate) async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        loop {
            let mut welcomed = None;
            let why = match self.dialer.dial().await {
                Ok(channel) => self.serve(channel, &mut welcomed).await,
                Err(error) => error.to_string(),
            };
            if welcomed.is_some_and(|at: Instant| at.elapsed() >= STEADY) {
                backoff.reset();
            }
            // What arrived of a snapshot that never became whole says nothing.
            self.writer.abandon_snapshot();
            if self.tasks.token().is_cancelled() {
                return; // the process ends, and its server with it: no news for anybody
            }
            let told =
                matches!(&*self.state.borrow(), LineState::Down { why: known } if *known == why);
            if told {
                tracing::debug!(why, "no line to the server");
            } else {
                tracing::warn!(why, "no line to the server; the last known state stays in force");
            }
            self.state.send_replace(LineState::Down { why });
            tokio::time::sleep(backoff.next()).await;
        }
    }

    /// One connection, until it breaks. Why it did.
    async fn serve(&mut self, channel: Channel, welcomed: &mut Option<Instant>) -> String {
        let mut client = FeedClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX);
        let (ups, queue) = mpsc::channel(QUEUE_MAX);
        let hello = match self.hello() {
            Ok(hello) => hello,
            Err(error) => return format!("describe this node: {error}"),
        };
        // There is room: the queue is new.
        let _ = ups.try_send(Up { kind: Some(up::Kind::Hello(hello)) });
        let downs = match client.connect(ReceiverStream::new(queue)).await {
            Ok(response) => response.into_inner(),
            Err(status) => return format!("{}: {}", status.code(), status.message()),
        };
        self.outbox.renew();
        self.client.send_replace(Some(client.clone()));
        // Streams end with their line.
        let streams = self.tasks.child();
        let outbox = Arc::clone(&self.outbox);
        let why = tokio::select! {
            why = self.take(downs, &client, &streams, welcomed) => why,
            () = send(&outbox, ups) => "the line takes no more reports".to_owned(),
        };
        self.client.send_replace(None);
        streams.stop(Duration::ZERO).await;
        why
    }

    fn hello(&self) -> Result<wire::Hello, serde_json::Error> {
        let Config { node_name, instance, epoch_in_force, node } = &self.config;
        let mut node = node.clone();
        // What was said since is newer than what the node was introduced with.
        node.status = self.outbox.newest_node_status().or(node.status);
        Ok(wire::Hello {
            node_name: node_name.clone(),
            instance: instance.clone(),
            node_json: serde_json::to_vec(&node)?,
            epoch_in_force: *epoch_in_force,
        })
    }

    async fn take(
        &mut self,
        mut downs: Streaming<Down>,
        client: &Client,
        streams: &Tasks,
        welcomed: &mut Option<Instant>,
    ) -> String {
        loop {
            let down = match downs.next().await {
                Some(Ok(down)) => down,
                Some(Err(status)) => return format!("{}: {}", status.code(), status.message()),
                None => return "the server hung up".to_owned(),
            };
            match down.kind {
                Some(down::Kind::Welcome(welcome)) => {
                    *welcomed = Some(Instant::now());
                    self.welcomed(welcome);
                }
                Some(down::Kind::Batch(batch)) => self.batch(batch),
                Some(down::Kind::OpenStream(asked)) => {
                    let answer = streams::answer(client.clone(), Arc::clone(&self.handler), asked);
                    let token = streams.token();
                    streams.spawn("uplink-stream", async move {
                        let _ = token.run_until_cancelled(answer).await;
                    });
                }
                None => tracing::debug!("a message of a newer server is ignored"),
            }
        }
    }

    fn welcomed(&self, welcome: wire::Welcome) {
        let wire::Welcome {
            pod_cidr,
            cluster_pod_cidr,
            service_cidr,
            pod_cidrs,
            cluster_pod_cidrs,
            service_cidrs,
        } = welcome;
        self.welcome.send_replace(Some(Welcome {
            pod_cidr,
            cluster_pod_cidr,
            service_cidr,
            pod_cidrs,
            cluster_pod_cidrs,
            service_cidrs,
        }));
        self.state.send_replace(LineState::Connected);
        tracing::info!("connected to the server");
    }

    fn batch(&mut self, batch: wire::Batch) {
        let wire::Batch { epoch, snapshot, last, changes } = batch;
        let changes = convert::changes(changes);
        let whole = !snapshot || last;
        if snapshot {
            self.writer.apply_snapshot(Epoch(epoch), changes, last);
        } else {
            self.writer.apply(Epoch(epoch), changes);
        }
        if whole {
            self.outbox.prune(self.writer.current());
        }
    }
}

/// Send what the outbox holds, and a heartbeat from time to time. Ends when the line does.
async fn send(outbox: &Outbox, ups: mpsc::Sender<Up>) {
    let mut heartbeat = tokio::time::interval(HEARTBEAT);
    heartbeat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let mut messages = outbox.take();
        if messages.is_empty() {
            tokio::select! {
                () = ups.closed() => return,
                _ = heartbeat.tick() => messages.push(up::Kind::Heartbeat(wire::Heartbeat {})),
                () = outbox.filled() => continue,
            }
        } else if heartbeat.tick().now_or_never().is_some() {
            messages.push(up::Kind::Heartbeat(wire::Heartbeat {}));
        }
        for kind in messages {
            if ups.send(Up { kind: Some(kind) }).await.is_err() {
                return;
            }
        }
    }
}
