//! What looking commands are told, and who gathers it.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Instant,
};

use anyhow::{Context as _, bail};
use beeline_container::ImageStore;
use beeline_datapath::{Datapath, Held, State};
use beeline_feed::Feed;
use beeline_observe::{Followed, Observer, Query};
use beeline_tables::Reader;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    agent::Agent,
    config::Config,
    image,
    instance::Instance,
    local::{Answer, Answerer, Answers, Ask},
    probe::Place,
    server::{Engine, Server},
    snapshot, version,
};

/// `beeline status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Of beeline.
    pub version: String,
    /// The API level.
    pub kubernetes: String,
    /// The node's name.
    pub node: String,
    /// The instance's id.
    pub instance: String,
    /// Whether everything that should run here does.
    pub ready: bool,
    /// Since when.
    pub uptime_s: u64,
    /// The parts of this process.
    pub parts: Vec<Part>,
    /// What of the kernel is used, and what is missing.
    pub features: Vec<FeatureLine>,
    /// Counts of the dataplane, by name.
    pub counters: BTreeMap<String, u64>,
    /// The version of intent that the kernel holds.
    pub epoch: u64,
    /// The pods that run here.
    pub pods: Vec<PodLine>,
}

/// A part and its health.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Whether it does its work.
    pub healthy: bool,
    /// What there is to say.
    pub detail: String,
}

/// A feature of the kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FeatureLine {
    /// Its name.
    pub name: String,
    /// `used`, `missing`, `not needed`.
    pub state: String,
    /// Why, and what to do.
    pub detail: String,
}

/// A pod's sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PodLine {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its unique id.
    pub uid: String,
    /// Its address, if it has one.
    pub address: String,
    /// The process that holds its namespaces.
    pub pid: u32,
    /// The cgroup of its processes.
    pub cgroup: PathBuf,
}

impl PodLine {
    /// Where its processes live.
    pub fn place(&self) -> Place {
        Place { netns: beeline_sys::netns::path_of_pid(self.pid), cgroup: self.cgroup.clone() }
    }
}

/// `beeline services`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Services {
    /// The version of intent that the kernel holds.
    pub epoch: u64,
    /// The frontends in it.
    pub frontends: Vec<FrontendLine>,
    /// Backends in no list any more, whose connections go on.
    pub draining: Vec<BackendLine>,
    /// How full the maps are.
    pub maps: Vec<beeline_datapath::UsageView>,
}

/// A frontend in the kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FrontendLine {
    /// Namespace and name of its Service.
    pub service: String,
    /// The name of the Service's port.
    pub port_name: String,
    /// Address and port.
    pub address: String,
    /// TCP or UDP.
    pub protocol: String,
    /// Those who answer for it.
    pub backends: Vec<BackendLine>,
}

/// A backend in the kernel.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackendLine {
    /// Address and port.
    pub address: String,
    /// The pod behind it, or `-`.
    pub pod: String,
    /// `active`, `terminating` or `draining`.
    pub state: String,
    /// Connections open now.
    pub open: u64,
    /// Connections since it came.
    pub total: u64,
}

/// What is needed to answer.
pub struct Looking {
    node: String,
    instance: String,
    started: Instant,
    server: OnceLock<ServerSide>,
    agent: OnceLock<AgentSide>,
    wants_agent: bool,
}

struct ServerSide {
    feed: Feed,
    engine: Engine,
}

/// What the agent lends.
#[derive(Clone)]
pub struct AgentSide {
    /// The dataplane.
    pub datapath: Datapath,
    /// Its flows.
    pub observer: Observer,
    /// The node's intent.
    pub tables: Reader,
    /// The image store.
    pub images: Arc<ImageStore>,
    /// Told when images come or go.
    pub images_changed: Arc<dyn Fn() + Send + Sync>,
    /// The pods' sandboxes.
    pub pods: Arc<dyn PodLines>,
    /// Whether the line to control is up, and what to say of it.
    pub line: Arc<dyn Fn() -> (bool, String) + Send + Sync>,
    /// Whether the node has been ready.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Whoever knows the pods of this node.
#[async_trait::async_trait]
pub trait PodLines: Send + Sync {
    /// All of them.
    async fn lines(&self) -> anyhow::Result<Vec<PodLine>>;
}

impl Looking {
    /// Nothing runs yet.
    pub fn new(config: &Config, instance: &Instance) -> Self {
        Self {
            node: config.node_name.clone(),
            instance: instance.id.clone(),
            started: Instant::now(),
            server: OnceLock::new(),
            agent: OnceLock::new(),
            wants_agent: config.role.works(),
        }
    }

