//! All Pods of a node: a driver for each that is wanted, and the end of those that are not.
//!
//! In: snapshots of the tables, events of the runtime. Out: one [`Driver`] per Pod, keyed by its unique id, so that a Pod
//! deleted and made again under the same name is two.
//! Refuses to remove anything before the tables are complete: until then, what is not named may just not have been heard.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use beeline_container::runtime::{PodUid, RuntimeError, RuntimeEvent, SandboxStatus};
use beeline_kit::{CancellationToken, Tasks};
use beeline_netdev::AddressPair;
use beeline_tables::{NodeName, ObjectKey, ObjectName, PodIntent, Reader, Snapshot};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::PodStatus;
use tokio::sync::{Notify, broadcast, mpsc, watch};

use crate::{
    driver::{self, Context, Driver, Input},
    lifecycle::{Found, FoundContainer},
    ports::Ports,
    specs::Dns,
};

/// A driver is never behind by more than a few.
const MAILBOX: usize = 64;
/// Unwanted Pods that are removed at once.
const SWEEP_MAX: usize = 16;

/// What the Pods of this node need to know of it.
#[derive(Clone, Debug)]
pub struct Config {
    /// The node's name.
    pub node_name: NodeName,
    /// The node's addresses.
    pub host_ips: AddressPair,
    /// One directory per Pod is made below it: `<data-dir>/pods`.
    pub pods_dir: PathBuf,
    /// Names in Pods.
    pub dns: Dns,
}

