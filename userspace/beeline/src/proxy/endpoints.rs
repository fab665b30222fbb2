//! kube-proxy's HTTP endpoints: `/healthz` and `/livez` for load balancers and supervisors, `/metrics` and `/proxyMode`.
//!
//! In: paths. Out: answers of kube-proxy's shape, times in RFC 3339.

use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use beeline_datapath::{Datapath, DatapathError};
use beeline_healthcheck::Answer;
use beeline_informer::Standing;
use beeline_tables::{NodeName, Reader};
use http::StatusCode;
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use super::{
    ledger::{self, Health, Now},
    metrics::{self, Answered, Kernel, NoLocal},
};

/// What the answers are made of.
pub struct Endpoints {
    node: NodeName,
    ledger: ledger::Shared,
    standing: watch::Receiver<Standing>,
    /// The dataplane.
    pub datapath: Datapath,
    /// What the cluster wants.
    pub tables: Reader,
    answered: Mutex<Answered>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
}

impl Endpoints {
    /// For a node.
    pub fn new(
        node: NodeName,
        ledger: ledger::Shared,
        standing: watch::Receiver<Standing>,
        datapath: Datapath,
        tables: Reader,
    ) -> Self {
        Self { node, ledger, standing, datapath, tables, answered: Mutex::default() }
    }

    /// Whether the kernel does what the cluster wants, or will soon.
    pub fn keeps_up(&self) -> bool {
        ledger::lock(&self.ledger).health(Now::read()) == Health::Well
    }

    /// Of the health port.
    pub fn health(&self, path: &str) -> Answer {
        match path {
            "/healthz" => {
                let eligible = *self.standing.borrow() == Standing::Eligible;
                let answer = self.report(self.keeps_up() && eligible, Some(eligible));
                let code = answer.status.as_u16();
                *self.answered().healthz.entry(code).or_default() += 1;
                answer
            }
            "/livez" => {
                let answer = self.report(self.keeps_up(), None);
                let code = answer.status.as_u16();
                *self.answered().livez.entry(code).or_default() += 1;
                answer
            }
            _ => Answer::not_found(),
        }
    }

    /// Of the metrics port.
    pub async fn metrics(&self, path: &str) -> Answer {
        match path {
            "/metrics" => match self.kernel().await {
                Ok(kernel) => self.render(&kernel),
                Err(error) => {
                    let why = beeline_kit::chain(&error);
                    Answer::text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        format!("read the kernel's counts: {why}\n"),
                    )
                }
            },
            "/proxyMode" => Answer::text(StatusCode::OK, "ebpf"),
            "/healthz" => Answer::text(StatusCode::OK, "ok"),
            _ => Answer::not_found(),
        }
    }

    /// While all is well the last update is now: that is what upstream's askers expect.
    fn report(&self, well: bool, node_eligible: Option<bool>) -> Answer {
        let now = SystemTime::now();
        let last = ledger::lock(&self.ledger).in_force.unwrap_or(SystemTime::UNIX_EPOCH);
        let body = Body {
            last_updated: text(if well { now } else { last }),
            current_time: text(now),
            node_eligible,
        };
        let status = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Answer::json(status, &body)
    }

    async fn kernel(&self) -> Result<Kernel, DatapathError> {
        let drops = self.datapath.drops().await?;
        Ok(Kernel {
            counters: self.datapath.counters().await?,
            drops: drops
                .into_iter()
                .map(|(reason, count)| (reason, (count.packets, count.bytes)))
                .collect(),
            maps: self.datapath.services().await?.maps,
        })
    }

    fn render(&self, kernel: &Kernel) -> Answer {
        let no_local = NoLocal::count(&self.tables.snapshot(), &self.node);
        let ledger = ledger::lock(&self.ledger);
        let text = metrics::render(&ledger, no_local, kernel, &self.answered());
        let mut answer = Answer::text(StatusCode::OK, text);
        answer.headers = vec![("content-type", "text/plain; version=0.0.4; charset=utf-8".into())];
        answer
    }

    fn answered(&self) -> std::sync::MutexGuard<'_, Answered> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn text(time: SystemTime) -> String {
    Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default()
}