    /// The server runs.
    pub fn set_server(&self, server: &Server) {
        let side = ServerSide { feed: server.feed.clone(), engine: server.engine.clone() };
        let _ = self.server.set(side);
    }

    /// The agent runs.
    pub fn set_agent(&self, agent: &Agent) {
        let _ = self.agent.set(agent.side.clone());
    }

    fn agent(&self) -> anyhow::Result<&AgentSide> {
        match self.agent.get() {
            Some(agent) => Ok(agent),
            None if self.wants_agent => bail!("the node is still starting: try again in a moment"),
            None => bail!("this process is a server only: ask an agent, with its --run-dir"),
        }
    }

    async fn status(&self) -> anyhow::Result<Status> {
        let mut parts = Vec::new();
        if let Some(server) = self.server.get() {
            parts.extend(server_parts(server));
        }
        let mut status = Status {
            version: version::VERSION.into(),
            kubernetes: version::KUBERNETES.into(),
            node: self.node.clone(),
            instance: self.instance.clone(),
            ready: !self.wants_agent && self.server.get().is_some(),
            uptime_s: self.started.elapsed().as_secs(),
            parts,
            features: Vec::new(),
            counters: BTreeMap::new(),
            epoch: 0,
            pods: Vec::new(),
        };
        if let Some(agent) = self.agent.get() {
            agent_status(agent, &mut status).await?;
        }
        Ok(status)
    }

    async fn flows(&self, query: Query, follow: bool, answers: &Answers) -> anyhow::Result<()> {
        let (history, mut coming) = self.agent()?.observer.follow(query.clone())?;
        // Somebody who only follows wants what comes, not what was.
        if !follow || query.last.is_some() || query.since_seconds.is_some() {
            for flow in history {
                item(answers, &*flow).await?;
            }
        }
        if !follow {
            return Ok(());
        }
        loop {
            match coming.next().await {
                Some(Followed::Flow(flow)) => item(answers, &*flow).await?,
                Some(Followed::Missed(count)) => {
                    bail!("too slow: {count} flows passed unseen; ask for fewer")
                }
                None => return Ok(()),
            }
        }
    }

