//! What `beeline status` and `beeline services` are told by a proxy.
//!
//! In: questions on the socket. Out: answers of the same shape as an agent's, without pods.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use anyhow::{Context as _, bail};

use super::{Endpoints, Options};
use crate::{
    instance::Instance,
    local::{Answerer, Answers, Ask},
    status::{self, Part, Status},
    version,
};

/// What is needed to answer.
pub struct Look {
    node: String,
    instance: String,
    url: String,
    started: Instant,
    endpoints: Arc<Endpoints>,
}

impl Look {
    /// From now on.
    pub fn new(
        options: &Options,
        instance: &Instance,
        url: &str,
        endpoints: Arc<Endpoints>,
    ) -> Self {
        Self {
            node: options.node.clone(),
            instance: instance.id.clone(),
            url: url.to_owned(),
            started: Instant::now(),
            endpoints,
        }
    }

    async fn status(&self) -> Status {
        let datapath = &self.endpoints.datapath;
        let (wanted, epoch) =
            (self.endpoints.tables.snapshot(), datapath.in_force().borrow().epoch.0);
        let counted = datapath.counters().await;
        let whole = if wanted.complete { "read" } else { "not read whole yet" };
        let cluster = Part {
            name: "cluster".into(),
            healthy: wanted.complete,
            detail: format!("{}: {whole}, epoch {}", self.url, wanted.epoch.0),
        };
        let dataplane = Part {
            name: "dataplane".into(),
            healthy: counted.is_ok() && self.endpoints.keeps_up(),
            detail: match &counted {
                Ok(_) => format!("epoch {epoch} in force"),
                Err(error) => beeline_kit::chain(error),
            },
        };
        let mut counters: BTreeMap<String, u64> =
            counted.unwrap_or_default().into_iter().map(|(name, n)| (name.to_owned(), n)).collect();
        for (reason, count) in datapath.drops().await.unwrap_or_default() {
            counters.insert(format!("drops {reason}"), count.packets);
        }
        Status {
            version: version::VERSION.into(),
            kubernetes: version::KUBERNETES.into(),
            node: self.node.clone(),
            instance: self.instance.clone(),
            ready: wanted.complete && epoch >= wanted.epoch.0,
            uptime_s: self.started.elapsed().as_secs(),
            parts: vec![cluster, dataplane],
            features: datapath.features().iter().map(status::feature).collect(),
            counters,
            epoch,
            pods: Vec::new(),
        }
    }
}

#[async_trait::async_trait]
impl Answerer for Look {
    async fn answer(&self, ask: Ask, answers: &Answers) -> anyhow::Result<()> {
        match ask {
            Ask::Status => status::item(answers, &self.status().await).await,
            Ask::Services => {
                let held = self.endpoints.datapath.services().await;
                let held = held.context("read the kernel's maps")?;
                status::item(answers, &status::services(held, &self.endpoints.tables)).await
            }
            Ask::Flows { .. }
            | Ask::SnapshotSave { .. }
            | Ask::ImageImport { .. }
            | Ask::ImageList
            | Ask::ImageRemove { .. } => {
                bail!(
                    "this process is a proxy alone, without pods, images, flows or a store: ask it for `status` or `services`"
                )
            }
        }
    }
}
