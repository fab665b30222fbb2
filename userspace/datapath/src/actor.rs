//! The one task that touches the maps. Others hold a handle and ask.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use beeline_abi::DropCount;
use beeline_compile::Usage;
use beeline_kit::{Backoff, CancellationToken, Tasks};
use beeline_tables::{Epoch, Reader, Snapshot};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    Config, DatapathError, EndpointAttach, EventBatch, Feature, Held, InForce, events, features,
    features::require, kernel::Kernel, load, logs,
};

/// Requests that may wait; more make the askers wait.
const QUEUE: usize = 64;
/// How often backends that left are looked at.
const COLLECT_INTERVAL: Duration = Duration::from_secs(5);
/// How often tracked connections are looked at: a connection that closed stays for ten seconds anyway.
const TRACKED_INTERVAL: Duration = Duration::from_secs(10);

type Work = Box<dyn FnOnce(&mut Kernel) + Send>;

/// A handle on the running datapath. Clones share it. Dropping all of them leaves the programs in force.
#[derive(Clone, Debug)]
pub struct Datapath {
    work: mpsc::Sender<Work>,
    in_force: Arc<watch::Sender<InForce>>,
    pressed: watch::Receiver<BTreeMap<&'static str, Usage>>,
    features: Arc<Vec<Feature>>,
}

impl Datapath {
    /// Checks what is needed, loads or adopts, and serves until `tasks` stop. Must be called in the network namespace
    /// in which the pods' host-side links are.
    pub async fn start(config: Config, tasks: &Tasks) -> Result<Self, DatapathError> {
        let features = features(&config);
        require(&features)?;
        if !load::embedded() {
            return Err(DatapathError::NoObject);
        }
        let kernel = Kernel::open(&config)?;
        logs::forward(kernel.programs.speaker, tasks);
        let epoch = Epoch(kernel.maps().config()?.epoch.0);
        let pressed = kernel.pressed.subscribe();
        let (work, queue) = mpsc::channel(QUEUE);
        tasks.spawn("datapath", serve(kernel, queue, tasks.token()));
        let in_force = InForce { epoch, ..InForce::default() };
        Ok(Self {
            work,
            in_force: Arc::new(watch::Sender::new(in_force)),
            pressed,
            features: Arc::new(features),
        })
    }

    /// What of the kernel is used, and what is missing.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The newest intent in force; after a start, what the adopted maps hold. Waits are cancel safe.
    pub fn in_force(&self) -> watch::Receiver<InForce> {
        self.in_force.subscribe()
    }

