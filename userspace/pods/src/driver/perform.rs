//! Actions become calls; their results become events.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use beeline_container::runtime::{ContainerId, ContainerSpec, PodUid, RuntimeError};
use beeline_tables::{ObjectName, Snapshot};
use k8s_openapi::api::core::v1::Pod;

use super::{Asked, Context, Done, Driver, Operation, moment};
use crate::{
    drain, env,
    fields::PodFacts,
    lifecycle::{Action, Ended, Event, Report, Signalled},
    notes,
    ports::{Endpoint, TokenWanted},
    specs,
    tokens::{self, Texts},
    volumes, wanted,
};

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;
/// Twice what the state machine grants: it goes on without the answer.
const DRAIN_MAX: Duration = Duration::from_secs(4);

// === impl Driver ===

impl Driver {
    pub(super) async fn perform(&mut self, action: Action) {
        match action {
            Action::PrepareVolumes => {
                let operation = self.prepare_volumes();
                self.operations.push(operation);
            }
            Action::CreateSandbox => {
                let operation = self.create_sandbox();
                self.operations.push(operation);
            }
            Action::Connect { pid } => self.operations.push(self.connect(pid)),
            Action::ResolveImage { slot } => {
                let image =
                    self.state.wanted.containers.get(slot).map(|wanted| Arc::clone(&wanted.image));
                let found = image.and_then(|image| self.context.ports.images.resolve(&image));
                let event = Event::Image { slot, found: found.map(|found| found.id) };
                self.operations.push(Box::pin(async move { done(event) }));
            }
            Action::Create { slot, attempt } => self.operations.push(self.create(slot, attempt)),
            Action::Start { slot, attempt, id } => {
                self.operations.push(self.start(slot, attempt, id));
            }
            Action::Signal { slot, id, how } => self.operations.push(self.signal(slot, id, how)),
            Action::Remove { id } => {
                let (context, uid) = self.shared();
                self.operations.push(Box::pin(async move {
                    if let Err(error) = context.ports.runtime.remove_container(&uid, &id).await {
                        tracing::debug!(pod = %uid, %error, "an ended container stays until its pod goes");
                    }
                    nothing()
                }));
            }
            Action::Drain => self.operations.push(self.drain()),
            Action::TearDown => self.operations.push(self.tear_down()),
            Action::ReportGone => self.report_gone().await,
            Action::Note(note) => {
                let now = moment(&self.context).wall;
                let node = &self.context.config.node_name.0;
                let event = notes::event(note, &self.pod, &self.state.wanted, node, now);
                self.context.ports.reporter.event(event).await;
            }
        }
    }

    fn shared(&self) -> (Arc<Context>, PodUid) {
        (Arc::clone(&self.context), self.uid.clone())
    }

    fn prepare_volumes(&mut self) -> Operation {
        let writing = self.write_volumes(volumes::prepare);
        Box::pin(async move {
            let (made, asked) = writing.await;
            let (event, places) = match made {
                Ok(places) => (Event::VolumesReady, Some(places)),
                Err(message) => (Event::VolumesFailed(message), None),
            };
            Done { event: Some(event), places, tokens: Some(asked) }
        })
    }

    /// Write again what the API fills of the volumes of a running Pod.
    pub(super) fn refresh(&mut self) {
        if !self.refreshes() {
            return;
        }
        let writing = self.write_volumes(volumes::refresh);
        let name = self.name.clone();
        self.operations.push(Box::pin(async move {
            let (made, asked) = writing.await;
            if let Err(error) = made {
                tracing::warn!(pod = %name, error, "a volume stays as it is");
            }
            Done { event: None, places: None, tokens: Some(asked) }
        }));
    }

