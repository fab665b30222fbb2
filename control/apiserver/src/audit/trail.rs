//! One audited request, from its arrival to the end of its answer.
//!
//! In: the request's body, then its answer. Out: an event per stage that the policy records. Bodies are read only where
//! the level, or the name of a new object, asks for them.

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use beeline_api::time::{self, Timestamp};
use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};

use super::AuditLog;
use super::event::{self, Subject};
use super::policy::{Decision, Level, Stage};
use crate::answer::Answer;
use crate::body;

/// What is known so far.
#[derive(Debug)]
pub(crate) struct Trail {
    log: Arc<AuditLog>,
    decision: Decision,
    event: Map<String, Value>,
    reads: bool,
}

impl Trail {
    pub(super) fn begin(log: Arc<AuditLog>, decision: Decision, of: &Subject<'_>) -> Self {
        let event = event::begin(of, decision.level, now());
        let trail = Self { log, decision, event, reads: of.info.is_read() };
        trail.emit(Stage::RequestReceived);
        trail
    }

    /// Whether the body of the request is to be shown to [`Self::request`].
    pub(crate) fn wants_request(&self) -> bool {
        !self.reads && self.event.contains_key("objectRef")
    }

    /// The body of a request that changes something.
    pub(crate) fn request(&mut self, headers: &HeaderMap, bytes: &Bytes) {
        let Some(value) = body::any(headers, bytes) else { return };
        event::complete_reference(&mut self.event, &value);
        if self.decision.level >= Level::Request {
            let shown = self.shown(value);
            self.event.insert("requestObject".to_owned(), shown);
        }
    }

    /// Whether it was allowed, and by what.
    pub(crate) fn authorized(&mut self, allowed: bool, reason: &str) {
        let decision = if allowed { "allow" } else { "forbid" };
        let annotations = json!({
            "authorization.k8s.io/decision": decision, "authorization.k8s.io/reason": reason,
        });
        self.event.insert("annotations".to_owned(), annotations);
    }

    /// An answer that is complete.
    pub(crate) async fn complete(mut self, answer: Answer) -> Answer {
        let code = answer.status().as_u16();
        let wants = self.decision.level == Level::RequestResponse;
        if !wants && code < 400 {
            self.status(code, None);
            self.emit(Stage::ResponseComplete);
            return answer;
        }
        let (parts, body) = answer.into_parts();
        // It lies in memory already: nothing here waits for a client.
        let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let value: Option<Value> = serde_json::from_slice(&bytes).ok();
        self.status(code, value.as_ref());
        if let Some(value) = value.filter(|_| wants) {
            let shown = self.shown(value);
            self.event.insert("responseObject".to_owned(), shown);
        }
        self.emit(Stage::ResponseComplete);
        Answer::from_parts(parts, Body::from(bytes))
    }

    /// An answer that is a stream: it is complete when that ends.
    pub(crate) fn stream(mut self, answer: Answer) -> Answer {
        self.status(answer.status().as_u16(), None);
        self.emit(Stage::ResponseStarted);
        let end = End(self);
        answer.map(|body| {
            Body::new(body.map_frame(move |frame| {
                let _goes_with_the_body = &end;
                frame
            }))
        })
    }

    /// One that was refused before anybody was recognised: all that is known is in its answer.
    pub(crate) fn refused(mut self, code: u16, message: &str) {
        let status =
            json!({ "metadata": {}, "status": "Failure", "message": message, "code": code });
        self.event.insert("responseStatus".to_owned(), status);
        self.emit(Stage::ResponseStarted);
    }

    /// Its handler panicked.
    pub(crate) fn panicked(mut self, message: &str) {
        let status = json!({
            "metadata": {}, "status": "Failure", "message": message, "reason": "InternalError",
            "code": 500,
        });
        self.event.insert("responseStatus".to_owned(), status);
        self.emit(Stage::Panic);
    }

    fn status(&mut self, code: u16, body: Option<&Value>) {
        let status = event::response_status(code, body);
        self.event.insert("responseStatus".to_owned(), status);
    }

    fn shown(&self, value: Value) -> Value {
        match self.decision.omit_managed_fields {
            true => event::without_managed_fields(value),
            false => value,
        }
    }

    fn emit(&self, stage: Stage) {
        if self.decision.records(stage) {
            self.log.write(&event::at(&self.event, stage, now()));
        }
    }
}

fn now() -> Timestamp {
    time::from_system(SystemTime::now())
}

/// The end of a stream is an event, however it comes about.
struct End(Trail);

impl Drop for End {
    fn drop(&mut self) {
        self.0.emit(Stage::ResponseComplete);
    }
}