    async fn import(&self, archive: PathBuf, answers: &Answers) -> anyhow::Result<()> {
        let agent = self.agent()?;
        let images = Arc::clone(&agent.images);
        let shown = archive.display().to_string();
        let imported =
            tokio::task::spawn_blocking(move || images.import(&archive, &mut |_| {})).await?;
        for image in imported.with_context(|| format!("import {shown}"))? {
            item(answers, &image::imported(&image)).await?;
        }
        (agent.images_changed)();
        Ok(())
    }
}

#[async_trait::async_trait]
impl Answerer for Looking {
    async fn answer(&self, ask: Ask, answers: &Answers) -> anyhow::Result<()> {
        match ask {
            Ask::Status => item(answers, &self.status().await?).await,
            Ask::Services => {
                let agent = self.agent()?;
                let held = agent.datapath.services().await.context("read the kernel's maps")?;
                item(answers, &services(held, &agent.tables)).await
            }
            Ask::Flows { query, follow } => self.flows(query, follow, answers).await,
            Ask::SnapshotSave { file } => {
                let server = self.server.get().context("no server runs in this process")?;
                let saved = server.engine.save(&file).await?;
                item(answers, &snapshot::line("saved", &saved, &file)).await
            }
            Ask::ImageImport { archive } => self.import(archive, answers).await,
            Ask::ImageList => item(answers, &self.agent()?.images.list()).await,
            Ask::ImageRemove { image } => {
                let agent = self.agent()?;
                let images = Arc::clone(&agent.images);
                tokio::task::spawn_blocking(move || images.remove(&image)).await??;
                (agent.images_changed)();
                item(answers, &"removed").await
            }
        }
    }
}

/// Send one result.
pub async fn item(answers: &Answers, value: &(impl Serialize + Sync)) -> anyhow::Result<()> {
    let value: Value = serde_json::to_value(value)?;
    answers.send(Answer::Item(value)).await.context("the asker went away")
}

fn server_parts(server: &ServerSide) -> Vec<Part> {
    let (healthy, detail) = server.engine.look();
    let mut parts = vec![Part { name: "store".into(), healthy, detail }];
    for (node, epochs) in server.feed.epochs() {
        let connected = server.feed.is_connected(&node);
        let line = if connected { "connected" } else { "not connected" };
        let detail = format!("{line}, epoch {} in force of {} sent", epochs.in_force, epochs.sent);
        parts.push(Part { name: format!("feed to {node}"), healthy: connected, detail });
    }
    parts
}

async fn agent_status(agent: &AgentSide, status: &mut Status) -> anyhow::Result<()> {
    let (up, detail) = (agent.line)();
    status.parts.push(Part { name: "line to control".into(), healthy: up, detail });
    let in_force = agent.datapath.in_force().borrow().to_owned();
    status.epoch = in_force.epoch.0;
    let counters = agent.datapath.counters().await;
    let detail = match &counters {
        Ok(_) => format!("epoch {} in force", in_force.epoch.0),
        Err(error) => beeline_kit::chain(error),
    };
    status.parts.push(Part { name: "dataplane".into(), healthy: counters.is_ok(), detail });
    status.counters.extend(
        counters.unwrap_or_default().into_iter().map(|(name, count)| (name.to_owned(), count)),
    );
    for (reason, count) in agent.datapath.drops().await.unwrap_or_default() {
        status.counters.insert(format!("drops {reason}"), count.packets);
    }
    status.features = agent.datapath.features().iter().map(feature).collect();
    status.pods = agent.pods.lines().await?;
    let pods = status.pods.len();
    status.parts.push(Part {
        name: "pods".into(),
        healthy: true,
        detail: format!("{pods} sandboxes"),
    });
    status.ready = (agent.ready)();
    Ok(())
}

/// A feature, as people read it.
pub fn feature(feature: &beeline_datapath::Feature) -> FeatureLine {
    let state = match feature.state {
        State::Used => "used",
        State::Substituted => "substituted",
        State::Missing => "missing",
        State::NotNeeded => "not needed",
    };
    let detail = match feature.state {
        State::Missing => format!("{}: {}", feature.why, feature.remedy),
        State::Used | State::Substituted | State::NotNeeded => feature.why.clone(),
    };
    FeatureLine { name: feature.name.clone(), state: state.into(), detail }
}

/// What the kernel holds, with the names that the tables know.
pub fn services(held: Held, tables: &Reader) -> Services {
    let snapshot = tables.snapshot();
    let backend = |view: &beeline_datapath::BackendView| BackendLine {
        address: view.address.to_string(),
        pod: snapshot
            .endpoints_at
            .get(&view.address.ip())
            .map_or("-".into(), |endpoint| endpoint.pod.to_string()),
        state: view.state.clone(),
        open: view.open,
        total: view.opened,
    };
    let port_name = |view: &beeline_datapath::ServiceView| {
        let service = snapshot.services.iter().find(|(name, _)| name.to_string() == view.service);
        let ports = service.map(|(_, service)| service.ports.as_slice()).unwrap_or_default();
        let dialled = view.frontend.port();
        let mut ports = ports.iter();
        let port = ports.find(|port| port.port == dialled || port.node_port == Some(dialled));
        port.map(|port| port.name.to_string()).unwrap_or_default()
    };
    let frontend = |view: &beeline_datapath::ServiceView| FrontendLine {
        service: view.service.clone(),
        port_name: port_name(view),
        address: view.frontend.to_string(),
        protocol: view.protocol.clone(),
        backends: view.backends.iter().map(backend).collect(),
    };
    Services {
        epoch: held.epoch,
        frontends: held.services.iter().map(frontend).collect(),
        draining: held.draining.iter().map(backend).collect(),
        maps: held.maps,
    }
}