    /// Ask for the tokens that are due, then write volumes.
    fn write_volumes<T: Send + 'static>(
        &mut self,
        write: fn(PodFacts<'_>, &Snapshot, &Texts, &Path) -> Result<T, volumes::VolumeError>,
    ) -> impl Future<Output = (Result<T, String>, Asked)> + Send + use<T> {
        (self.writing, self.stale) = (true, false);
        let (snapshot, dir, pod) =
            (self.context.tables.snapshot(), self.dir(), Arc::clone(&self.pod));
        let (facts, now) = (OwnedFacts::of(self), moment(&self.context).mono);
        let missing = self.tokens.missing(&tokens::wanted(&pod), now);
        let mut texts = self.tokens.texts(now);
        let (name, (context, uid)) = (self.name.clone(), self.shared());
        async move {
            let (asked, why) = ask(&context, &name, &uid, &pod, missing).await;
            texts.extend(asked.given.iter().cloned());
            let job = move || write(facts.borrow(&pod), &snapshot, &texts, &dir);
            let made = match tokio::task::spawn_blocking(job).await {
                Ok(Ok(made)) => Ok(made),
                Ok(Err(error)) => Err(match why {
                    Some(why) => format!("{error}: {why}"),
                    None => error.to_string(),
                }),
                Err(_) => Err("preparing volumes was interrupted".to_owned()),
            };
            (made, asked)
        }
    }

    fn create_sandbox(&mut self) -> Operation {
        let (context, uid) = self.shared();
        let addresses = self.state.wanted.host_network.then_some(context.config.host_ips);
        let spec = specs::sandbox(&self.pod, uid, &context.config.dns, addresses);
        // The link of a sandbox that died is gone; what the dataplane has of it must not outlive it.
        let stale = std::mem::take(&mut self.attached);
        Box::pin(async move {
            if stale
                && let Err(error) =
                    context.ports.datapath.detach_endpoint(spec.pod_uid.as_str()).await
            {
                tracing::warn!(pod = %spec.pod_uid, %error, "the endpoint of a dead sandbox stays until it is replaced");
            }
            done(match context.ports.runtime.create_sandbox(&spec).await {
                Ok(sandbox) => Event::SandboxReady { pid: sandbox.pid },
                Err(error) => Event::SandboxFailed(sentence(&error)),
            })
        })
    }

    fn connect(&self, pid: u32) -> Operation {
        let (context, uid) = self.shared();
        if self.state.wanted.host_network {
            let addresses = context.config.host_ips;
            return Box::pin(async move { done(Event::Connected { addresses }) });
        }
        let (pod, name) = (Arc::clone(&self.pod), self.name.clone());
        Box::pin(async move {
            let connected = async {
                let connected = context.ports.net.connect(uid.as_str(), pid).await?;
                let endpoint = Endpoint {
                    pod: name,
                    uid: uid.as_str().into(),
                    addresses: connected.addresses,
                    host_ifindex: connected.link.host_ifindex,
                    host_mac: connected.link.host_mac,
                    pod_mac: connected.link.pod_mac,
                    netns_cookie: connected.netns_cookie,
                };
                context.ports.datapath.attach_endpoint(&endpoint).await?;
                Ok::<_, crate::ports::PortError>(connected.addresses)
            };
            done(match connected.await {
                Ok(addresses) => {
                    let hosts = specs::hosts(&pod, Some(addresses), &context.config.dns.domain);
                    match context.ports.runtime.set_hosts(&uid, &hosts).await {
                        Ok(()) => Event::Connected { addresses },
                        Err(error) => Event::ConnectFailed(sentence(&error)),
                    }
                }
                Err(error) => Event::ConnectFailed(format!("failed to set up network: {error}")),
            })
        })
    }

