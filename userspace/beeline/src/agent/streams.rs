//! What control asks of this node: logs and flows.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use beeline_container::{
    Runtime,
    logs::LogOptions,
    runtime::{LogTarget, PodUid},
};
use beeline_observe::{Flow, Followed, Observer, Query};
use beeline_uplink::{ByteStream, Logs, StreamFailure, StreamHandler};
use bytes::Bytes;
use futures::StreamExt as _;
use k8s_openapi::jiff;

/// Answers from the runtime's log files and the observer's history.
pub struct Streams {
    runtime: Arc<dyn Runtime>,
    observer: Observer,
}

impl Streams {
    /// From these.
    pub fn new(runtime: Arc<dyn Runtime>, observer: Observer) -> Self {
        Self { runtime, observer }
    }
}

fn failure(
    code: u16,
    message: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StreamFailure {
    StreamFailure { code, message: message.into().to_string() }
}

#[async_trait::async_trait]
impl StreamHandler for Streams {
    async fn logs(&self, request: Logs) -> Result<ByteStream, StreamFailure> {
        let options = options(&request)?;
        let target = LogTarget {
            namespace: request.namespace,
            pod: request.pod,
            pod_uid: PodUid::new(request.uid).map_err(|error| failure(400, error))?,
            container: request.container,
        };
        let reader =
            self.runtime.read_logs(&target, options).await.map_err(|error| failure(400, error))?;
        let stream = futures::stream::unfold(reader, |mut reader| async move {
            let chunk = reader.next().await?;
            Some((chunk.map_err(|error| failure(500, error)), reader))
        });
        Ok(stream.boxed())
    }

    async fn flows(&self, query_json: Vec<u8>) -> Result<ByteStream, StreamFailure> {
        let query: Query = serde_json::from_slice(&query_json)
            .map_err(|error| failure(400, format!("understand the query for flows: {error}")))?;
        let (history, coming) =
            self.observer.follow(query.clone()).map_err(|error| failure(400, error))?;
        let history = match query.follow && query.last.is_none() && query.since_seconds.is_none() {
            true => Vec::new(),
            false => history,
        };
        let history = futures::stream::iter(history.into_iter().map(|flow| line(&flow)));
        if !query.follow {
            return Ok(history.boxed());
        }
        let coming = futures::stream::unfold(coming, |mut coming| async move {
            let next = match coming.next().await? {
                Followed::Flow(flow) => line(&flow),
                Followed::Missed(count) => {
                    Err(failure(429, format!("too slow: {count} flows passed unseen")))
                }
            };
            Some((next, coming))
        });
        Ok(history.chain(coming).boxed())
    }
}

fn line(flow: &Flow) -> Result<Bytes, StreamFailure> {
    let mut line = serde_json::to_vec(flow).map_err(|error| failure(500, error))?;
    line.push(b'\n');
    Ok(Bytes::from(line))
}

fn options(request: &Logs) -> Result<LogOptions, StreamFailure> {
    let count = |what: &str, value: Option<i64>| match value.map(u64::try_from) {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(_)) => Err(failure(400, format!("{what} must be greater than or equal to 0"))),
    };
    let since_seconds = count("sinceSeconds", request.since_seconds)?;
    let since = match (since_seconds, request.since_time.as_str()) {
        (Some(seconds), _) => SystemTime::now().checked_sub(Duration::from_secs(seconds)),
        (None, "") => None,
        (None, time) => {
            let time: jiff::Timestamp = time
                .parse()
                .map_err(|error| failure(400, format!("understand sinceTime {time:?}: {error}")))?;
            let since_epoch =
                u64::try_from(time.as_nanosecond().max(0) / 1_000).unwrap_or(u64::MAX);
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_micros(since_epoch))
        }
    };
    Ok(LogOptions {
        previous: request.previous,
        follow: request.follow,
        tail_lines: count("tailLines", request.tail_lines)?,
        since,
        timestamps: request.timestamps,
        limit_bytes: count("limitBytes", request.limit_bytes)?,
    })
}
