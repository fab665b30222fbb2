//! One task per Pod: it feeds the state machine, performs its actions and reports.
//!
//! In: the Pod's object as it changes, what the runtime says, results of actions. Out: calls on the [`Ports`].
//! It decides nothing; what it does concurrently is what the state machine asked for at the same time.
//! Dropped when the agent stops: containers go on, and the next agent adopts them.

mod perform;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use beeline_container::runtime::{ContainerId, ContainerState, Exit, PodUid};
use beeline_kit::{CancellationToken, Tasks};
use beeline_tables::{ObjectName, PodIntent, Reader};
use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};

pub(crate) use perform::remove;

use crate::{
    fields::PodFacts,
    lifecycle::{self, Ended, Event, Found, Moment, ProbeKind, Report, Run, Stage, State},
    manager::Config,
    ports::Ports,
    probe,
    status::{self, Facts},
    tokens::{Held, Key},
    volumes::Places,
    wanted::{self, Wanted},
};

/// What every driver shares.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) ports: Ports,
    pub(crate) tables: Reader,
}

/// What drivers are told.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    /// The object changed.
    Intent(Arc<PodIntent>),
    /// The object is gone, or the Pod has moved.
    Unwanted,
    /// A container ended.
    Exited { container: ContainerId, exit: Exit },
    /// The sandbox ended, with these containers.
    SandboxDied,
    /// What the runtime has, after events were missed.
    Found(Option<Found>),
    /// Images or configuration changed.
    InputsChanged,
    /// The status is to be sent again.
    Resend,
    /// A probe came to a conclusion.
    Probe { slot: usize, attempt: u32, kind: ProbeKind, failure: Option<String> },
}

/// What a finished action brings.
struct Done {
    event: Option<Event>,
    places: Option<Places>,
    tokens: Option<Asked>,
}

/// Tokens that were asked for; none where the server gave none.
struct Asked {
    given: Vec<(Key, String)>,
    failed: bool,
}

type Operation = BoxFuture<'static, Done>;

pub(crate) struct Driver {
    context: Arc<Context>,
    name: ObjectName,
    uid: PodUid,
    pod: Arc<Pod>,
    state: State,
    status: Option<PodStatus>,
    places: Places,
    tokens: Held,
    /// Volumes are being written.
    writing: bool,
    /// What they show changed meanwhile.
    stale: bool,
    operations: FuturesUnordered<Operation>,
    probes: BTreeMap<(usize, u32, ProbeKind), CancellationToken>,
    tasks: Tasks,
    inputs: mpsc::Sender<Input>,
    view: watch::Sender<Option<PodStatus>>,
    /// The line has heard of it, and will say it again to whoever needs to hear it.
    reported: bool,
    /// The dataplane has an endpoint of this Pod.
    attached: bool,
    last: Moment,
}

/// For Pods that vanished without a word: upstream gives them this long.
const GRACE_UNWANTED: std::time::Duration = std::time::Duration::from_secs(1);

// === impl Driver ===

impl Driver {
    /// Begin with a Pod, and with its sandbox if there is one. `inputs` is the driver's own mailbox.
    pub(crate) fn new(
        context: Arc<Context>,
        intent: &PodIntent,
        uid: PodUid,
        found: Option<Found>,
        inputs: mpsc::Sender<Input>,
        tasks: &Tasks,
    ) -> (Self, Vec<lifecycle::Action>) {
        let now = moment(&context);
        let wanted = Arc::new(Wanted::of(&intent.pod));
        let (state, actions) = lifecycle::adopt(wanted, found, &wanted::prior(&intent.pod), now);
        let driver = Self {
            name: intent.name.clone(),
            uid,
            pod: Arc::clone(&intent.pod),
            state,
            status: intent.pod.status.clone(),
            places: Places::new(),
            tokens: Held::default(),
            writing: false,
            stale: false,
            operations: FuturesUnordered::new(),
            probes: BTreeMap::new(),
            tasks: tasks.child(),
            inputs,
            view: watch::Sender::new(None),
            reported: false,
            attached: false,
            last: now,
            context,
        };
        (driver, actions)
    }