    fn create(&self, slot: usize, attempt: u32) -> Operation {
        let (context, uid) = self.shared();
        let facts = OwnedFacts::of(self);
        let (pod, places) = (Arc::clone(&self.pod), self.places.clone());
        let name = self.state.wanted.containers.get(slot).map(|wanted| Arc::clone(&wanted.name));
        let report = move |report| done(Event::Container { slot, attempt, report });
        Box::pin(async move {
            let snapshot = context.tables.snapshot();
            let spec = container_spec(&pod, name.as_deref(), &facts, attempt, &snapshot, &places);
            let spec = match spec {
                Ok(spec) => spec,
                Err(message) => {
                    return report(Report::CreateFailed {
                        reason: "CreateContainerConfigError",
                        message,
                    });
                }
            };
            match context.ports.runtime.create_container(&uid, &spec).await {
                Ok(id) => report(Report::Created(id)),
                Err(error) => {
                    let reason = match error.reason() {
                        "CreateContainerConfigError" => "CreateContainerConfigError",
                        _ => "CreateContainerError",
                    };
                    report(Report::CreateFailed { reason, message: sentence(&error) })
                }
            }
        })
    }

    fn start(&self, slot: usize, attempt: u32, id: ContainerId) -> Operation {
        let (context, uid) = self.shared();
        Box::pin(async move {
            let report = match context.ports.runtime.start_container(&uid, &id).await {
                Ok(at) => Report::Started { at },
                Err(error) => Report::StartFailed { message: sentence(&error) },
            };
            done(Event::Container { slot, attempt, report })
        })
    }

    fn signal(&self, slot: usize, id: ContainerId, how: Signalled) -> Operation {
        let (context, uid) = self.shared();
        let number = match how {
            Signalled::Kill => SIGKILL,
            Signalled::Stop => self.stop_signal(slot),
        };
        let attempt = self.state.slots.get(slot).map_or(0, |slot| slot.attempt);
        Box::pin(async move {
            match context.ports.runtime.kill_container(&uid, &id, number).await {
                Ok(()) => nothing(),
                // Its end was missed, or somebody removed it: without this it would be waited for.
                Err(RuntimeError::NoContainer { .. } | RuntimeError::NoSandbox(_)) => {
                    let now = moment(&context);
                    let ended = Ended {
                        id: Some(id),
                        code: 137,
                        signal: None,
                        reason: "ContainerStatusUnknown".to_owned(),
                        message: Some(
                            "The container could not be located when it was stopped".to_owned(),
                        ),
                        started_at: None,
                        finished_at: now.wall,
                        seen: now.mono,
                    };
                    done(Event::Container { slot, attempt, report: Report::Exited(ended) })
                }
                Err(error) => {
                    tracing::warn!(pod = %uid, %error, signal = number, "a container was not signalled");
                    nothing()
                }
            }
        })
    }

    /// What the Pod says, else what the image says, else SIGTERM.
    fn stop_signal(&self, slot: usize) -> i32 {
        let Some(wanted) = self.state.wanted.containers.get(slot) else { return SIGTERM };
        let container = wanted::container(&self.pod, &wanted.name);
        let own = container.and_then(|container| container.lifecycle.as_ref()?.stop_signal.clone());
        let of_image =
            || self.context.ports.images.resolve(&wanted.image).map(|image| image.stop_signal);
        own.or_else(of_image).and_then(|name| signal_number(&name)).unwrap_or(SIGTERM)
    }

    fn drain(&self) -> Operation {
        let (name, tables) = (self.name.clone(), self.context.tables.clone());
        let in_force = self.context.ports.datapath.in_force();
        Box::pin(async move {
            let _ = tokio::time::timeout(DRAIN_MAX, drain::drained(&name, tables, in_force)).await;
            done(Event::Drained)
        })
    }

    fn tear_down(&self) -> Operation {
        let (context, uid) = self.shared();
        let dir = self.dir();
        Box::pin(async move {
            done(match remove(&context, &uid, dir).await {
                Ok(()) => Event::TornDown,
                Err(message) => Event::TearDownFailed(message),
            })
        })
    }