    /// Maps that are nearly full, by name. Waits are cancel safe.
    pub fn pressed(&self) -> watch::Receiver<BTreeMap<&'static str, Usage>> {
        self.pressed.clone()
    }

    /// Follows the tables in a task of its own until `tasks` stop: every complete snapshot comes into force, or the
    /// newest of several. Failures are logged and tried again.
    pub fn follow(&self, reader: Reader, tasks: &Tasks) {
        let token = tasks.token();
        let this = self.clone();
        tasks.spawn("datapath-follow", async move {
            let _ = token.run_until_cancelled(follow(this, reader)).await;
        });
    }

    /// Brings one snapshot into force.
    pub async fn reconcile(&self, snapshot: Arc<Snapshot>) -> Result<InForce, DatapathError> {
        let in_force = self.ask(move |kernel| kernel.reconcile(&snapshot)).await??;
        self.in_force.send_replace(in_force);
        self.end_left_sockets().await;
        Ok(in_force)
    }

    /// Datagram sockets that were connected to a backend which left would go on sending to it: they are told that their
    /// connection was aborted, and connect again. What cannot be done is logged: the intent is in force all the same.
    async fn end_left_sockets(&self) {
        let sockets = match self.ask(Kernel::left_sockets).await {
            Ok(Ok(sockets)) if sockets.is_empty() => return,
            Ok(Ok(sockets)) => sockets,
            Ok(Err(error)) | Err(error) => {
                tracing::warn!(%error, "could not look for sockets of backends that left");
                return;
            }
        };
        let wanted = sockets.len();
        let end = move || beeline_sys::sock_diag::end_datagram_sockets(&sockets);
        match tokio::task::spawn_blocking(end).await {
            Ok(Ok(ended)) => tracing::debug!(wanted, ended, "ended sockets of backends that left"),
            Ok(Err(error)) => {
                tracing::warn!(%error, wanted, "could not end sockets of backends that left");
            }
            Err(error) => tracing::error!(%error, "ending sockets of backends that left panicked"),
        }
    }

    /// Puts a pod in the maps and our programs on its link. Again with the same link is harmless and is what an agent
    /// does after a restart.
    pub async fn attach_endpoint(&self, endpoint: EndpointAttach) -> Result<(), DatapathError> {
        self.ask(move |kernel| kernel.attach(&endpoint)).await?
    }

    /// Takes our programs off a link and the pod behind it out of the maps.
    pub async fn detach_endpoint(&self, ifindex: u32) -> Result<(), DatapathError> {
        self.ask(move |kernel| kernel.detach(ifindex)).await?
    }

    /// Detaches all but these links. Until this is said, a restart keeps every pod that it found in the maps.
    pub async fn retain_endpoints(&self, ifindexes: BTreeSet<u32>) -> Result<(), DatapathError> {
        self.ask(move |kernel| kernel.retain(&ifindexes)).await?
    }

    /// What the kernel holds, read from the maps now.
    pub async fn services(&self) -> Result<Held, DatapathError> {
        self.ask(|kernel| kernel.held()).await?
    }

    /// The kernel's counters by name, summed over CPUs.
    pub async fn counters(&self) -> Result<BTreeMap<&'static str, u64>, DatapathError> {
        self.ask(|kernel| kernel.maps().counters()).await?
    }

    /// Drops by reason, summed over CPUs.
    pub async fn drops(&self) -> Result<BTreeMap<&'static str, DropCount>, DatapathError> {
        self.ask(|kernel| kernel.maps().drops()).await?
    }

    /// Events as they come; once. A slow receiver fills the ring, and the kernel counts what it then loses.
    pub async fn events(&self, tasks: &Tasks) -> Result<mpsc::Receiver<EventBatch>, DatapathError> {
        let ring = self.ask(Kernel::take_events).await?.ok_or(DatapathError::EventsTaken)?;
        events::read(ring, tasks)
    }

    /// Removes backends that nobody is connected to any more, now; it is also done every few seconds.
    pub async fn collect(&self) -> Result<(), DatapathError> {
        self.ask(|kernel| kernel.collect(Instant::now())).await?
    }

    /// Ends tracked connections that are over, now; it is also done every few seconds.
    pub async fn collect_tracked(&self) -> Result<(), DatapathError> {
        self.ask(Kernel::collect_tracked).await?
    }

    /// Forgets all tracked connections, those that are alive as well: their next packets begin anew, and answers to a client
    /// outside the node get lost until its next packet. A means for operators and benchmarks; nothing calls it by itself.
    pub async fn forget_tracked(&self) -> Result<(), DatapathError> {
        self.ask(Kernel::forget_tracked).await?
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Kernel) -> T + Send + 'static,
    ) -> Result<T, DatapathError> {
        let (reply, answer) = oneshot::channel();
        let work: Work = Box::new(move |kernel| {
            // Nobody waits any more: the work is done all the same.
            let _ = reply.send(question(kernel));
        });
        self.work.send(work).await.map_err(|_| DatapathError::Stopped)?;
        answer.await.map_err(|_| DatapathError::Stopped)
    }
}

async fn serve(mut kernel: Kernel, mut queue: mpsc::Receiver<Work>, token: CancellationToken) {
    let mut collect = tokio::time::interval(COLLECT_INTERVAL);
    collect.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut tracked = tokio::time::interval(TRACKED_INTERVAL);
    tracked.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            work = queue.recv() => match work {
                Some(work) => work(&mut kernel),
                None => return,
            },
            _ = collect.tick() => {
                if let Err(error) = kernel.collect(Instant::now()) {
                    tracing::warn!(%error, "could not remove backends that left");
                }
            }
            _ = tracked.tick() => {
                if let Err(error) = kernel.collect_tracked() {
                    tracing::warn!(%error, "could not end tracked connections that are over");
                }
            }
        }
    }
}

async fn follow(datapath: Datapath, mut reader: Reader) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(10));
    let mut snapshot = reader.snapshot();
    loop {
        let failed = match step(&datapath, &snapshot).await {
            Ok(()) => false,
            Err(DatapathError::Stopped) => return,
            Err(error) => {
                tracing::error!(%error, epoch = snapshot.epoch.0, "could not bring intent into force");
                true
            }
        };
        let wait = if failed { backoff.next() } else { Duration::MAX };
        if !failed {
            backoff.reset();
        }
        // A failed snapshot is tried again, or the one that came meanwhile.
        match tokio::time::timeout(wait, reader.changed()).await {
            Ok(Some(newer)) => snapshot = newer,
            Ok(None) => return,
            Err(_) => {}
        }
    }
}

async fn step(datapath: &Datapath, snapshot: &Arc<Snapshot>) -> Result<(), DatapathError> {
    if !snapshot.complete {
        return Ok(());
    }
    let in_force = datapath.reconcile(Arc::clone(snapshot)).await?;
    let took_us = u64::try_from(in_force.took.as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(epoch = in_force.epoch.0, writes = in_force.writes, took_us, "intent in force");
    Ok(())
}