/// The Pods could not be taken over.
#[derive(Debug, thiserror::Error)]
#[error("look for pods that already run on this node")]
pub struct StartError(#[from] RuntimeError);

/// A Pod as this node knows it.
#[derive(Clone, Debug)]
pub struct PodView {
    /// Its namespace and name.
    pub name: ObjectName,
    /// Its unique id.
    pub uid: String,
    /// What was last reported; `None` before the first time.
    pub status: Option<PodStatus>,
}

/// The Pods of this node. Clones are the same.
#[derive(Clone, Debug)]
pub struct Pods {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    known: Mutex<BTreeMap<PodUid, Known>>,
    inputs_changed: Notify,
    resend: Notify,
}

#[derive(Clone, Debug)]
struct Known {
    name: ObjectName,
    revision: u64,
    mailbox: mpsc::Sender<Input>,
    view: watch::Receiver<Option<PodStatus>>,
    told_unwanted: bool,
}

struct Manager {
    context: Arc<Context>,
    shared: Arc<Shared>,
    tasks: Tasks,
    finished: mpsc::Sender<PodUid>,
    /// Gone here, but still in the tables.
    ended: BTreeMap<PodUid, ObjectName>,
    /// Found running at the start and not yet claimed; `None` before it was looked for.
    found: Option<BTreeMap<PodUid, SandboxStatus>>,
    swept: bool,
    /// Revisions of the objects that Pods refer to, as of the last snapshot.
    objects: BTreeMap<ObjectKey, u64>,
}

// === impl Pods ===

impl Pods {
    /// Look for what already runs, then follow the tables until `tasks` stops.
    pub async fn start(
        config: Config,
        ports: Ports,
        tables: Reader,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        // Fails here, where somebody reads it, rather than in the task.
        ports.runtime.sandboxes().await?;
        let shared = Arc::new(Shared::default());
        let (finished, ends) = mpsc::channel(MAILBOX);
        let context = Arc::new(Context { config, ports, tables });
        let tasks = tasks.child();
        let manager = Manager {
            context,
            shared: Arc::clone(&shared),
            tasks: tasks.clone(),
            finished,
            ended: BTreeMap::new(),
            found: None,
            swept: false,
            objects: BTreeMap::new(),
        };
        tasks.spawn("pods", manager.run(ends, tasks.token()));
        Ok(Self { shared })
    }

    /// Images were imported or removed: Pods that wait for one look again.
    pub fn images_changed(&self) {
        self.shared.inputs_changed.notify_one();
    }

    /// Send every status again, and the end of Pods whose objects are still there: the line was down.
    pub fn resend(&self) {
        self.shared.resend.notify_one();
    }

    /// The Pods that this node knows.
    #[must_use]
    pub fn list(&self) -> Vec<PodView> {
        let known = self.shared.known();
        known
            .iter()
            .map(|(uid, known)| PodView {
                name: known.name.clone(),
                uid: uid.to_string(),
                status: known.view.borrow().clone(),
            })
            .collect()
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, BTreeMap<PodUid, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Manager ===

impl Manager {
    async fn run(mut self, mut ends: mpsc::Receiver<PodUid>, token: CancellationToken) {
        let mut tables = self.context.tables.clone();
        let mut events = self.context.ports.runtime.events();
        let shared = Arc::clone(&self.shared);
        self.follow(&tables.snapshot()).await;
        loop {
            tokio::select! {
                () = token.cancelled() => return,
                snapshot = tables.changed() => match snapshot {
                    Some(snapshot) => self.follow(&snapshot).await,
                    None => return,
                },
                event = events.recv() => match event {
                    Ok(event) => self.runtime_event(event).await,
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::warn!(missed, "runtime events were missed; asking for the state instead");
                        self.compare().await;
                    }
                    Err(broadcast::error::RecvError::Closed) => return,
                },
                Some(uid) = ends.recv() => self.end(&uid).await,
                () = shared.inputs_changed.notified() => self.tell_all(&Input::InputsChanged).await,
                () = shared.resend.notified() => self.resend().await,
            }
        }
    }

    async fn follow(&mut self, snapshot: &Snapshot) {
        let mut wanted = BTreeSet::new();
        for intent in snapshot.pods.values() {
            let uid = intent.pod.metadata.uid.clone().unwrap_or_default();
            match PodUid::new(uid) {
                Ok(uid) => {
                    self.want(intent, &uid).await;
                    wanted.insert(uid);
                }
                Err(error) => tracing::warn!(pod = %intent.name, %error, "a pod is ignored"),
            }
        }
        if !snapshot.complete {
            return;
        }
        self.ended.retain(|uid, _| wanted.contains(uid));
        self.unwant(&wanted).await;
        if !self.swept {
            self.swept = true;
            self.sweep(&wanted).await;
        }
        let objects =
            snapshot.objects.iter().map(|(key, object)| (key.clone(), object.revision)).collect();
        if self.objects != objects {
            self.objects = objects;
            self.tell_all(&Input::InputsChanged).await;
        }
    }

    async fn want(&mut self, intent: &Arc<PodIntent>, uid: &PodUid) {
        if self.ended.contains_key(uid) {
            return;
        }
        let known = self.shared.known().get(uid).cloned();
        match known {
            None => self.begin(intent, uid).await,
            Some(known) if known.revision != intent.revision => {
                if let Some(known) = self.shared.known().get_mut(uid) {
                    known.revision = intent.revision;
                }
                let _ = known.mailbox.send(Input::Intent(Arc::clone(intent))).await;
            }
            Some(_) => {}
        }
    }

    async fn begin(&mut self, intent: &Arc<PodIntent>, uid: &PodUid) {
        let found = self.found().await.remove(uid).map(found_of);
        let (mailbox, inputs) = mpsc::channel(MAILBOX);
        let context = Arc::clone(&self.context);
        let (driver, actions) =
            Driver::new(context, intent, uid.clone(), found, mailbox.clone(), &self.tasks);
        let known = Known {
            name: intent.name.clone(),
            revision: intent.revision,
            mailbox,
            view: driver.view(),
            told_unwanted: false,
        };
        self.shared.known().insert(uid.clone(), known);
        let (finished, uid, token) = (self.finished.clone(), uid.clone(), self.tasks.token());
        self.tasks.spawn("pod", async move {
            if token.run_until_cancelled(driver.run(actions, inputs)).await.is_some() {
                let _ = finished.send(uid).await;
            }
        });
    }

    /// What ran at the start: asked for once, as late as possible.
    async fn found(&mut self) -> &mut BTreeMap<PodUid, SandboxStatus> {
        if self.found.is_none() {
            let found = self.context.ports.runtime.sandboxes().await;
            let found = found.unwrap_or_else(|error| {
                tracing::error!(%error, "pods that already run cannot be listed");
                Vec::new()
            });
            self.found = Some(found.into_iter().map(|one| (one.pod_uid.clone(), one)).collect());
        }
        self.found.get_or_insert_default()
    }

    async fn unwant(&mut self, wanted: &BTreeSet<PodUid>) {
        let unwanted: Vec<mpsc::Sender<Input>> = {
            let mut known = self.shared.known();
            let strays = known
                .iter_mut()
                .filter(|(uid, known)| !wanted.contains(uid) && !known.told_unwanted);
            strays
                .map(|(_, known)| {
                    known.told_unwanted = true;
                    known.mailbox.clone()
                })
                .collect()
        };
        for mailbox in unwanted {
            let _ = mailbox.send(Input::Unwanted).await;
        }
    }

    /// Once, when the tables are complete: remove what an earlier agent left and nobody wants.
    async fn sweep(&mut self, wanted: &BTreeSet<PodUid>) {
        let unwanted = std::mem::take(self.found().await);
        let context = &*self.context;
        futures::stream::iter(unwanted)
            .for_each_concurrent(SWEEP_MAX, |(uid, sandbox)| remove_unwanted(context, uid, sandbox))
            .await;
        let live: BTreeSet<PodUid> = self.shared.known().keys().cloned().collect();
        let keep: Vec<&str> = wanted.union(&live).map(PodUid::as_str).collect();
        if let Err(error) = self.context.ports.net.retain(&keep).await {
            tracing::warn!(%error, "links that nobody wants stay until the next start");
        }
        let (dir, keep) =
            (self.context.config.pods_dir.clone(), keep.into_iter().map(str::to_owned).collect());
        let _ = tokio::task::spawn_blocking(move || remove_strays(&dir, &keep)).await;
    }

    async fn runtime_event(&mut self, event: RuntimeEvent) {
        let (uid, input) = match event {
            RuntimeEvent::Exited { pod, container, exit } => {
                (pod, Input::Exited { container, exit })
            }
            RuntimeEvent::SandboxDied { pod, .. } => {
                if let Some(found) = &mut self.found {
                    found.remove(&pod);
                }
                (pod, Input::SandboxDied)
            }
        };
        let mailbox = self.shared.known().get(&uid).map(|known| known.mailbox.clone());
        if let Some(mailbox) = mailbox {
            let _ = mailbox.send(input).await;
        }
    }

    async fn compare(&self) {
        let sandboxes = match self.context.ports.runtime.sandboxes().await {
            Ok(sandboxes) => sandboxes,
            Err(error) => return tracing::error!(%error, "the runtime's state cannot be read"),
        };
        let mut found: BTreeMap<PodUid, SandboxStatus> =
            sandboxes.into_iter().map(|one| (one.pod_uid.clone(), one)).collect();
        for (uid, mailbox) in self.mailboxes() {
            let _ = mailbox.send(Input::Found(found.remove(&uid).map(found_of))).await;
        }
    }

    async fn end(&mut self, uid: &PodUid) {
        let known = self.shared.known().remove(uid);
        if let Some(known) = known {
            self.ended.insert(uid.clone(), known.name);
        }
    }

    async fn resend(&self) {
        self.tell_all(&Input::Resend).await;
        for (uid, name) in &self.ended {
            self.context.ports.reporter.pod_gone(name, uid.as_str()).await;
        }
    }

    async fn tell_all(&self, input: &Input) {
        for (_, mailbox) in self.mailboxes() {
            let _ = mailbox.send(input.clone()).await;
        }
    }

    fn mailboxes(&self) -> Vec<(PodUid, mpsc::Sender<Input>)> {
        self.shared
            .known()
            .iter()
            .map(|(uid, known)| (uid.clone(), known.mailbox.clone()))
            .collect()
    }
}

async fn remove_unwanted(context: &Context, uid: PodUid, sandbox: SandboxStatus) {
    let SandboxStatus { namespace, name, .. } = sandbox;
    tracing::info!(pod = %format!("{namespace}/{name}"), "removing a pod that nobody wants");
    let dir = context.config.pods_dir.join(uid.as_str());
    if let Err(error) = driver::remove(context, &uid, dir).await {
        return tracing::warn!(pod = %uid, error, "an unwanted pod stays until the next start");
    }
    if let Err(error) = context.ports.runtime.remove_logs(&namespace, &name, &uid).await {
        tracing::warn!(pod = %uid, %error, "logs of an unwanted pod stay");
    }
}

fn found_of(sandbox: SandboxStatus) -> Found {
    let containers = sandbox.containers.into_iter().map(|container| FoundContainer {
        name: container.name,
        attempt: container.attempt,
        id: container.id,
        image_id: container.image_id,
        state: container.state,
    });
    Found { pid: sandbox.pid, containers: containers.collect() }
}

/// Directories of Pods that are no more.
fn remove_strays(dir: &std::path::Path, keep: &BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let known = entry.file_name().to_str().is_some_and(|name| keep.contains(name));
        if !known && let Err(error) = crate::volumes::remove(&entry.path()) {
            tracing::warn!(dir = %entry.path().display(), %error, "a directory of a pod that is gone stays");
        }
    }
}