    /// Follows the status as it was last reported.
    pub(crate) fn view(&self) -> watch::Receiver<Option<PodStatus>> {
        self.view.subscribe()
    }

    /// Run until the Pod is gone.
    pub(crate) async fn run(
        mut self,
        first: Vec<lifecycle::Action>,
        mut mailbox: mpsc::Receiver<Input>,
    ) {
        for action in first {
            self.perform(action).await;
        }
        self.intent(None).await;
        while self.state.stage != Stage::Gone {
            let deadline = self.state.deadline(self.last.mono);
            let refresh = self.tokens.due().filter(|_| self.refreshes());
            let event = tokio::select! {
                Some(done) = self.operations.next(), if !self.operations.is_empty() => {
                    self.keep(done.places, done.tokens);
                    done.event
                }
                input = mailbox.recv() => match input {
                    Some(input) => self.input(input).await,
                    None => break,
                },
                () = until(refresh) => {
                    self.refresh();
                    None
                }
                () = until(deadline) => Some(Event::Tick),
            };
            if let Some(event) = event {
                self.step(event).await;
            }
            if self.stale {
                self.refresh();
            }
        }
        self.probes.values().for_each(CancellationToken::cancel);
        // What was started on the way out, such as removing logs, is finished.
        while self.operations.next().await.is_some() {}
    }

    /// What an operation brought, beside its event.
    fn keep(&mut self, places: Option<Places>, asked: Option<Asked>) {
        if let Some(places) = places {
            self.places = places;
        }
        if let Some(Asked { given, failed }) = asked {
            self.writing = false;
            let now = moment(&self.context).mono;
            for (key, text) in given {
                self.tokens.take(key, text, now);
            }
            if failed {
                self.tokens.failed(now);
            }
        }
    }

    /// Volumes of a Pod that is up follow what they show.
    fn refreshes(&self) -> bool {
        let up = matches!(self.state.stage, Stage::Starting | Stage::Stopping(_));
        up && !self.writing && self.state.volumes == lifecycle::Volumes::Ready
    }

    async fn step(&mut self, event: Event) {
        self.last = moment(&self.context);
        tracing::trace!(pod = %self.name, ?event, "step");
        let placeholder =
            State { slots: Vec::new(), ..State::new(Arc::clone(&self.state.wanted), self.last) };
        let state = std::mem::replace(&mut self.state, placeholder);
        let (state, actions) = lifecycle::step(state, event, self.last);
        self.state = state;
        self.attached |= self.state.addresses().is_some();
        self.report().await;
        self.update_probes();
        for action in actions {
            self.perform(action).await;
        }
    }

    async fn report(&mut self) {
        if self.state.stage == (Stage::Over { restored: true }) {
            return;
        }
        let facts = Facts { host_ips: self.context.config.host_ips, now: self.last.wall };
        let status = status::pod_status(&self.state, &self.pod, self.status.as_ref(), facts);
        // Also what control knows already, once: after the line was down it may be told otherwise.
        if !self.reported || self.status.as_ref() != Some(&status) {
            self.reported = true;
            self.status = Some(status.clone());
            self.view.send_replace(Some(status.clone()));
            self.context.ports.reporter.pod_status(&self.name, self.uid.as_str(), status).await;
        }
    }

    async fn input(&mut self, input: Input) -> Option<Event> {
        match input {
            Input::Intent(intent) => {
                self.intent(Some(&intent)).await;
                None
            }
            Input::Unwanted => Some(Event::Delete { grace: GRACE_UNWANTED }),
            Input::Exited { container, exit } => self.exited(&container, exit),
            Input::SandboxDied => Some(Event::SandboxDied),
            Input::Found(found) => {
                self.found(found).await;
                None
            }
            Input::InputsChanged => {
                self.stale = true;
                Some(Event::InputsChanged)
            }
            Input::Resend => {
                if let Some(status) = self.status.clone() {
                    self.context
                        .ports
                        .reporter
                        .pod_status(&self.name, self.uid.as_str(), status)
                        .await;
                }
                None
            }
            Input::Probe { slot, attempt, kind, failure } => {
                Some(Event::Container { slot, attempt, report: Report::Probe { kind, failure } })
            }
        }
    }