    async fn report_gone(&mut self) {
        self.context.ports.reporter.pod_gone(&self.name, self.uid.as_str()).await;
        let (context, uid) = self.shared();
        let name = self.name.clone();
        self.operations.push(Box::pin(async move {
            let removed =
                context.ports.runtime.remove_logs(&name.namespace, &name.name, &uid).await;
            if let Err(error) = removed {
                tracing::warn!(pod = %name, %error, "logs of a deleted pod stay");
            }
            nothing()
        }));
    }
}

/// Remove everything of a Pod but its logs.
pub(crate) async fn remove(context: &Context, uid: &PodUid, dir: PathBuf) -> Result<(), String> {
    let ports = &context.ports;
    ports.datapath.detach_endpoint(uid.as_str()).await.map_err(|error| error.to_string())?;
    ports.runtime.remove_sandbox(uid).await.map_err(|error| sentence(&error))?;
    ports.net.disconnect(uid.as_str()).await.map_err(|error| error.to_string())?;
    let removed = tokio::task::spawn_blocking(move || volumes::remove(&dir)).await;
    match removed {
        Ok(Err(error)) => Err(format!("remove the volumes of pod {uid}: {error}")),
        Ok(Ok(())) | Err(_) => Ok(()),
    }
}

/// The tokens that are missing, and why one was not given.
async fn ask(
    context: &Context,
    name: &ObjectName,
    uid: &PodUid,
    pod: &Pod,
    missing: Vec<tokens::Key>,
) -> (Asked, Option<String>) {
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
    let mut given = Vec::new();
    for key in missing {
        let wanted = TokenWanted {
            pod: name.clone(),
            uid: uid.as_str().to_owned(),
            account: account.clone().unwrap_or_default(),
            audience: key.audience.clone(),
            seconds: key.seconds,
        };
        match context.ports.tokens.token(wanted).await {
            Ok(text) => given.push((key, text)),
            Err(error) => {
                let why = format!("failed to fetch token: {error}");
                return (Asked { given, failed: true }, Some(why));
            }
        }
    }
    (Asked { given, failed: false }, None)
}

fn container_spec(
    pod: &Pod,
    name: Option<&str>,
    facts: &OwnedFacts,
    attempt: u32,
    snapshot: &Snapshot,
    places: &volumes::Places,
) -> Result<ContainerSpec, String> {
    let facts = facts.borrow(pod);
    let container = name
        .and_then(|name| wanted::container(pod, name))
        .ok_or("the container is gone from the pod")?;
    let env = env::environment(container, facts, snapshot).map_err(|error| error.to_string())?;
    specs::container(facts, container, attempt, env, places)
}

/// [`PodFacts`] for work that outlives a borrow of the driver.
struct OwnedFacts {
    pod_ips: Option<beeline_netdev::AddressPair>,
    host_ips: beeline_netdev::AddressPair,
    node_name: Arc<str>,
}

impl OwnedFacts {
    fn of(driver: &Driver) -> Self {
        let facts = driver.facts();
        Self { pod_ips: facts.pod_ips, host_ips: facts.host_ips, node_name: facts.node_name.into() }
    }

    fn borrow<'a>(&'a self, pod: &'a Pod) -> PodFacts<'a> {
        PodFacts { pod, pod_ips: self.pod_ips, host_ips: self.host_ips, node_name: &self.node_name }
    }
}

fn done(event: Event) -> Done {
    Done { event: Some(event), places: None, tokens: None }
}

fn nothing() -> Done {
    Done { event: None, places: None, tokens: None }
}

/// An error with its causes in one line.
fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}

/// `SIGTERM`, `TERM`, `15`, `SIGRTMIN+3`.
pub(super) fn signal_number(name: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
        "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
        "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    const RTMIN: i32 = 34;
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    let name = name.strip_prefix("SIG").unwrap_or(name);
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset: i32 =
            if offset.is_empty() { 0 } else { offset.strip_prefix('+')?.parse().ok()? };
        return (0..=30).contains(&offset).then_some(RTMIN + offset);
    }
    let at = NAMES.iter().position(|known| *known == name)?;
    i32::try_from(at + 1).ok()
}