    /// The object as it is now; `None`: as it was at the start.
    async fn intent(&mut self, intent: Option<&PodIntent>) {
        if let Some(intent) = intent {
            self.pod = Arc::clone(&intent.pod);
        }
        self.step(Event::Update(Arc::new(Wanted::of(&self.pod)))).await;
        if self.pod.metadata.deletion_timestamp.is_some() {
            let grace = self.pod.metadata.deletion_grace_period_seconds;
            let grace =
                grace.and_then(|s| u64::try_from(s).ok()).map(std::time::Duration::from_secs);
            self.step(Event::Delete { grace: grace.unwrap_or(self.state.wanted.grace) }).await;
        }
    }

    fn exited(&self, container: &ContainerId, exit: Exit) -> Option<Event> {
        let (slot, attempt) =
            self.state.slots.iter().enumerate().find_map(|(at, slot)| match &slot.run {
                Run::Starting { id } | Run::Running { id, .. } if id == container => {
                    Some((at, slot.attempt))
                }
                _ => None,
            })?;
        let ended = Ended::of(container.clone(), exit, moment(&self.context));
        Some(Event::Container { slot, attempt, report: Report::Exited(ended) })
    }

    /// Events were missed: compare with what the runtime has.
    async fn found(&mut self, found: Option<Found>) {
        let Some(found) = found else {
            let lives = matches!(
                self.state.sandbox,
                lifecycle::Sandbox::Connecting { .. } | lifecycle::Sandbox::Ready { .. }
            );
            if lives {
                self.step(Event::SandboxDied).await;
            }
            return;
        };
        for container in found.containers {
            if let ContainerState::Exited(exit) = container.state
                && let Some(event) = self.exited(&container.id, exit)
            {
                self.step(event).await;
            }
        }
    }

    /// Exactly the probes that should run, run.
    fn update_probes(&mut self) {
        let mut wanted = BTreeMap::new();
        if let (Some(addresses), Stage::Starting) = (self.state.addresses(), &self.state.stage) {
            for (at, container, slot) in
                self.state.containers().filter(|(_, _, slot)| slot.is_running())
            {
                let Some(container) = wanted::container(&self.pod, &container.name) else {
                    continue;
                };
                let plans = probe::plans(container, addresses.v4).into_iter();
                for plan in
                    plans.filter(|plan| (plan.kind == ProbeKind::Startup) != slot.is_started())
                {
                    wanted.insert((at, slot.attempt, plan.kind), plan);
                }
            }
        }
        self.probes.retain(|key, token| {
            let keep = wanted.contains_key(key);
            if !keep {
                token.cancel();
            }
            keep
        });
        for (key, plan) in wanted {
            if !self.probes.contains_key(&key) {
                self.probes.insert(key, self.start_probe(key, plan));
            }
        }
    }

    fn start_probe(
        &self,
        (slot, attempt, kind): (usize, u32, ProbeKind),
        plan: probe::Plan,
    ) -> CancellationToken {
        let token = self.tasks.token().child_token();
        let (inputs, stop) = (self.inputs.clone(), token.clone());
        self.tasks.spawn("probe", async move {
            let input = move |failure| Input::Probe { slot, attempt, kind, failure };
            let _ = stop.run_until_cancelled(probe::run(plan, inputs, input)).await;
        });
        token
    }

    fn facts(&self) -> PodFacts<'_> {
        PodFacts {
            pod: &self.pod,
            pod_ips: self.state.addresses(),
            host_ips: self.context.config.host_ips,
            node_name: &self.context.config.node_name.0,
        }
    }

    fn dir(&self) -> PathBuf {
        self.context.config.pods_dir.join(self.uid.as_str())
    }
}

async fn until(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => sleep_until(Instant::from_std(deadline)).await,
        None => std::future::pending().await,
    }
}

fn moment(context: &Context) -> Moment {
    Moment { wall: context.ports.clock.now(), mono: context.ports.clock.monotonic() }
}
